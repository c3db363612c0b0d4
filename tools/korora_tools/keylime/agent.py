# SPDX-License-Identifier: Apache-2.0
"""The least that Keylime's protocol (version 2.2, pull) wants of an agent.

Its TPM is reached with Debian's tpm2-tools, as Keylime itself does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import subprocess
import threading
from collections.abc import Mapping
from typing import Any
from urllib import parse

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


class Agent:
    """An agent, and its server while it is started.

    :param tcti: of its TPM, which has no resource manager.
    :ivar silent: it answers no request.
    """

    def __init__(
        self, uuid: str, tcti: str, directory: pathlib.Path, port: int
    ) -> None:
        self.uuid = uuid
        self.port = port
        self.silent = False
        self._directory = directory
        self._tcti = tcti
        self._server: http.server.ThreadingHTTPServer | None = None
        self._lock = threading.Lock()
        self._public = (
            rsa.generate_private_key(65537, 2048)
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            )
            .decode()
        )

    # Keys

    def create_keys(self) -> None:
        """Endorsement key of the template L-1, and an attestation key."""
        self._run('createek', '-c', 'ek.ctx', '-G', 'rsa', '-u', 'ek.pub')
        self._flush()
        self._run(
            *('createak', '-C', 'ek.ctx', '-c', 'ak.ctx', '-G', 'rsa'),
            *('-g', 'sha256', '-s', 'rsassa', '-u', 'ak.pub', '-n', 'ak.name'),
        )
        self._flush()

    def register(self, registrar: str, certificate: bytes) -> None:
        """Prove to the registrar that the keys are in one TPM.

        :param registrar: URL of its port without TLS.
        :param certificate: of the endorsement key, DER.
        :raises requests.RequestException: it refuses.
        """
        url = f'{registrar}/v2.2/agents/{self.uuid}'
        blob = self._post(
            'POST',
            url,
            {
                'ekcert': base64.b64encode(certificate).decode(),
                'ek_tpm': self.file64('ek.pub'),
                'aik_tpm': self.file64('ak.pub'),
                'ip': '127.0.0.1',
                'port': self.port,
                'mtls_cert': 'disabled',
            },
        )['blob']
        key = base64.b64encode(self._activate(base64.b64decode(blob)))
        tag = hmac.new(key, self.uuid.encode(), hashlib.sha384).hexdigest()
        self._post('PUT', f'{url}/activate', {'auth_tag': tag})

    def _activate(self, blob: bytes) -> bytes:
        (self._directory / 'blob').write_bytes(blob)
        self._run('startauthsession', '--policy-session', '-S', 's.ctx')
        self._run('policysecret', '-S', 's.ctx', '-c', 'e')
        self._run(
            *('activatecredential', '-c', 'ak.ctx', '-C', 'ek.ctx'),
            *('-i', 'blob', '-o', 'secret', '-P', 'session:s.ctx'),
        )
        self._run('flushcontext', 's.ctx')
        self._flush()
        return (self._directory / 'secret').read_bytes()

    def pcr(self, index: int) -> str:
        """A register of the SHA-256 bank, hex."""
        with self._lock:
            self._run('pcrread', f'sha256:{index}', '-o', 'pcr')
            return (self._directory / 'pcr').read_bytes().hex()

    # Quotes

    def quote(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The answer to /quotes/integrity."""
        with self._lock:
            digest = hashlib.sha256(self._public.encode()).hexdigest()
            self._run('pcrreset', '16')
            self._run('pcrextend', f'16:sha256={digest}')
            mask = int(query['mask'], 0)
            chosen = ','.join(str(n) for n in range(24) if mask >> n & 1)
            self._run(
                *('quote', '-c', 'ak.ctx', '-l', f'sha256:{chosen}'),
                *('-q', query['nonce'].encode().hex(), '-g', 'sha256'),
                *('-m', 'quote', '-s', 'signature', '-o', 'pcrs'),
            )
            self._flush()
            parts = [self.file64(n) for n in ('quote', 'signature', 'pcrs')]
        return {
            'quote': 'r' + ':'.join(parts),
            'hash_alg': 'sha256',
            'enc_alg': 'rsa',
            'sign_alg': 'rsassa',
            'pubkey': self._public,
            'boottime': 1,
            'ima_measurement_list': '',
            'ima_measurement_list_entry': 0,
        }

    # The server

    def start(self) -> None:
        agent = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place = parse.urlsplit(self.path)
                if agent.silent or not place.path.endswith('/integrity'):
                    self.send_error(503)
                    return
                results = agent.quote(dict(parse.parse_qsl(place.query)))
                body = json.dumps(
                    {'code': 200, 'status': 'Success', 'results': results}
                ).encode()
                self.send_response(200)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', self.port), Handler
        )
        threading.Thread(
            target=self._server.serve_forever, daemon=True
        ).start()

    def stop(self) -> None:
        """No connection is taken any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def file64(self, name: str) -> str:
        return base64.b64encode((self._directory / name).read_bytes()).decode()

    def _flush(self) -> None:
        self._run('flushcontext', '-t')

    def _run(self, command: str, *arguments: str) -> None:
        subprocess.run(
            [f'tpm2_{command}', *arguments],
            cwd=self._directory,
            env={**os.environ, 'TPM2TOOLS_TCTI': self._tcti},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
        )

    def _post(self, method: str, url: str, body: dict[str, Any]) -> Any:
        answer = requests.request(method, url, json=body, timeout=20)
        answer.raise_for_status()
        return answer.json()['results']
