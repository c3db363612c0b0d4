# SPDX-License-Identifier: Apache-2.0
"""The short way through an ASCII list."""

from __future__ import annotations

import binascii
import functools
from typing import NamedTuple

from korora_nova.rats.ima import memo, shape
from korora_nova.rats.ima.records import HASHES, Record
from korora_nova.rats.ima.replay import Pass
from korora_nova.rats.ima.shape import LENGTH, Shape

_SPACE = ord(' ')


class _Line(NamedTuple):
    """Where things are in lines that are alike.

    :param tag: what stands between the template hash and the digest.
    :param skip: offset of the digest; ``path``: of the path.
    """

    tag: bytes
    skip: int
    path: int


@functools.lru_cache(maxsize=256)
def _alike(
    template: str, algorithm: bytes, template_hash: str
) -> tuple[Shape, _Line]:
    where = shape.of(template, algorithm)
    tag = b' %s %s:' % (template.encode(), algorithm)
    skip = 3 + 2 * HASHES[template_hash] + len(tag)
    return where, _Line(tag, skip, skip + 2 * where.octets + 1)


class AsciiPass(Pass):
    """A pass over an ASCII list."""

    _known: tuple[Shape, _Line] | None = None

    def _learn(self, record: Record) -> None:
        kind = shape.kind(record)
        if kind is not None:
            self._known = _alike(*kind, self.settings.template_hash)

    def _raw(self, at: int, end: int) -> bytes:
        return self.log[at:end].removesuffix(b'\n')

    def _warm(self, target: bytes) -> None:
        log, at, pcr, count = self.log, self.at, self.pcr, 0
        known, find = self.memo.entries.get, self.log.find
        sha = self.hashing.in_bank
        while pcr != target:
            end = find(b'\n', at)
            extension = known(log[at:end])
            if extension is None or end < 0:
                break
            pcr = sha(pcr + extension).digest()
            at = end + 1
            count += 1
        self.at, self.pcr = at, pcr
        self.count += count

    def _alike(self, target: bytes, most: int) -> None:
        if self._known is None:
            return
        where, line_ = self._known
        log, at, pcr, length = self.log, self.at, self.pcr, len(self.log)
        tag, skip, path_at = line_.tag, line_.skip, line_.path
        head, label, cut = where.head, where.label, where.cut
        signed, early, late = where.signed, where.early, where.late
        judge, hashing = self.judge, self.hashing
        digests, paths, admitted = judge.digests, judge.paths, judge.admitted
        in_list, in_bank = hashing.in_list, hashing.in_bank
        reuse, index = hashing.reuse, b'%2d ' % self.settings.pcr
        unhex, find, pack = binascii.unhexlify, log.find, LENGTH.pack
        hash_end = skip - len(tag)
        kept, longest = self.memo.entries, self.memo.room()
        begun, covered = at, self.count
        try:
            while covered < most and pcr != target and at < length:
                end = find(b'\n', at)
                line = log[at:end]
                octets = unhex(line[skip : path_at - 1])
                digest = head + octets
                path, rest = line[path_at:], b''
                if signed:
                    path, _, rest = path.rpartition(b' ')
                    rest = unhex(rest)
                    rest = pack(len(rest)) + rest
                stop = cut + len(path) + 1
                if not (
                    end >= 0
                    and line[:3] == index
                    and line[hash_end:skip] == tag
                    and line[path_at - 1] == _SPACE
                    and path
                    and 0 not in path
                    and stop != early
                    and stop != late
                    and (
                        digest in digests
                        or digest in paths(path, ())
                        or admitted(digest, path)
                    )
                ):
                    break
                data = (
                    label + octets + pack(len(path) + 1) + path + b'\0' + rest
                )
                stated = in_list(data).digest()
                if stated != unhex(line[3:hash_end]):
                    break
                extension = (
                    in_bank(data).digest() if reuse is None else stated + reuse
                )
                pcr = in_bank(pcr + extension).digest()
                if end - at < longest:
                    kept[line] = extension
                at = end + 1
                covered += 1
        except (binascii.Error, IndexError):
            pass  # an odd entry
        if longest:
            self.memo.taken += (
                at - begun + (covered - self.count) * memo.OVERHEAD
            )
        self.at, self.pcr, self.count = at, pcr, covered
