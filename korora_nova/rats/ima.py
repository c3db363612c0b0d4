# SPDX-License-Identifier: Apache-2.0
"""IMA's binary runtime measurement list and PCR 10.

Only the binary list is read: a newline in a path forges a line of the
ASCII one. Each entry (Linux, security/integrity/ima/ima_fs.c),
little-endian::

    u32 pcr | template hash | u32 size | template name
    | u32 size | template data

The list does not state the length of the template hash, so it is detected.
Template data of ima-ng: u32 size | "ALG:\\0" digest | u32 size | path \\0;
ima-sig has a third field. The PCR is extended with SHA-256 of the template
data in the SHA-256 bank (Linux 5.8), with ff..ff for a violation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Mapping
from typing import NamedTuple

from korora_nova import errors

IMA_PCR = 10
BOOT_AGGREGATE = b'boot_aggregate'
#: PCRs in boot_aggregate with any hash but SHA-1 (Linux 5.8).
_AGGREGATED = tuple(range(10))

#: Caps against absurd lists.
MAX_ENTRIES = 500_000
MAX_TEMPLATE_DATA = 1 << 16

# Length of the template hash -> its algorithm.
_TEMPLATE_HASHES = {20: 'sha1', 32: 'sha256', 48: 'sha384', 64: 'sha512'}
# Template -> number of fields.
_TEMPLATES = {b'ima-ng': 2, b'ima-sig': 3}
_DIGESTS = {b'md5': 16, b'sha1': 20, b'sha224': 28, b'sha256': 32,
            b'sha384': 48, b'sha512': 64, b'sm3-256': 32}
_VIOLATED = b'\xff' * 32
_U32 = struct.Struct('<I')

_R = errors.Reason


class Entry(NamedTuple):
    """One measurement: algorithm and digest of a file, its path.

    ``digest`` is "ALG:HEX"; of a violation it means nothing.
    """

    digest: str
    path: bytes
    violation: bool


@dataclasses.dataclass(frozen=True)
class ImaLog:
    """A parsed list whose entries match their own hashes, unverified.

    :param extensions: what each entry extended the SHA-256 bank with.
    """

    entries: tuple[Entry, ...]
    extensions: tuple[bytes, ...]

    def verify(self, pcrs: Mapping[int, bytes]) -> tuple[Entry, ...]:
        """Replay against quoted PCRs; return the entries PCR 10 covers.

        IMA measures on between the quote and the reading of the list, so
        the list may go on behind the quoted state: that tail is left out.

        :raises EvidenceError: IMA_LOG_REPLAY, IMA_BOOT_AGGREGATE.
        """
        covered = self._covered(pcrs.get(IMA_PCR, b''))
        if covered is None:
            raise errors.EvidenceError(_R.IMA_LOG_REPLAY)
        entries = self.entries[:covered]
        expected = 'sha256:' + hashlib.sha256(b''.join(
            pcrs.get(index, b'') for index in _AGGREGATED)).hexdigest()
        aggregates = {entry.digest for entry in entries
                      if entry.path == BOOT_AGGREGATE}
        if not entries or entries[0].path != BOOT_AGGREGATE or (
                aggregates != {expected}):
            raise errors.EvidenceError(_R.IMA_BOOT_AGGREGATE)
        return entries

    def _covered(self, target: bytes) -> int | None:
        pcr, sha256 = bytes(32), hashlib.sha256
        if pcr == target:
            return 0
        for count, extension in enumerate(self.extensions, 1):
            pcr = sha256(pcr + extension).digest()
            if pcr == target:
                return count
        return None


def parse(log: bytes) -> ImaLog:
    """Parse a binary list and rehash every entry's template data.

    :raises EvidenceError: IMA_LOG_MALFORMED, place gives the offset;
        IMA_TEMPLATE_HASH.
    """
    if not log:
        return ImaLog((), ())
    size = _detect(log)
    template_hash = getattr(hashlib, _TEMPLATE_HASHES[size])
    # A long list is the rule: locals, one loop, each digest decoded once.
    sha256, u32 = hashlib.sha256, _U32.unpack_from
    templates, length, zeros = _TEMPLATES, len(log), bytes(size)
    digests: dict[bytes, str] = {}
    entries: list[Entry] = []
    extensions: list[bytes] = []
    at = 0
    try:
        while at < length:
            name_at = at + size + 8
            data_at = name_at + u32(log, name_at - 4)[0]
            data_size = u32(log, data_at)[0]
            data_at += 4
            end = data_at + data_size
            fields = templates.get(log[name_at:data_at - 4])
            data = log[data_at:end]
            if fields is None or u32(log, at)[0] != IMA_PCR or (
                    end > length or data_size > MAX_TEMPLATE_DATA):
                raise _bad('an unsupported or truncated entry', at)
            stated = log[at + 4:name_at - 4]
            violation = stated == zeros
            if not violation and template_hash(data).digest() != stated:
                raise errors.EvidenceError(_R.IMA_TEMPLATE_HASH,
                                           place=f'offset {at}')
            path_at = 4 + u32(data)[0]
            raw = data[4:path_at]
            digest = digests.get(raw)
            if digest is None:
                digest = digests[raw] = _digest(raw, at)
            entries.append(Entry(digest, _path(data, path_at, fields, at),
                                 violation))
            extensions.append(_VIOLATED if violation
                              else sha256(data).digest())
            at = end
    except struct.error:
        raise _bad('truncated', at) from None
    if len(entries) > MAX_ENTRIES:
        raise _bad('too many entries', at)
    return ImaLog(tuple(entries), tuple(extensions))


def _bad(what: str, at: int) -> errors.EvidenceError:
    return errors.EvidenceError(
        _R.IMA_LOG_MALFORMED,
        f'The IMA measurement list is malformed: {what}.',
        place=f'offset {at}')


def _detect(log: bytes) -> int:
    """Length of the template hash, from the shape of the first entry."""
    for size in _TEMPLATE_HASHES:
        name = log[4 + size + 4:4 + size + 4 + 7]
        for template in _TEMPLATES:
            if log[4 + size:4 + size + 4] == _U32.pack(len(template)) and (
                    name.startswith(template)):
                return size
    raise _bad('neither ima-ng nor ima-sig, or an unknown hash', 0)


def _path(data: bytes, at: int, fields: int, entry: int) -> bytes:
    """The path in template data, which it and a third field must fill."""
    start = at + 4
    end = start + int.from_bytes(data[at:start], 'little')
    path = data[start:end - 1]
    if fields == 3:
        rest = end + 4 + int.from_bytes(data[end:end + 4], 'little')
    else:
        rest = end
    if rest != len(data) or end == start or data[end - 1] or (
            b'\0' in path):
        raise _bad('template data', entry)
    return path


def _digest(raw: bytes, at: int) -> str:
    algorithm, separator, digest = raw.partition(b':\0')
    if not separator or _DIGESTS.get(algorithm) != len(digest):
        raise _bad('the digest of a file', at)
    return f'{algorithm.decode()}:{digest.hex()}'
