# SPDX-License-Identifier: Apache-2.0
"""What may keep a worker busy, and how much of it."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from korora_nova import errors

#: Large requests of one host at a time.
LARGE = 4


class Uploads:
    """The large requests that a worker has in hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def of(self, host: str) -> Iterator[None]:
        """Have one more of a host while the block runs.

        :raises Retry: there are :data:`LARGE` already.
        """
        with self._lock:
            if self._open[host] >= LARGE:
                raise errors.Retry(
                    message='The host has several large requests under way.'
                )
            self._open[host] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[host] -= 1
                if not self._open[host]:
                    del self._open[host]


class Pressure:
    """Periodic attestations that a worker has in hand.

    Others are never refused: somebody waits for them. Of these a host has
    one every half minute, and the last one counts for minutes. While there
    are many, those go first whose host was not heard for longest.

    :param most: at a time, in this process; 0: any number.
    :param monotonic: seconds.
    """

    #: Seconds for which a host that was heard comes after the others.
    RECENT = 20.0
    #: Shortest and longest time, seconds, after which it may come again.
    SOON, LATE = 2, 30
    #: Hosts of which is known when they were heard.
    KNOWN = 100_000

    def __init__(
        self, most: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._open = 0
        self._refused = 0
        self._heard: collections.OrderedDict[str, float] = (
            collections.OrderedDict()
        )

    @contextlib.contextmanager
    def of(self, host: str, *, last: bool = True) -> Iterator[None]:
        """Have one more in hand while the block runs.

        :param last: the host is heard with it; else it comes again at once.
        :raises Busy: BUSY, there are too many.
        """
        self._enter(host)
        try:
            yield
            if last:
                self._note(host)
        finally:
            with self._lock:
                self._open -= 1

    def _note(self, host: str) -> None:
        with self._lock:
            self._heard[host] = self._monotonic()
            self._heard.move_to_end(host)
            while len(self._heard) > self.KNOWN:
                self._heard.popitem(last=False)

    def _enter(self, host: str) -> None:
        now = self._monotonic()
        with self._lock:
            most = self._most
            recent = now - self._heard.get(host, -self.RECENT) < self.RECENT
            if most and self._open >= (max(1, most // 2) if recent else most):
                # The more are refused in a row, the later they come again.
                self._refused += 1
                after = min(self.SOON + self._refused // most, self.LATE)
                raise errors.Busy(
                    errors.Reason.BUSY, details={'retry_after': str(after)}
                )
            self._open += 1
            self._refused = max(0, self._refused - 1)


class Waits:
    """Requests that wait for news, each of which keeps a thread.

    :param most: at a time, in this process.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most) if most else None

    @contextlib.contextmanager
    def place(self) -> Iterator[bool]:
        """Whether one more may wait while the block runs."""
        admitted = self._free is not None and self._free.acquire(
            blocking=False
        )
        try:
            yield admitted
        finally:
            if self._free is not None and admitted:
                self._free.release()
