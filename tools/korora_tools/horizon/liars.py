# SPDX-License-Identifier: Apache-2.0
"""Services that are not as they should be, each in a region of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http import server
from typing import Any

from korora_tools.fleet.processes import LOCAL, Scratch

#: What a host of the region Hostile is called, and says.
SCRIPT = '<script>document.title="owned"</script>'
_BAD = '"><img src=x onerror="document.title=1">'

_HOSTILE: dict[str, Any] = {
    '/v1/hosts': {
        'hosts': [
            {
                'name': SCRIPT,
                'status': _BAD,
                'tier': _BAD,
                'reasons': [SCRIPT, _BAD],
                'ek_hash': SCRIPT,
                'last_attested': 1e300,
                'enforcing': [],
            },
            {'name': 'evil', 'tier': 'affirming', 'status': 'approved'},
        ]
    },
    '/v1/hosts/evil': {
        'name': 'evil',
        'status': 'pending',
        'tier': 'contraindicated',
        'reasons': [SCRIPT],
        'policies': ['p'],
        'ek_hash': _BAD,
    },
    '/v1/results/evil': {
        'host': 'evil',
        'token': 'a.b.c',
        'findings': [{'reason': SCRIPT, 'message': _BAD}],
    },
    '/v1/policies/p/differences/evil': {
        'measured_at': 1.0,
        'differences': [
            {'rule': SCRIPT, 'reason': _BAD, 'what': SCRIPT, 'advice': _BAD}
        ],
    },
    '/v1/servers': {'servers': [], 'next': '', 'nova': True},
    '/v1/keys': {'version': 1, 'cloud': 'x'},
}
#: A service of an earlier time: it leaves out what it does not know.
_OLD: dict[str, Any] = {
    '/v1/hosts': {
        'hosts': [{'name': 'h1', 'status': 'approved', 'tier': 'affirming'}]
    },
    '/v1/hosts/h1': {'name': 'h1', 'status': 'approved', 'tier': 'affirming'},
    '/v1/migrations': {'migrations': []},
}
#: One that answers, and not as the API says.
_GARBLED: dict[str, Any] = {
    '/v1/hosts': {'hosts': [1, 2]},
    '/v1/migrations': {'migrations': [{'id': 'no uuid'}]},
    '/v1/servers': {'servers': {}},
    '/v1/policies': {'policies': None},
}


def serve(life: contextlib.ExitStack, scratch: Scratch) -> dict[str, str]:
    """Start them; region -> endpoint."""
    return {
        'Down': f'http://{LOCAL}:{scratch.port()}',
        'Slow': _silent(life),
        'Old': _canned(life, _OLD),
        'Garbled': _canned(life, _GARBLED),
        'Hostile': _canned(life, _HOSTILE),
    }


def _silent(life: contextlib.ExitStack) -> str:
    """One that accepts connections, and never answers."""
    listener = socket.create_server((LOCAL, 0))
    life.callback(listener.close)
    return f'http://{LOCAL}:{listener.getsockname()[1]}'


def _canned(life: contextlib.ExitStack, answers: dict[str, Any]) -> str:
    class Handler(server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 http.server's name
            found = answers.get(self.path.partition('?')[0])
            body = json.dumps(
                found or {'error': {'reason': 'NOT_FOUND', 'message': SCRIPT}}
            ).encode()
            self.send_response(200 if found else 404)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    made = server.ThreadingHTTPServer((LOCAL, 0), Handler)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, daemon=True).start()
    life.callback(made.server_close)
    life.callback(made.shutdown)
    return f'http://{LOCAL}:{made.server_port}'
