# SPDX-License-Identifier: Apache-2.0
"""Client of the agent's local socket: one method per operation.

Runs inside nova-compute. A message is ``u32be length | JSON``, at most
1 MiB. One connection per call: no lock, no shared state, safe from any
thread.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from typing import Any, TypeVar

from korora_nova import errors, spans
from korora_nova.custody import answers, operations
from korora_nova.secret import Secret

#: Longest message, bytes.
MAX_MESSAGE = 1 << 20
#: u32be length of the JSON text that follows.
HEADER = struct.Struct('>I')

_A = TypeVar('_A', bound=operations.Fields)


class AgentClient:
    """Calls the agent that listens on a unix socket.

    Every operation raises what the agent reported, by its reason, or
    :class:`errors.Unavailable`: AGENT_UNAVAILABLE.

    :param path: of the socket.
    :param timeout: seconds that one call may take, however slowly its
        answer arrives.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout

    # This host and others

    def status(self) -> answers.HostStatus:
        return self._run(operations.Status(), answers.HostStatus)

    def attest(self, max_age: float | None = None) -> answers.Appraised:
        """Attest this host now.

        :param max_age: seconds; evidence that is not older will do, where
            what follows cannot do without new one. Agents of older releases
            always take new one.
        :raises errors.Untrusted: HOST_UNTRUSTED.
        """
        if max_age is not None:
            try:
                return self._run(operations.Attest(max_age), answers.Appraised)
            except errors.Invalid:
                pass  # it does not know that field
        return self._run(operations.Attest(), answers.Appraised)

    def verdict(self, host: str) -> answers.Appraised:
        """The service's word on another host, verified.

        :raises errors.Untrusted: it is not affirming.
        """
        return self._run(operations.Verdict(host), answers.Appraised)

    def enforces(self, driver: str, release: str, drift: str) -> None:
        """Tell that this nova-compute runs our driver.

        :param release: of this package in nova-compute.
        :param drift: why it refuses protected servers, '' if nothing is.
        """
        self._run(operations.Enforces(driver, release, drift), answers.Done)

    # A server's key

    def protection(
        self, instance: str, *, ledger: bool = True
    ) -> answers.Protected:
        """Whether a server is protected, as vault and ledger know it.

        :param ledger: false: as the vault knows it, without the network.
        """
        return self._run(
            operations.Protection(instance, ledger), answers.Protected
        )

    def seal(
        self, instance: str, secret_uuid: str, passphrase: Secret
    ) -> answers.Key:
        """Take a new key into custody."""
        return self._run(
            operations.Seal(instance, secret_uuid, passphrase), answers.Key
        )

    def open(self, instance: str) -> answers.Key:
        """Let the agent give libvirt the passphrase."""
        return self._run(operations.Open(instance), answers.Key)

    def launch(self, instance: str) -> None:
        """The guest starts now, with its vTPM's state in place.

        :raises errors.CustodyError: VTPM_STATE_CHANGED.
        """
        self._run(operations.Launch(instance), answers.Done)

    def close(self, instance: str) -> None:
        """Let it take the passphrase away again."""
        self._run(operations.Close(instance), answers.Done)

    def forget(
        self, instance: str, *, wait: float | None = None
    ) -> answers.Noted:
        """The server was deleted."""
        return self._run(operations.Forget(instance, wait), answers.Noted)

    # Live migration

    def announce(self, instance: str) -> None:
        """A server may leave this host soon."""
        self._run(operations.Announce(instance), answers.Done)

    def check_address(self, address: str) -> None:
        """:raises errors.CustodyError: ADDRESS_MISMATCH."""
        self._run(operations.CheckAddress(address), answers.Done)

    def receive(
        self,
        instance: str,
        migration: str,
        *,
        source: str,
        address: str,
        tls_name: str | None,
    ) -> answers.Received:
        """Get a server's key from its source."""
        return self._run(
            operations.Receive(instance, migration, source, address, tls_name),
            answers.Received,
        )

    def start(
        self,
        instance: str,
        migration: str,
        *,
        dest: str,
        address: str,
        tls_name: str | None,
    ) -> answers.Started:
        """Ask whether the memory stream may start."""
        return self._run(
            operations.Start(instance, migration, dest, address, tls_name),
            answers.Started,
        )

    def prepare(
        self, instance: str, migration: str, *, dest: str, kind: str
    ) -> None:
        """Hand a key over before a cold migration.

        :param kind: of ``custody.moves.Move``.
        """
        self._run(
            operations.Prepare(instance, migration, dest, kind), answers.Done
        )

    def stays(self, instance: str, migration: str) -> answers.Noted:
        """The cold migration failed, the server is still here."""
        return self._run(operations.Stays(instance, migration), answers.Noted)

    def stream_completed(self, instance: str, migration: str) -> answers.Noted:
        """The source's memory is all at the destination."""
        return self._run(
            operations.StreamCompleted(instance, migration), answers.Noted
        )

    def never_started(self, instance: str, migration: str) -> answers.Noted:
        """The source did not call libvirt, and will not."""
        return self._run(
            operations.NeverStarted(instance, migration), answers.Noted
        )

    def activated(self, instance: str, migration: str) -> answers.Noted:
        """The guest runs here, at the destination."""
        return self._run(
            operations.Activated(instance, migration), answers.Noted
        )

    def no_domain(self, instance: str, migration: str) -> answers.Noted:
        """There is no guest here, at the destination."""
        return self._run(
            operations.NoDomain(instance, migration), answers.Noted
        )

    def ended(self, instance: str, migration: str) -> answers.Ended:
        """Why the agent was told to end the stream from here."""
        return self._run(operations.Ended(instance, migration), answers.Ended)

    # The socket

    def _run(self, request: operations.Request, answer: type[_A]) -> _A:
        spans.count('agent')
        fields, trace = request.to_json(), spans.carrier()
        try:
            said = self.call(request.OP, **fields | trace)
        except errors.Invalid:
            if not trace:
                raise
            # An agent of an older release does not know that field
            said = self.call(request.OP, **fields)
        try:
            return answer.from_json(said)
        except errors.Invalid:
            raise self._unavailable('what answers is no agent') from None

    def call(
        self, op: str, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Run an operation by its name, with whatever fields.

        :param timeout: seconds, instead of the client's own.
        :returns: the answer's fields.
        """
        request = json.dumps({'version': 1, 'op': op, **fields}).encode()
        if len(request) > MAX_MESSAGE:
            raise errors.TooLarge(errors.Reason.TOO_LARGE)
        try:
            content = self._exchange(
                request, self._timeout if timeout is None else timeout
            )
            answer = json.loads(content)
        except (OSError, ValueError, RecursionError) as exc:
            raise self._unavailable(_cause(exc)) from None
        return self._result(answer)

    def _exchange(self, request: bytes, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(self._path)
            connection.settimeout(_left(deadline))
            connection.sendall(HEADER.pack(len(request)) + request)
            header = receive(connection, HEADER.size, deadline)
            (length,) = HEADER.unpack(header)
            if length > MAX_MESSAGE:
                raise ValueError('the answer is too long')
            return receive(connection, length, deadline)

    def _result(self, answer: Any) -> dict[str, Any]:
        if not isinstance(answer, dict) or answer.get('version') != 1:
            raise self._unavailable('what answers is no agent')
        if answer.get('ok') is True:
            return {
                key: value
                for key, value in answer.items()
                if key not in ('version', 'ok')
            }
        reported = answer.get('error')
        if not isinstance(reported, dict):
            raise self._unavailable('what answers is no agent')
        details = reported.get('details')
        raise errors.from_reason(
            str(reported.get('reason')),
            str(reported.get('message')),
            {str(k): str(v) for k, v in details.items()}
            if isinstance(details, dict)
            else None,
        )

    def _unavailable(self, cause: str) -> errors.Unavailable:
        return errors.Unavailable(
            errors.Reason.AGENT_UNAVAILABLE,
            f'The korora-agent of this host does not answer on '
            f'{self._path}: {cause}.',
        )


def receive(
    connection: socket.socket, size: int, deadline: float = math.inf
) -> bytes:
    """Read exactly ``size`` bytes.

    :param deadline: by ``time.monotonic``, if all must be here by then.
    :raises ConnectionError: the peer hung up before.
    :raises TimeoutError: one read, or all, took too long.
    """
    content = bytearray()
    while len(content) < size:
        if deadline < math.inf:
            connection.settimeout(_left(deadline))
        chunk = connection.recv(min(65536, size - len(content)))
        if not chunk:
            raise ConnectionError('the peer hung up')
        content += chunk
    return bytes(content)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _cause(exc: Exception) -> str:
    """Why there is no answer; never its content."""
    if isinstance(exc, TimeoutError):
        return 'it took too long'
    strerror = getattr(exc, 'strerror', None)
    return strerror or type(exc).__name__
