# SPDX-License-Identifier: Apache-2.0
"""Recorded evidence.

Nothing of the code under test finds the records of a log here.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import pathlib
import re
import struct
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent / 'vectors'
UEFI = 'binary_bios_measurements'
IMA = 'binary_runtime_measurements'
ASCII = 'ascii_runtime_measurements'

ALGORITHMS = {0x04: 'sha1', 0x0B: 'sha256', 0x0C: 'sha384', 0x0D: 'sha512'}
EV_NO_ACTION = 3
SPEC_ID = b'Spec ID Event03\0'


@dataclasses.dataclass
class Vector:
    """One recording, to be changed at will.

    :param files: by name, unpacked.
    :param about: vector.json.
    """

    files: dict[str, bytes]
    about: dict[str, Any]
    pcrs: dict[str, dict[int, bytes]]

    @property
    def nonce(self) -> bytes:
        return bytes.fromhex(self.about['nonce'])


def test_name(file: str, case: str) -> str:
    """What the test of a case is called.

    :param file: without ``.yaml``.
    """
    slug = re.sub(r'\W+', '_', f'{file} {case}').strip('_').lower()
    return f'test_{slug}'


def load(name: str) -> Vector:
    """Read ``tests/vectors/NAME``."""
    files = {}
    for path in (ROOT / name).iterdir():
        data = path.read_bytes()
        if path.suffix == '.gz':
            files[path.stem] = gzip.decompress(data)
        else:
            files[path.name] = data
    about = json.loads(files['vector.json'])
    pcrs = {
        bank: {
            int(index): bytes.fromhex(value) for index, value in values.items()
        }
        for bank, values in about['pcrs'].items()
    }
    return Vector(files, about, pcrs)


@dataclasses.dataclass
class Record:
    """An event or entry; offsets into the file.

    :param digests: bank to where its digest begins.
    :param data: where its data begin; they end with the record.
    :param hashed: what the digest of an IMA entry is of.
    """

    start: int
    end: int
    pcr: int
    kind: Any
    digests: dict[str, int]
    data: int
    hashed: bytes = b''


def records(name: str, data: bytes) -> list[Record]:
    """The records of a well-formed file."""
    if name == IMA:
        return _entries(data)
    if name == UEFI:
        return _events(data)
    lines, at = [], 0
    for line in data.splitlines(keepends=True):
        lines.append(Record(at, at + len(line), 0, '', {}, at))
        at += len(line)
    return lines


def _events(data: bytes) -> list[Record]:
    """TCG PC Client Platform Firmware Profile, section 10.2."""
    found = [_sha1_event(data, 0)]
    agile = data[32:48] == SPEC_ID
    while found[-1].end < len(data):
        at = found[-1].end
        found.append(
            _agile_event(data, at) if agile else _sha1_event(data, at)
        )
    return found


def _sha1_event(data: bytes, at: int) -> Record:
    pcr, kind, size = struct.unpack_from('<II20xI', data, at)
    return Record(at, at + 32 + size, pcr, kind, {'sha1': at + 8}, at + 32)


def _agile_event(data: bytes, start: int) -> Record:
    pcr, kind, count = struct.unpack_from('<III', data, start)
    at, digests = start + 12, {}
    for _ in range(count):
        bank = ALGORITHMS[struct.unpack_from('<H', data, at)[0]]
        digests[bank] = at + 2
        at += 2 + hashlib.new(bank).digest_size
    size = struct.unpack_from('<I', data, at)[0]
    return Record(start, at + 4 + size, pcr, kind, digests, at + 4)


def _entries(data: bytes) -> list[Record]:
    """Linux Documentation/security/IMA-templates.rst, SHA-1 hashes."""
    found, at = [], 0
    while at < len(data):
        start = at
        pcr, size = struct.unpack_from('<I20xI', data, at)
        kind = data[at + 28 : at + 28 + size]
        at += 28 + size
        begin = at
        if kind == b'ima':
            at += 24 + struct.unpack_from('<I', data, at + 20)[0]
            hashed = data[begin : begin + 20] + data[begin + 24 : at].ljust(
                256, b'\0'
            )
        else:
            at += 4 + struct.unpack_from('<I', data, at)[0]
            begin += 4
            hashed = data[begin:at]
        found.append(
            Record(
                start,
                at,
                pcr,
                kind.decode(),
                {'sha1': start + 4},
                begin,
                hashed,
            )
        )
    return found
