# SPDX-License-Identifier: Apache-2.0
"""A Keylime that answers what a real one was recorded to answer."""

from __future__ import annotations

import http.server
import json
import pathlib
import ssl
import threading
import time
from typing import Any

from korora_nova import conf as options
from korora_nova.rats.tpm2 import objects
from korora_nova.verifier import decode, enrolment
from korora_nova.verifier.sources.base import Enrolled
from tests.support import tls

ROOT = pathlib.Path(__file__).parent.parent / 'vectors' / 'keylime'
#: In the order in which they were made.
STAGES = (
    'unknown',
    'passing',
    'restarted',
    'silent',
    'again',
    'refused',
    'corrected',
    'reassigned',
    'namesake',
)
BULK = '/v2.6/agents/?bulk=true'


class Recording:
    """One situation, to be changed at will."""

    def __init__(self, stage: str) -> None:
        about = json.loads((ROOT / stage / 'vector.json').read_text())
        self.at: float = about['asked_at']
        self.agent: str = about['agent']
        self.ek: objects.Public = decode.public_field(
            about['ek_public'], 'ek_public'
        )
        self.host = Enrolled(about['host'], enrolment.ek_name(self.ek))
        self.answers: dict[tuple[str, str], dict[str, Any]] = {
            (one['service'], one['path']): one for one in about['exchanges']
        }

    def change(self, service: str, path: str, **results: Any) -> None:
        """Members of the results of an answer; None takes one away."""
        answer = self.answers[service, path]
        body = json.loads(answer['body'])
        for name, value in results.items():
            body['results'][name] = value
            if value is None:
                del body['results'][name]
        answer['body'] = json.dumps(body)

    def change_agent(self, **members: Any) -> None:
        """What the verifier says of the agent."""
        agents = json.loads(self.answers['verifier', BULK]['body'])['results']
        self.change(
            'verifier',
            BULK,
            **{self.agent: {**agents.get(self.agent, {}), **members}},
        )


class Replay:
    """Both services at one address each, with TLS, on loopback.

    :ivar recording: what is answered now.
    :ivar asked: paths by service, in the order of the requests.
    :ivar delay: seconds before each byte of an answer.
    """

    def __init__(self, directory: str) -> None:
        self.files = tls.Files(directory)
        self.recording = Recording('unknown')
        self.asked: list[tuple[str, str]] = []
        self.delay = 0.0
        self._servers = {
            name: self._serve(name) for name in ('verifier', 'registrar')
        }

    def options(self, **more: Any) -> dict[str, Any]:
        """Of ``[keylime]``."""
        return {
            **{
                f'{name}_url': f'https://127.0.0.1:{server.server_port}'
                for name, server in self._servers.items()
            },
            'ca_file': self.files.authority,
            'cert_file': self.files.client,
            'key_file': self.files.client_key,
            'refresh': 10,
            **more,
        }

    def conf(self, **more: Any) -> Any:
        """A configuration with these."""
        made = options.parse([], [])
        options.register_verifier_opts(made)
        options.register_keylime_opts(made)
        for name, value in self.options(**more).items():
            made.set_override(name, value, options.KEYLIME)
        return made

    def stop(self, name: str) -> None:
        """It refuses connections from now on."""
        server = self._servers.get(name)
        if server is not None:
            server.shutdown()
            server.server_close()

    def close(self) -> None:
        for name in self._servers:
            self.stop(name)

    def _serve(self, name: str) -> http.server.ThreadingHTTPServer:
        replay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                replay.asked.append((name, self.path))
                answer = replay.recording.answers.get((name, self.path))
                if answer is None:
                    answer = {'status': 404, 'headers': {}, 'body': '{}'}
                body = answer['body'].encode()
                self.send_response_only(answer['status'])
                for key, value in answer['headers'].items():
                    self.send_header(key, value)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                for part in (
                    [body]
                    if not replay.delay
                    else [body[n : n + 1] for n in range(len(body))]
                ):
                    time.sleep(replay.delay)
                    self.wfile.write(part)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.files.server, self.files.server_key)
        context.load_verify_locations(self.files.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server
