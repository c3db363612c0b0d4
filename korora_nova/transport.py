# SPDX-License-Identifier: Apache-2.0
"""Answers over HTTP that end: bounded in time and in size, as a whole.

The timeout of requests is that of one read. A peer that sends one byte in
that time, in the headers or in the body, is never too slow for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

import requests
from keystoneauth1 import session as ks_session

from korora_nova import spans, trail

#: Longest body, bytes; results of 10,000 hosts are a third of it.
MAX_BODY = 32 << 20
_CHUNK = 64 << 10

#: For requests of keystoneauth, as ``rate_semaphore``. An adapter's own one
#: lets no request pass before the time of its making, by the wall clock: one
#: that was a day ahead would end all requests for a day.
UNTHROTTLED = contextlib.nullcontext()


@dataclasses.dataclass(frozen=True)
class Reply:
    """A whole answer, not yet understood."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """:raises ValueError: it is not JSON."""
        return json.loads(self.body)


class TooLong(requests.RequestException):
    """The body is longer than :data:`MAX_BODY`."""


def read(response: requests.Response) -> Reply:
    """Read an answer that was requested with ``stream=True``.

    :raises requests.RequestException: it broke off, or goes on too long.
    """
    body = bytearray()
    with response:
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > MAX_BODY:
                raise TooLong
    return Reply(response.status_code, response.headers, bytes(body))


def identity() -> dict[str, str]:
    """Headers that say whose doing a request is."""
    return spans.carrier() | trail.headers()


def bound(session: ks_session.Session) -> None:
    """Give each answer to a session, as a whole, the time of one read."""
    for scheme in ('http://', 'https://'):
        session.session.mount(scheme, Adapter())


class Adapter(ks_session.TCPKeepAliveAdapter):
    """Reads answers by :class:`_Response`, and counts requests."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        spans.count('http')
        request.headers.update(identity())
        return super().send(request, *args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _bound(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            _bound(manager)
        return manager


def _bound(manager: Any) -> None:
    """Let the connections of a ``urllib3.PoolManager`` read so."""
    manager.pool_classes_by_scheme = {
        scheme: type(
            pool.__name__,
            (pool,),
            {
                'ConnectionCls': type(
                    pool.ConnectionCls.__name__,
                    (pool.ConnectionCls,),
                    {'response_class': _Response},
                )
            },
        )
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


class _Response(http.client.HTTPResponse):
    """One answer, from its first line to its end."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Deadline(sock), *args, **kwargs)  # type: ignore


class _Deadline:
    """The socket of an answer, for which the clock runs from now."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock))


class _Reader(io.RawIOBase):
    """Reads a socket for as long as one read of it may take, in all."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile('rb', buffering=0)
        self._timeout = sock.gettimeout()
        self._end = (
            None if self._timeout is None else time.monotonic() + self._timeout
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._end is None:
            return self._raw.readinto(buffer)
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError('the answer took too long')
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            # The next request on this connection has its own time.
            self._sock.settimeout(self._timeout)

    def close(self) -> None:
        self._raw.close()
        super().close()
