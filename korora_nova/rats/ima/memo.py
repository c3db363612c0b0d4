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

#: What one memo may take, bytes by estimate, and all of them together.
MAX_BYTES = 48 << 20
MAX_TOTAL = 96 << 20
MAX_MEMOS = 64
#: Entries that are longer are not kept.
MAX_ENTRY = 4096
#: Of an entry: objects, slot and spare slots of the dict.
OVERHEAD = 180

Key = tuple[object, ...]


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


_memos: dict[Key, Memo] = {}


def find(key: Key) -> Memo:
    """The memo of a kind of list and rules, now the one used last."""
    memo = _memos.pop(key, None) or Memo()
    _memos[key] = memo
    taken = sum(item.taken for item in tuple(_memos.values()))
    if taken > MAX_TOTAL or len(_memos) > MAX_MEMOS:
        oldest = next(iter(tuple(_memos)), key)
        if oldest != key:
            _memos.pop(oldest, None)
    return memo


def settle(key: Key, memo: Memo, hits: int, misses: int) -> None:
    """Drop a memo that is full and did not help with a list."""
    if memo.full and hits < misses and _memos.get(key) is memo:
        _memos.pop(key, None)


def forget() -> None:
    """Drop all memos."""
    _memos.clear()
