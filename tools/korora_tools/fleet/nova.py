# SPDX-License-Identifier: Apache-2.0
"""Nova's record, as much as the service asks for, over HTTP."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from http import server
from typing import Any
from urllib import parse

from korora_nova.verifier import nova_record
from korora_tools.fleet.processes import LOCAL

_SERVER = re.compile('/servers/([0-9a-f-]{36})(/migrations)?')


class Nova:
    """Servers and migrations that simulated hosts have.

    :ivar hosts: where each server is; ``migrations`` what it is prepared
        for: uuid, source and destination by server.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.hosts: dict[str, str] = {}
        self.migrations: dict[str, tuple[str, str, str]] = {}
        record = self

        class Handler(server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802 http.server's name
                found = record.answer(self.path)
                body = json.dumps(found or {}).encode()
                self.send_response(404 if found is None else 200)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        served = server.ThreadingHTTPServer((LOCAL, 0), Handler)
        served.daemon_threads = True
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        stack.callback(served.server_close)
        stack.callback(served.shutdown)
        self.url = f'http://{LOCAL}:{served.server_port}'

    def answer(self, path: str) -> dict[str, Any] | None:
        """The object of a path; None if there is none."""
        asked = parse.urlsplit(path)
        if asked.path == '/servers':
            return self._migrating(parse.parse_qs(asked.query))
        found = _SERVER.fullmatch(asked.path)
        if found is None or found[1] not in self.hosts:
            return None
        instance, listed = found.groups()
        moving = self.migrations.get(instance)
        if listed:
            return {'migrations': [_record(*moving)] if moving else []}
        return {
            'server': {
                'id': instance,
                'status': 'MIGRATING' if moving else 'ACTIVE',
                nova_record.HOST: self.hosts[instance],
                'OS-EXT-STS:task_state': 'migrating' if moving else None,
            }
        }

    def _migrating(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """The list by status and id."""
        assert query['status'] == ['MIGRATING']
        return {
            'servers': [
                {'id': one} for one in query['uuid'] if one in self.migrations
            ]
        }


def _record(uuid: str, source: str, dest: str) -> dict[str, str]:
    return {
        'uuid': uuid,
        'status': 'preparing',
        'source_compute': source,
        'dest_compute': dest,
    }
