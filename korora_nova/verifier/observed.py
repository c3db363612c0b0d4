# SPDX-License-Identifier: Apache-2.0
"""What a worker has read of all hosts' results, and what changed meanwhile.

It is never changed: each look at the database makes a new one, and one that
is given to several threads is whole.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import threading
from collections.abc import Callable, Mapping

from korora_nova.rats.signed import keys, snapshot

#: Hosts that are remembered after they are gone.
MAX_GONE = 10_000
#: Answers that are kept until the next look at the database.
MAX_PAGES = 32


@dataclasses.dataclass(frozen=True)
class Listed:
    """One host.

    :param seq: of its last change, as its row in the database has it.
    :param line: its row in a snapshot.
    :param changed: readers that have read less lack this line.
    """

    seq: int
    line: str
    changed: int


@dataclasses.dataclass(frozen=True)
class Page:
    """One answer, as often as it is asked for."""

    body: bytes

    @functools.cached_property
    def compressed(self) -> bytes:
        """The same in gzip."""
        return gzip.compress(self.body, 3)


@dataclasses.dataclass(frozen=True)
class Observed:
    """All hosts at one moment.

    :param began: when reading began, by the process's own clock.
    :param at: the same, seconds since 1970.
    :param ring: which verified the results that it is made of.
    :param gone: hosts that went, by what readers who have them have read.
    :param since: the least that a reader must have read to be told changes.
    """

    began: float
    at: float
    ring: keys.KeyRing
    head: snapshot.Head
    token: str
    hosts: Mapping[str, Listed]
    gone: Mapping[str, int]
    since: int
    _pages: dict[int | None, Page] = dataclasses.field(default_factory=dict)

    def page(self, base: int | None) -> Page:
        """The answer for readers that have read so much; None: nothing."""
        found = self._pages.get(base)
        if found is None:
            found = Page(
                json.dumps(
                    self._update(base)._asdict(), separators=(',', ':')
                ).encode()
            )
            if len(self._pages) < MAX_PAGES:
                self._pages[base] = found
        return found

    def tells(self, seq: int, incarnation: str) -> bool:
        """Whether it is known what changed since."""
        return (
            incarnation == self.head.incarnation
            and self.since <= seq <= self.head.seq
        )

    def _update(self, base: int | None) -> snapshot.Update:
        least = -1 if base is None else base
        return snapshot.Update(
            self.token,
            ''
            if base is None
            else dataclasses.replace(self.head, seq=base).mark,
            '\n'.join(
                self.hosts[host].line
                for host in sorted(self.hosts)
                if self.hosts[host].changed > least
            ),
            ()
            if base is None
            else tuple(
                host for host, went in self.gone.items() if went > base
            ),
        )


class Latest:
    """The newest one of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: Observed | None = None
        self._looking: threading.Event | None = None

    @property
    def value(self) -> Observed | None:
        return self._value

    def joined(self) -> Observed | None:
        """The newest one, once a thread that looks now has seen it."""
        looking = self._looking
        if looking is not None:
            looking.wait()
        return self._value

    def made(self, look: Callable[[Observed | None], Observed]) -> Observed:
        """Look, from the newest one on; others may wait for it."""
        self._looking = mine = threading.Event()
        try:
            one = look(self._value)
            with self._lock:
                if self._value is None or self._value.began <= one.began:
                    self._value = one
            return one
        finally:
            with self._lock:
                if self._looking is mine:
                    self._looking = None
            mine.set()
