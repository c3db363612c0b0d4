# SPDX-License-Identifier: Apache-2.0
"""The agent's local socket: who may call, framing, and nothing else.

Requests are never logged: one of them carries a passphrase. That one is not
even read here: somebody else does who ends when it is served.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from oslo_log import log as logging

from korora_nova import errors, metrics, spans, trail
from korora_nova.attester import socket_client
from korora_nova.custody import messages, operations
from korora_nova.rats import schemas

LOG = logging.getLogger(__name__)

#: Takes an operation's request and returns its answer.
Handler = Callable[[Any], operations.Fields]

#: Takes a connection, what was read of a request to seal, and how much of it
#: was not; gives the request and the caller's trace.
Take = Callable[
    [socket.socket, bytes, int], AbstractContextManager[tuple[Any, str]]
]

MAX_CONNECTIONS = 64
#: Callers that are not allowed are told so on a few connections of their
#: own: they cannot keep Nova out by holding all of them.
MAX_STRANGERS = 4
_IDLE_SECONDS = 60.0
_STRANGER_SECONDS = 2.0
_PAUSE_SECONDS = 0.5
#: How a request to seal begins, as our client has always written it; and the
#: longest one, bytes.
_SEAL = b'{"version": 1, "op": "seal"'
_MAX_SEAL = 1 << 14
# struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)
_UCRED = struct.Struct('3i')

_ANY_OP = {
    'type': 'object',
    'required': ['version', 'op'],
    'properties': {'version': schemas.VERSION, 'op': {'type': 'string'}},
}


def uids(users: Iterable[str]) -> frozenset[int]:
    """User ids of names and numbers; a name unknown here is left out."""
    found = set()
    for user in users:
        if user.isdigit():
            found.add(int(user))
            continue
        try:
            found.add(pwd.getpwnam(user).pw_uid)
        except KeyError:
            LOG.warning('There is no user %s on this host', user)
    return frozenset(found)


class Server:
    """Serves operations on a unix socket, one thread per connection.

    :param path: of the socket; its directory must exist.
    :param allowed: user ids that may call; everybody may connect.
    :param handlers: operation to a function of its request.
    :param take: reads requests to seal.
    """

    def __init__(
        self,
        path: str,
        allowed: frozenset[int],
        handlers: Mapping[str, Handler],
        take: Take,
    ) -> None:
        self._path = path
        self._allowed = allowed
        self._handlers = handlers
        self._take = take
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._strangers = threading.BoundedSemaphore(MAX_STRANGERS)
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(
            target=self._accept, name='socket', daemon=True
        )

    def start(self) -> None:
        """Listen; a stale socket of an earlier process is replaced."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        temporary = f'{self._path}.new'
        if os.path.lexists(temporary):
            os.unlink(temporary)
        listener.bind(temporary)
        # Peer credentials decide; the mode only has to admit the callers
        os.chmod(temporary, 0o666)
        listener.listen(MAX_CONNECTIONS)
        os.rename(temporary, self._path)
        self._listener = listener
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and remove the socket."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if os.path.lexists(self._path):
            os.unlink(self._path)
        # close() alone would leave accept() waiting
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None and self._listener is listener:
            try:
                connection, _address = listener.accept()
                self._admit(connection)
            except (OSError, RuntimeError) as exc:
                if self._listener is listener:
                    # Descriptors or threads ran out: that passes
                    LOG.error('The local socket failed: %s', exc)
                    time.sleep(_PAUSE_SECONDS)

    def _admit(self, connection: socket.socket) -> None:
        """Serve a connection, or close it if there are too many.

        :raises RuntimeError: there is no thread to be had.
        """
        try:
            permitted = peer_uid(connection) in self._allowed
            slots = self._slots if permitted else self._strangers
            if not slots.acquire(blocking=False):
                connection.close()
                return
        except OSError:
            connection.close()
            raise
        thread = threading.Thread(
            target=self._serve,
            args=(connection, permitted, slots),
            name='connection',
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:
            slots.release()
            connection.close()
            raise

    def _serve(
        self,
        connection: socket.socket,
        permitted: bool,
        slots: threading.BoundedSemaphore,
    ) -> None:
        try:
            with connection:
                connection.settimeout(
                    _IDLE_SECONDS if permitted else _STRANGER_SECONDS
                )
                while self._exchange(connection, permitted):
                    pass
        except OSError:
            pass  # the caller hung up or fell silent
        finally:
            slots.release()

    def _exchange(self, connection: socket.socket, permitted: bool) -> bool:
        header = connection.recv(socket_client.HEADER.size)
        if not header:
            return False
        header += socket_client.receive(
            connection, socket_client.HEADER.size - len(header)
        )
        (length,) = socket_client.HEADER.unpack(header)
        if length > socket_client.MAX_MESSAGE:
            _send(connection, _failure(errors.TooLarge('TOO_LARGE')))
            return False
        if not permitted:
            denied = errors.Forbidden(errors.Reason.PEER_DENIED)
            _send(connection, _failure(denied))
            return False
        head = socket_client.receive(connection, min(length, len(_SEAL)))
        left = length - len(head)
        if head == _SEAL:
            with trail.scope():
                answer = _answered(
                    lambda: operations.Seal.OP,
                    lambda: self._seal(connection, head, left),
                )
            _send(connection, answer)
            return False  # whoever read it may have left something
        content = head + socket_client.receive(connection, left)
        with trail.scope():
            answer = self._answer(content)
        _send(connection, answer)
        return True

    def _seal(
        self, connection: socket.socket, head: bytes, left: int
    ) -> operations.Fields:
        if left > _MAX_SEAL:
            raise errors.TooLarge(errors.Reason.TOO_LARGE)
        with self._take(connection, head, left) as (request, trace):
            return self._run(request, trace)

    def _answer(self, content: bytes) -> dict[str, object]:
        op = '?'

        def work() -> operations.Fields:
            nonlocal op
            try:
                request = messages.loads(content.decode(), _ANY_OP)
            except UnicodeDecodeError:
                raise errors.Invalid(errors.Reason.INVALID_REQUEST) from None
            del request['version']
            op = request.pop('op')
            return self._do(op, request)

        return _answered(lambda: op, work)

    def _do(self, op: str, fields: dict[str, object]) -> operations.Fields:
        trace = str(fields.pop(spans.TRACEPARENT, ''))
        if op not in self._handlers or op not in operations.REQUESTS:
            raise errors.Invalid(
                errors.Reason.INVALID_REQUEST,
                'The agent has no such operation.',
            )
        if op == operations.Seal.OP:
            raise errors.Invalid(
                errors.Reason.INVALID_REQUEST,
                f'A request to seal begins with {_SEAL.decode()}.',
            )
        return self._run(operations.REQUESTS[op].from_json(fields), trace)

    def _run(
        self, request: operations.Request, trace: str
    ) -> operations.Fields:
        """:param trace: the caller's, which may be anything."""
        op = request.OP
        instance = getattr(request, 'instance', '')
        migration = getattr(request, 'migration', '')
        trail.enter(trace, instance=instance, migration=migration)
        with (
            metrics.AGENT_SECONDS.time({'op': op}),
            metrics.counted(metrics.AGENT_OPERATIONS, op=op),
            spans.span(
                f'agent.{op}',
                remote=trace,
                instance=instance,
                migration=migration,
            ),
        ):
            answer = self._handlers[op](request)
        if migration:
            LOG.info('%s: done', op)
        return answer


def _answered(
    op: Callable[[], str], work: Callable[[], operations.Fields]
) -> dict[str, object]:
    """What an operation answers, also if it fails.

    :param op: its name, as far as that is known by then.
    """
    try:
        answer = work()
    except errors.KororaError as exc:
        LOG.info('%s: %s %s', op(), exc, exc.details)
        return _failure(exc)
    except Exception as exc:  # noqa: BLE001 - fail closed, answer all
        # No traceback: its frames' values could be the request's
        LOG.error('%s failed: %s', op(), describe(exc))
        return _failure(errors.Unavailable(errors.Reason.INTERNAL))
    return {'version': 1, 'ok': True, **answer.to_json()}


def describe(exc: BaseException) -> str:
    """Class and places of an unexpected error, without its text."""
    places = []
    for frame in traceback.extract_tb(exc.__traceback__)[-6:]:
        name = frame.filename.rpartition('/')[2]
        places.append(f'{name}:{frame.lineno}')
    return f'{type(exc).__name__} at {" < ".join(reversed(places))}'


def peer_uid(connection: socket.socket) -> int:
    """The user id that the kernel vouches for."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
    )
    _pid, uid, _gid = _UCRED.unpack(credentials)
    return int(uid)


def failure(exc: errors.KororaError) -> dict[str, object]:
    """An error as JSON: reason, message, details."""
    return {
        'reason': exc.reason,
        'message': exc.message,
        'details': exc.details,
    }


def _failure(exc: errors.KororaError) -> dict[str, object]:
    return {'version': 1, 'error': failure(exc)}


def _send(connection: socket.socket, document: dict[str, object]) -> None:
    content = messages.dumps(document).encode()
    connection.sendall(socket_client.HEADER.pack(len(content)) + content)
