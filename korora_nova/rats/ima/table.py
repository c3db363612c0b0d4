# SPDX-License-Identifier: Apache-2.0
"""Many digests in little memory.

A set of bytes objects takes more than twice the memory of what they hold.
What a table costs in time, loading and looking up, is in tools/bench.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

#: From here on digests are kept in a table.
LARGE = 1 << 18

# A bucket is found by the end of the digest, which no one can choose.
_END = 2


class Table(Collection[bytes]):
    """Keys of :mod:`digests`, sorted in buckets by their end."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        growing: dict[int, dict[bytes, bytearray]] = {}
        for key in keys:
            buckets = growing.setdefault(len(key), {})
            bucket = buckets.get(key[-_END:])
            if bucket is None:
                bucket = buckets[key[-_END:]] = bytearray()
            bucket += key[:-_END]
        self._count = 0
        self._buckets: dict[int, dict[bytes, bytes]] = {}
        for size, buckets in growing.items():
            finished = self._buckets[size] = {}
            while buckets:
                end, bucket = buckets.popitem()
                finished[end] = self._finish(bucket, size - _END)

    def _finish(self, bucket: bytearray, size: int) -> bytes:
        """Each once, in order."""
        items = sorted(set(_parts(bytes(bucket), size)))
        self._count += len(items)
        return b''.join(items)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, bytes):
            return False
        bucket = self._buckets.get(len(key), {}).get(key[-_END:])
        if bucket is None:
            return False
        start = key[:-_END]
        at = bucket.find(start)
        while at >= 0:
            if at % len(start) == 0:
                return True
            at = bucket.find(start, at + 1)
        return False

    def __iter__(self) -> Iterator[bytes]:
        """In the order of :func:`ordered`."""
        for end in sorted(set().union(*self._buckets.values())):
            yield from sorted(
                part + end
                for size, buckets in self._buckets.items()
                for part in _parts(buckets.get(end, b''), size - _END)
            )

    def __len__(self) -> int:
        return self._count


def ordered(keys: Collection[bytes]) -> Iterable[bytes]:
    """Keys by their end, then as bytes: the same for tables and sets."""
    if isinstance(keys, Table):
        return keys
    return sorted(keys, key=lambda key: (key[-_END:], key))


def _parts(bucket: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(bucket), size):
        yield bucket[at : at + size]


def collect(keys: Iterable[bytes]) -> Collection[bytes]:
    """A set of keys: a frozenset, or a table if there are many."""
    first: set[bytes] = set()
    rest = iter(keys)
    for key in rest:
        first.add(key)
        if len(first) >= LARGE:
            return Table(_chain(first, rest))
    return frozenset(first)


def _chain(first: set[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    while first:
        yield first.pop()
    yield from rest
