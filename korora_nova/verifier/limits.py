# SPDX-License-Identifier: Apache-2.0
"""What may keep a worker busy, and how much of it."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterator

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
