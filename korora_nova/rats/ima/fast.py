# SPDX-License-Identifier: Apache-2.0
"""The short way through a list, for the entries that nearly all are like.

Those are a digest and a path, perhaps with a signature, whose digest the
rules list; or an entry whose very bytes were seen before (:mod:`memo`).
Whatever is odd in any way is left to ``Pass.slow``, which reads it again.

Hashing is most of it, and nothing beat ``hashlib``'s constructors. Tried and
left: an object for each entry, ``memoryview`` slices, digests as text,
``copy()`` of a started hash, the hash modules without OpenSSL. What is
reached is in tools/bench.
"""

from __future__ import annotations

import binascii
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from korora_nova.rats.ima import digests, memo, records, templates
from korora_nova.rats.ima.records import HASHES, Record

if TYPE_CHECKING:
    from korora_nova.rats.ima.replay import Pass

_LENGTH = struct.Struct('<I')
_SPACE = ord(' ')
_U32, _PACK = _LENGTH.unpack_from, _LENGTH.pack
# Sizes of a name field that may be a boot aggregate's.
_AGGREGATES = (len(b'boot_aggregate\0'), len(b'boot_aggregate_late\0'))


class Shape(NamedTuple):
    """Where things are in the entries of a template.

    :param unpack: of a binary entry's header: PCR, template hash, ``tag``,
        size. Of ASCII: None.
    :param tag: what stands between the template hash and the data, or the
        digits of the digest.
    :param skip: bytes before the data, or those digits.
    :param head: of the digest as rules list it.
    :param label: the same as the list has it.
    :param other: whether these differ.
    :param cut: offset of the path in the data; ``path``: in the line.
    :param third: whether a signature follows the path.
    :param early: where a path ends that may be a boot aggregate's, and
        ``late``.
    """

    unpack: Any
    tag: bytes
    skip: int
    head: bytes
    label: bytes
    other: bool
    cut: int
    path: int
    third: bool
    early: int
    late: int


def shape(record: Record, form: str) -> Shape | None:
    """The shape of entries like this one; None: not for the short way."""
    template = record.template
    if not template.plain:
        return None
    field, third = record.values[0], len(template.fields) == 3
    cut, name = 8 + len(field), template.name.encode()
    ends = [cut + size for size in _AGGREGATES]
    text, _, octets = field.partition(b':\0')
    key = digests.key(templates.digest_text(template.fields[0], field))
    head = key[: -len(octets)]
    label = _PACK(len(field)) + text + b':\0'
    size = len(record.stated)
    if form == records.ASCII:
        tag = b' ' + name + b' ' + text + b':'
        skip = 3 + 2 * size + len(tag)
        return Shape(
            None,
            tag,
            skip,
            head,
            label,
            label != head,
            cut,
            skip + 2 * len(octets) + 1,
            third,
            *ends,
        )
    tag = _PACK(len(name)) + name
    unpack = struct.Struct(f'<I{size}s{len(tag)}sI')
    return Shape(
        unpack.unpack_from,
        tag,
        unpack.size,
        head,
        label,
        label != head,
        cut,
        0,
        third,
        *ends,
    )


def warm_binary(way: Pass, target: bytes) -> None:
    """Go on as long as entries were seen before."""
    log, at, pcr, count = way.log, way.at, way.pcr, 0
    known, sha, u32 = way.memo.entries.get, way.bank, _U32
    skip = way.skip
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
    way.at, way.pcr = min(at, len(log)), pcr
    way.count += count


def warm_ascii(way: Pass, target: bytes) -> None:
    """Go on as long as lines were seen before."""
    log, at, pcr, count = way.log, way.at, way.pcr, 0
    known, sha, find = way.memo.entries.get, way.bank, way.log.find
    while pcr != target:
        end = find(b'\n', at)
        extension = known(log[at:end])
        if extension is None or end < 0:
            break
        pcr = sha(pcr + extension).digest()
        at = end + 1
        count += 1
    way.at, way.pcr = at, pcr
    way.count += count


