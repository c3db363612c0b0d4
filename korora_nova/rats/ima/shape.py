# SPDX-License-Identifier: Apache-2.0
"""Entries that are alike: a digest and a path, perhaps with a signature.

Those take the short way. Hashing is most of it, and nothing beat
``hashlib``'s constructors. Tried and left: an object for each entry,
``memoryview`` slices, digests as text, ``copy()`` of a started hash, the
hash modules without OpenSSL. What is reached is in tools/bench.
"""

from __future__ import annotations

import dataclasses
import struct

from korora_nova.rats.ima import digests, templates
from korora_nova.rats.ima.records import Record

LENGTH = struct.Struct('<I')
# Sizes of a name field that may be a boot aggregate's.
_AGGREGATES = (len(b'boot_aggregate\0'), len(b'boot_aggregate_late\0'))


@dataclasses.dataclass(frozen=True)
class Shape:
    """Where things are in the template data of entries that are alike.

    :param octets: size of the digest, bytes.
    :param head: what precedes the digest where rules list it; ``label``:
        in the list.
    :param cut: offset of the path.
    :param signed: whether a signature follows the path.
    :param early: where a path ends that may be a boot aggregate's, and
        ``late``.
    """

    octets: int
    head: bytes
    label: bytes
    cut: int
    signed: bool
    early: int
    late: int


def kind(record: Record) -> tuple[str, bytes] | None:
    """Template and algorithm, which make the shape of an entry.

    :returns: None if it is not for the short way. The algorithm is as the
        list has it, e.g. ``ima:sha256``.
    """
    if not record.template.plain:
        return None
    return record.template.name, record.values[0].partition(b':\0')[0]


def of(template: str, algorithm: bytes) -> Shape:
    """The shape of entries of a :func:`kind`."""
    fields = templates.BUILT_IN.get(template)
    first, *others = fields.fields if fields else template.split('|')
    label = algorithm + b':\0'
    size = templates.DIGEST_SIZES[algorithm.rpartition(b':')[2].decode()]
    key = digests.key(templates.digest_text(first, label + bytes(size)))
    cut = 8 + len(label) + size
    early, late = (cut + name for name in _AGGREGATES)
    return Shape(
        size,
        key[:-size],
        LENGTH.pack(len(label) + size) + label,
        cut,
        len(others) == 2,
        early,
        late,
    )
