# SPDX-License-Identifier: Apache-2.0
"""Give mutated content the hashes that fit, or no parser looks further."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator

from korora_nova import errors

SPEC_ID = (
    struct.pack('<II', 0, 3)
    + bytes(20)
    + struct.pack('<I', 33)
    + b'Spec ID Event03\0'
    + struct.pack('<IBBBBI', 0, 0, 2, 0, 2, 1)
    + struct.pack('<HH', 0x0B, 32)
    + b'\0'
)


def uefi_chunks(log: bytes) -> bytes:
    """A crypto-agile log from chunks.

    A chunk is u8 register, u32 type, u16 size, little-endian, and as much
    data; each event is given the digest of its data.
    """
    out, at = [SPEC_ID], 0
    while at + 7 <= len(log):
        pcr, kind, size = struct.unpack_from('<BIH', log, at)
        data = log[at + 7 : at + 7 + size]
        out.append(
            struct.pack('<IIIH', pcr % 24, kind, 1, 0x0B)
            + hashlib.sha256(data).digest()
            + struct.pack('<I', len(data))
            + data
        )
        at += 7 + size
    return b''.join(out)


def chunks_of(events: Iterator[tuple[int, int, bytes]]) -> bytes:
    """The chunks of events (register, type, data)."""
    return b''.join(
        struct.pack('<BIH', pcr, kind, len(data)) + data
        for pcr, kind, data in events
        if len(data) < 1 << 16
    )


def ima_binary(log: bytes) -> bytes:
    """A binary list whose entries have SHA-1 of their template data."""
    out, at = [], 0
    while at + 28 <= len(log):
        (size,) = struct.unpack_from('<I', log, at + 24)
        data_at = at + 28 + size
        if size > 64 or data_at + 4 > len(log):
            break
        (length,) = struct.unpack_from('<I', log, data_at)
        data = log[data_at + 4 : data_at + 4 + length]
        out.append(
            log[at : at + 4]
            + hashlib.sha1(data).digest()
            + log[at + 24 : data_at + 4]
            + data
        )
        at = data_at + 4 + length
    return b''.join(out) + log[at:]


def ima_ascii(log: bytes, hashed: Callable[[bytes], bytes]) -> bytes:
    """A text list whose entries have SHA-1 of their template data.

    :param hashed: template data of a line; may raise errors of the project.
    """
    out = []
    for line in log.split(b'\n'):
        fields = line.split(b' ', 2)
        try:
            fields[1:2] = [hashlib.sha1(hashed(line)).hexdigest().encode()]
        except errors.KororaError:
            pass
        out.append(b' '.join(fields))
    return b'\n'.join(out)
