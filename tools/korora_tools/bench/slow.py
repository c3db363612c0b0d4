# SPDX-License-Identifier: Apache-2.0
"""An agent's socket that is slow by a known time: what calibrates a bench."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import threading
import time

from korora_nova.attester.socket_client import HEADER, receive

#: Beside the agent's own, in a host.
NAME = 'slow.sock'


class SlowSocket:
    """Passes requests on to an agent, one operation late.

    :param agent: path of the agent's socket.
    :param op: the operation that waits.
    """

    def __init__(self, agent: pathlib.Path, op: str) -> None:
        self._agent = agent
        self._op = op
        self._path = agent.with_name(NAME)
        #: Seconds.
        self.delay = 0.0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> SlowSocket:
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        os.chmod(self._path, 0o600)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._pass, args=(caller,), daemon=True
            ).start()

    def _pass(self, caller: socket.socket) -> None:
        with (
            contextlib.suppress(OSError, ValueError),
            caller,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent,
        ):
            agent.connect(str(self._agent))
            request = _message(caller)
            if json.loads(request)['op'] == self._op:
                time.sleep(self.delay)
            agent.sendall(HEADER.pack(len(request)) + request)
            answer = _message(agent)
            caller.sendall(HEADER.pack(len(answer)) + answer)


def _message(connection: socket.socket) -> bytes:
    (length,) = HEADER.unpack(receive(connection, HEADER.size))
    return receive(connection, length)
