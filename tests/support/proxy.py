# SPDX-License-Identifier: Apache-2.0
"""A way to a server that can be cut, at a place that a test chooses."""

from __future__ import annotations

import contextlib
import socket
import threading

import fixtures


class Proxy(fixtures.Fixture):
    """Listens on a port of the loopback address and passes on to a server.

    :param target: path of a Unix socket, or host and port.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        super().__init__()
        self._target = target
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []

    def _setUp(self) -> None:
        self.accept()
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self.addCleanup(self.refuse)
        self.addCleanup(self._close, self._listener)
        threading.Thread(target=self._serve, daemon=True).start()

    def accept(self) -> None:
        """Pass everything on; connections that stalled are dropped."""
        self._drop()
        self._refusing = False
        self._flows = threading.Event()
        self._flows.set()
        self._left: int | None = None
        self._passed_on = True
        self._answer: bytes | None = None

    def refuse(self) -> None:
        """Drop every connection, and new ones at once."""
        self._refusing = True
        self._drop()

    def stall(self) -> None:
        """Keep connections, also new ones, and let nothing through."""
        self._flows.clear()

    def cut_after(self, requests: int, *, passed_on: bool) -> None:
        """Drop the connection whose client has sent so many chunks.

        :param passed_on: the server gets the last one; its answer is lost.
        """
        self._left, self._passed_on = requests, passed_on

    def answer(self, content: bytes) -> None:
        """Say this in the server's place to each new connection."""
        self._drop()
        self._answer = content

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            if self._answer is not None:
                with contextlib.suppress(OSError):
                    client.recv(1 << 16)
                    client.sendall(self._answer)
                self._close(client)
                continue
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for one, other, pump in (
                (client, server, self._requests),
                (server, client, self._answers),
            ):
                threading.Thread(
                    target=pump, args=(one, other, self._flows), daemon=True
                ).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target)
        made = socket.socket(socket.AF_UNIX)
        made.connect(self._target)
        return made

    def _requests(self, client, server, flows: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                flows.wait()
                last = False
                if self._left is not None:
                    self._left -= 1
                    last = self._left == 0
                if last:
                    self._close(client)
                    if self._passed_on:
                        server.sendall(data)
                        server.recv(1 << 16)
                    break
                server.sendall(data)
        self._close(client, server)

    def _answers(self, server, client, flows: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                flows.wait()
                client.sendall(data)
        self._close(client)

    def _drop(self) -> None:
        with self._lock:
            dropped, self._open = self._open, []
        self._close(*dropped)

    def _close(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
