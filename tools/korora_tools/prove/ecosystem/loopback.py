# SPDX-License-Identifier: Apache-2.0
"""The service on a port of the loopback interface, one request at a time."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref import simple_server

#: The token that has every role; any other one is none.
TOKEN = 'operator'
ROLES = 'admin,attester,service,attestation_reader'


class _Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Thousands of requests need no line each."""


class Tokens:
    """WSGI middleware in front of the test's Keystone: one token counts.

    It reads the whole body first: a connection that is closed over a body
    that nobody read is reset, and takes the answer with it.
    """

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application

    def __call__(self, environ: Any, start_response: Any) -> Any:
        length = environ.get('CONTENT_LENGTH') or '0'
        size = int(length) if length.isdigit() else 0
        environ['wsgi.input'] = io.BytesIO(environ['wsgi.input'].read(size))
        for name in [key for key in environ if key.startswith('HTTP_X_TEST')]:
            del environ[name]
        if environ.get('HTTP_X_AUTH_TOKEN') == TOKEN:
            environ['HTTP_X_TEST_ROLES'] = ROLES
        return self._application(environ, start_response)


@contextlib.contextmanager
def serving(application: Callable[..., Any]) -> Iterator[str]:
    """Serve an application; gives its URL."""
    server = simple_server.make_server(
        '127.0.0.1', 0, Tokens(application), handler_class=_Quiet
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
