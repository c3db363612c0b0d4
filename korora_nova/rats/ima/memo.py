# SPDX-License-Identifier: Apache-2.0
"""Entries seen before: the hosts of a fleet share most of theirs.

What an entry extends a PCR with, and that rules admit it, depends on
nothing but its bytes and the rules. An entry whose hash was verified and
that the rules admitted is kept with its extension under their fingerprints,
and costs one lookup the next time; nothing else is ever kept. So a host can
at most displace what others use, and memory is bounded.

No locks: each step is one operation of a dict, and a lost one costs a
little memory or work.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from korora_nova.rats.ima.hashing import Settings
from korora_nova.rats.ima.rules import Rules

#: What one memo may take, bytes by estimate, and all of them together.
MAX_BYTES = 48 << 20
MAX_TOTAL = 96 << 20
MAX_MEMOS = 64
#: Longer entries are not kept.
MAX_ENTRY = 4096
#: Of an entry: objects, slot and spare slots of the dict.
OVERHEAD = 180

#: A kind of list, and the fingerprints of the rules that judge it.
Key = tuple[Settings, tuple[str, ...]]


class Memo:
    """Extensions by the bytes of an entry; for one kind of list and rules.

    :param taken: bytes, by estimate.
    """

    __slots__ = ('entries', 'taken')

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.taken = 0

    @property
    def full(self) -> bool:
        """Whether nothing more may be put in."""
        return self.taken >= MAX_BYTES

    def room(self) -> int:
        """Size of the longest entry that is kept now."""
        return 0 if self.full else MAX_ENTRY

    def add(self, raw: bytes, extension: bytes) -> None:
        """Keep an entry if there is room for it."""
        if len(raw) <= self.room():
            self.entries[raw] = extension
            self.taken += len(raw) + OVERHEAD


class Memos:
    """The memos of a process, to be shared by threads and calls.

    :ivar prepared: for which kinds of list rules were prepared, see
        :func:`.prepare.prepare`.
    """

    def __init__(self) -> None:
        self._memos: dict[Key, Memo] = {}
        self.prepared: weakref.WeakKeyDictionary[Rules, set[Settings]] = (
            weakref.WeakKeyDictionary()
        )

    def __iter__(self) -> Iterator[Memo]:
        return iter(tuple(self._memos.values()))

    def find(self, key: Key) -> Memo:
        """The memo of a kind of list and rules, now the one used last."""
        memo = self._memos.pop(key, None) or Memo()
        self._memos[key] = memo
        taken = sum(item.taken for item in self)
        if taken > MAX_TOTAL or len(self._memos) > MAX_MEMOS:
            oldest = next(iter(tuple(self._memos)), key)
            if oldest != key:
                self._memos.pop(oldest, None)
        return memo

    def settle(self, key: Key, memo: Memo, hits: int, misses: int) -> None:
        """Drop a memo that is full and did not help with a list."""
        if memo.full and hits < misses and self._memos.get(key) is memo:
            self._memos.pop(key, None)
