# SPDX-License-Identifier: Apache-2.0
"""A way to MariaDB that takes its time, and notes what goes over it.

Not ``tc netem``: that needs a kernel module and a network namespace, and this
has to see statements anyway. A client of MariaDB sends one command and awaits
its answer, so a delay each way is a round-trip time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator

from korora_tools.fleet.processes import LOCAL

#: COM_QUERY of the client/server protocol, and where it stands in a packet.
_QUERY = 3
_COMMAND = 4
_CHUNK = 1 << 16
_ENDS = ('COMMIT', 'ROLLBACK')


@dataclasses.dataclass
class Statement:
    """One statement as it passed.

    :param connection: number of it.
    :param sent: ``time.monotonic`` when it was given to the server;
        ``answered`` when its answer came from there.
    """

    connection: int
    text: str
    sent: float = 0.0
    answered: float = 0.0

    @property
    def ends(self) -> bool:
        """Whether it ends a transaction."""
        return self.text.upper().startswith(_ENDS)

    @property
    def locks(self) -> bool:
        """Whether it may lock rows until its transaction ends."""
        words = self.text.lstrip().upper()
        return (
            words.startswith(('UPDATE', 'INSERT', 'DELETE', 'REPLACE'))
            or 'FOR UPDATE' in words
            or 'LOCK IN SHARE MODE' in words
        )


class Way:
    """A port of the loopback address that leads to a server.

    :param delay: seconds, in each direction.
    :ivar statements: all that passed, in their order.
    :ivar before: is called with each statement before it is passed on, and
        may wait.
    """

    def __init__(
        self, stack: contextlib.ExitStack, target: int, delay: float
    ) -> None:
        self._target = target
        self._delay = delay
        self._lock = threading.Lock()
        self._count = 0
        self.statements: list[Statement] = []
        self.before: Callable[[Statement], None] = lambda statement: None
        self._listener = socket.create_server((LOCAL, 0))
        self.port: int = self._listener.getsockname()[1]
        stack.callback(self._listener.close)
        threading.Thread(target=self._serve, daemon=True).start()

    @contextlib.contextmanager
    def recorded(self) -> Iterator[list[Statement]]:
        """What passes while the block runs."""
        with self._lock:
            first = len(self.statements)
        found: list[Statement] = []
        yield found
        with self._lock:
            found += self.statements[first:]

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((LOCAL, self._target))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._count += 1
            pending: list[Statement] = []
            for pump in (
                (self._requests, client, server, self._count, pending),
                (self._answers, server, client, pending),
            ):
                threading.Thread(
                    target=pump[0], args=pump[1:], daemon=True
                ).start()

    def _requests(
        self,
        client: socket.socket,
        server: socket.socket,
        number: int,
        pending: list[Statement],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK):
                time.sleep(self._delay)
                if len(data) > _COMMAND and data[_COMMAND] == _QUERY:
                    text = data[_COMMAND + 1 :].decode(errors='replace')
                    statement = Statement(number, text)
                    self.before(statement)
                    statement.sent = time.monotonic()
                    with self._lock:
                        self.statements.append(statement)
                    pending.append(statement)
                server.sendall(data)
        _close(client, server)

    def _answers(
        self,
        server: socket.socket,
        client: socket.socket,
        pending: list[Statement],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                now = time.monotonic()
                while pending:
                    pending.pop().answered = now
                time.sleep(self._delay)
                client.sendall(data)
        _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def transactions(statements: list[Statement]) -> list[list[Statement]]:
    """Those that have more than their end, each with it; by their ends."""
    open_: dict[int, list[Statement]] = {}
    found = []
    for one in statements:
        mine = open_.setdefault(one.connection, [])
        if one.text.upper().startswith(('SET ', 'SHOW ', 'BEGIN')):
            continue
        mine.append(one)
        if one.ends:
            if len(mine) > 1:
                found.append(mine)
            open_[one.connection] = []
    return found
