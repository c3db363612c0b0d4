# SPDX-License-Identifier: Apache-2.0
"""The short way through a binary list, little-endian."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from korora_nova.rats.ima import memo, shape
from korora_nova.rats.ima.records import HASHES, Record
from korora_nova.rats.ima.replay import Pass
from korora_nova.rats.ima.shape import LENGTH, Shape


class _Header(NamedTuple):
    """What precedes the template data of entries that are alike.

    :param unpack: gives PCR, template hash, ``tag`` and size of the data.
    :param tag: the template's name with its size.
    :param skip: size of the header.
    """

    unpack: Callable[..., tuple[Any, ...]]
    tag: bytes
    skip: int


@functools.lru_cache(maxsize=256)
def _alike(
    template: str, algorithm: bytes, template_hash: str
) -> tuple[Shape, _Header]:
    tag = LENGTH.pack(len(template)) + template.encode()
    header = struct.Struct(f'<I{HASHES[template_hash]}s{len(tag)}sI')
    return (
        shape.of(template, algorithm),
        _Header(header.unpack_from, tag, header.size),
    )


class BinaryPass(Pass):
    """A pass over a binary list."""

    _known: tuple[Shape, _Header] | None = None
    # Bytes before the template data of entries like the last.
    _skip = 0

    def _learn(self, record: Record) -> None:
        kind = shape.kind(record)
        if kind is not None:
            self._known = _alike(*kind, self.settings.template_hash)
        elif self._known is not None or record.template.legacy:
            return
        self._skip = 12 + len(record.stated) + len(record.template.name)

    def _warm(self, target: bytes) -> None:
        log, at, pcr, count = self.log, self.at, self.pcr, 0
        known, sha = self.memo.entries.get, self.hashing.in_bank
        u32, skip = LENGTH.unpack_from, self._skip
        size_at = skip - 4
        last = len(log) - skip if skip else -1
        while at <= last and pcr != target:
            end = at + skip + u32(log, at + size_at)[0]
            extension = known(log[at:end])
            if extension is None:
                break
            pcr = sha(pcr + extension).digest()
            at = end
            count += 1
        # Known bytes say where they end, also if read in another shape.
        self.at, self.pcr = min(at, len(log)), pcr
        self.count += count

    def _alike(self, target: bytes, most: int) -> None:
        if self._known is None:
            return
        where, header = self._known
        log, at, pcr, length = self.log, self.at, self.pcr, len(self.log)
        unpack, tag, skip = header.unpack, header.tag, header.skip
        head, label, cut = where.head, where.label, where.cut
        signed, early, late = where.signed, where.early, where.late
        judge, hashing, u32 = self.judge, self.hashing, LENGTH.unpack_from
        digests, paths, admitted = judge.digests, judge.paths, judge.admitted
        in_list, in_bank = hashing.in_list, hashing.in_bank
        reuse, index, other = hashing.reuse, self.settings.pcr, head != label
        kept, longest = self.memo.entries, self.memo.room()
        begun, covered = at, self.count
        try:
            while covered < most and pcr != target and at < length:
                in_pcr, stated, named, size = unpack(log, at)
                start = at + skip
                end = start + size
                data = log[start:end]
                stop = cut + u32(data, cut - 4)[0]
                digest = data[: cut - 4]
                if other:
                    # With another label it is too long to be a key.
                    digest = head + digest.removeprefix(label)
                if not (
                    named == tag
                    and in_pcr == index
                    and end <= length
                    and (
                        digest in digests
                        or digest in paths(data[cut : stop - 1], ())
                        or admitted(digest, data[cut : stop - 1])
                    )
                    and size
                    == (stop + 4 + u32(data, stop)[0] if signed else stop)
                    and data.find(0, cut) == stop - 1
                    and in_list(data).digest() == stated
                    and stop != early
                    and stop != late
                ):
                    break
                extension = (
                    in_bank(data).digest() if reuse is None else stated + reuse
                )
                pcr = in_bank(pcr + extension).digest()
                if size < longest:
                    kept[log[at:end]] = extension
                at = end
                covered += 1
        except struct.error:
            pass  # an odd entry
        if longest:
            self.memo.taken += (
                at - begun + (covered - self.count) * memo.OVERHEAD
            )
        self.at, self.pcr, self.count = at, pcr, covered
