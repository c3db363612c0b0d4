# SPDX-License-Identifier: Apache-2.0
"""The network between processes: HTTP to the service, agents' own bus."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import socketserver
import threading
import types
import wsgiref.simple_server
from typing import Any

import requests

from korora_nova import errors
from korora_nova.attester import rpc
from korora_nova.custody import messages
from korora_nova.custody.transfer import (
    PrepareRequest,
    Transfer,
    WrapRequest,
)
from tests.support import service


class Forward(requests.adapters.HTTPAdapter):
    """Sends what is for the tests' endpoint to a port of this machine."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        request.url = request.url.replace(
            service.ENDPOINT, f'http://127.0.0.1:{self._port}', 1
        )
        kwargs['proxies'] = {}
        return super().send(request, *args, **kwargs)


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def server_bind(self) -> None:
        # HTTPServer's asks for the machine's name, which takes seconds
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = (
            '127.0.0.1',
            self.server_address[1],
        )
        self.setup_environ()


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def serve(application: Any, port: int) -> None:
    """Serve a WSGI application in threads of its own."""
    server = _Server(('127.0.0.1', port), _Handler)
    server.set_app(application)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return int(one.getsockname()[1])


class Bus:
    """In place of RabbitMQ: one socket per agent, one call a connection.

    :cvar directory: of the sockets.
    """

    directory: pathlib.Path

    def __init__(
        self, conf: object, url: str, host: str, timeout: float
    ) -> None:
        self._host = host
        self._timeout = timeout
        self._transport = types.SimpleNamespace()

    def start(self, endpoint: rpc.Endpoint) -> None:
        path = str(self.directory / self._host)
        if os.path.exists(path):
            os.unlink(path)

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked = json.loads(self.rfile.readline())
                method, request = asked
                answer = getattr(endpoint, method)({}, **request)
                self.wfile.write(json.dumps(answer).encode() + b'\n')

        class Server(
            socketserver.ThreadingMixIn, socketserver.UnixStreamServer
        ):
            daemon_threads = True

        server = Server(path, Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        pass

    def ask(self, source: str, request: WrapRequest) -> Transfer:
        return Transfer.from_json(self._call(source, 'wrap', request))

    def prepare(self, dest: str, request: PrepareRequest) -> None:
        self._call(dest, 'prepare', request)

    def _call(
        self, host: str, method: str, request: messages.Message
    ) -> object:
        asked = json.dumps([method, request.to_json()]).encode() + b'\n'
        try:
            with socket.socket(socket.AF_UNIX) as call:
                call.settimeout(2 * self._timeout)
                call.connect(str(self.directory / host))
                call.sendall(asked)
                with call.makefile('rb') as answers:
                    answer = json.loads(answers.readline())
        except (OSError, ValueError) as exc:
            raise errors.Unavailable(
                errors.Reason.BUS_UNAVAILABLE, type(exc).__name__
            ) from None
        return rpc.answered(answer)