def cold_binary(way: Pass, target: bytes, rounds: int) -> None:
    """Read entries in full, at most ``rounds`` of them."""
    log, at, pcr, length, count = way.log, way.at, way.pcr, len(way.log), 0
    u32, in_list, in_bank, reuse = _U32, way.in_list, way.bank, way.reuse
    digests, paths, admitted = way.digests, way.paths, way.admitted
    index, kept = way.settings.pcr, way.memo.entries
    most, begun = way.room, at
    (unpack, tag, skip, head, label, other, cut, _, third, early, late) = (
        way.shape or _NONE
    )
    for count in range(1, rounds + 1):  # noqa: B007 used below
        try:
            in_pcr, stated, named, size = unpack(log, at)
            start = at + skip
            end = start + size
            data = log[start:end]
            stop = cut + u32(data, cut - 4)[0]
            digest = data[: cut - 4]
            if other:
                # With another label it is no key: it is too long.
                digest = head + digest.removeprefix(label)
            if (
                named == tag
                and in_pcr == index
                and end <= length
                and (
                    digest in digests
                    or digest in paths(data[cut : stop - 1], ())
                    or admitted(digest, data[cut : stop - 1])
                )
                and size == (stop + 4 + u32(data, stop)[0] if third else stop)
                and data.find(0, cut) == stop - 1
                and in_list(data).digest() == stated
                and stop != early
                and stop != late
            ):
                extension = (
                    in_bank(data).digest() if reuse is None else stated + reuse
                )
                pcr = in_bank(pcr + extension).digest()
                if size < most:
                    kept[log[at:end]] = extension
                at = end
                if pcr == target or at >= length:
                    break
                continue
        except struct.error:
            pass
        at, pcr = way.slow(at, pcr)
        if pcr == target or at >= length:
            break
        (unpack, tag, skip, head, label, other, cut, _, third, early, late) = (
            way.shape or _NONE
        )
    way.at, way.pcr = at, pcr
    way.count += count
    if most:
        way.memo.taken += at - begun + count * memo.OVERHEAD


def cold_ascii(way: Pass, target: bytes, rounds: int) -> None:
    """Read lines in full, at most ``rounds`` of them."""
    log, at, pcr, length, count = way.log, way.at, way.pcr, len(way.log), 0
    unhex, find, pack = binascii.unhexlify, way.log.find, _PACK
    in_list, in_bank, reuse = way.in_list, way.bank, way.reuse
    digests, paths, admitted = way.digests, way.paths, way.admitted
    kept, most, begun = way.memo.entries, way.room, at
    index = b'%2d ' % way.settings.pcr
    hash_end = 3 + 2 * HASHES[way.settings.template_hash]
    (_, tag, skip, head, label, _, cut, path_at, third, early, late) = (
        way.shape or _NONE
    )
    for count in range(1, rounds + 1):  # noqa: B007 used below
        end = find(b'\n', at)
        line = log[at:end]
        try:
            octets = unhex(line[skip : path_at - 1])
            digest = head + octets
            path, rest = line[path_at:], b''
            if third:
                path, _, rest = path.rpartition(b' ')
                rest = unhex(rest)
                rest = pack(len(rest)) + rest
            stop = cut + len(path) + 1
            if (
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
                data = (
                    label + octets + pack(len(path) + 1) + path + b'\0' + rest
                )
                stated = in_list(data).digest()
                if stated == unhex(line[3:hash_end]):
                    extension = (
                        in_bank(data).digest()
                        if reuse is None
                        else stated + reuse
                    )
                    pcr = in_bank(pcr + extension).digest()
                    if end - at < most:
                        kept[line] = extension
                    at = end + 1
                    if pcr == target or at >= length:
                        break
                    continue
        except (binascii.Error, IndexError):
            pass
        at, pcr = way.slow(at, pcr)
        if pcr == target or at >= length:
            break
        (_, tag, skip, head, label, _, cut, path_at, third, early, late) = (
            way.shape or _NONE
        )
    way.at, way.pcr = at, pcr
    way.count += count
    if most:
        way.memo.taken += at - begun + count * memo.OVERHEAD


def _unread(log: bytes, at: int) -> Any:
    raise struct.error


# Before the first entry was read: everything goes the long way.
_NONE = Shape(_unread, b'', 0, b'', b'', False, 4, 1, False, 0, 0)
