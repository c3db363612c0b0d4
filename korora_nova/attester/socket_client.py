# SPDX-License-Identifier: Apache-2.0
"""Client of the agent's local socket; runs inside nova-compute.

A message is ``u32be length | JSON``, at most 1 MiB.  One connection per
call: no lock, no shared state, safe from any thread.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from korora_nova import errors

#: Longest message, bytes.
MAX_MESSAGE = 1 << 20
#: u32be length of the JSON text that follows.
HEADER = struct.Struct('>I')


class AgentClient:
    """Calls the agent behind a unix socket.

    :param path: of the socket.
    :param timeout: seconds that one call may take in each direction.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout

    def call(
        self, op: str, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Run one operation of the agent.

        :param timeout: seconds, instead of the client's own.
        :returns: the answer without its envelope.
        :raises errors.KororaError: what the agent reported, by its reason.
        :raises errors.Unavailable: AGENT_UNAVAILABLE.
        """
        request = json.dumps({'version': 1, 'op': op, **fields}).encode()
        if len(request) > MAX_MESSAGE:
            raise errors.TooLarge(errors.Reason.TOO_LARGE)
        try:
            content = self._exchange(
                request, self._timeout if timeout is None else timeout
            )
            answer = json.loads(content)
        except (OSError, ValueError, RecursionError) as error:
            raise self._unavailable(_cause(error)) from None
        return self._result(answer)

    def _exchange(self, request: bytes, timeout: float) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(self._path)
            connection.sendall(HEADER.pack(len(request)) + request)
            (length,) = HEADER.unpack(receive(connection, HEADER.size))
            if length > MAX_MESSAGE:
                raise ValueError('the answer is too long')
            return receive(connection, length)

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


def receive(connection: socket.socket, size: int) -> bytes:
    """Read exactly ``size`` bytes.

    :raises ConnectionError: the peer hung up before.
    """
    content = bytearray()
    while len(content) < size:
        chunk = connection.recv(min(65536, size - len(content)))
        if not chunk:
            raise ConnectionError('the peer hung up')
        content += chunk
    return bytes(content)


def _cause(error: Exception) -> str:
    """Why there is no answer; never its content."""
    if isinstance(error, TimeoutError):
        return 'it took too long'
    strerror = getattr(error, 'strerror', None)
    return strerror or type(error).__name__
