# SPDX-License-Identifier: Apache-2.0
"""How much one host may keep a worker busy with."""

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
