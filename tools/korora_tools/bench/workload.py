# SPDX-License-Identifier: Apache-2.0
"""The measurement list and the policy that all contenders are given.

One list of ima-ng entries, as the kernel shows it in its two forms: text
and binary, template hashes SHA-1, replayed in the SHA-256 bank. The policy
lists each file's path with its one digest, as an operator's would.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import struct

PACKAGES = 997
_U32 = struct.Struct('<I')


@dataclasses.dataclass(frozen=True)
class Workload:
    """A list and the files that it measured.

    :param text: ascii_runtime_measurements.
    :param binary: binary_runtime_measurements.
    :param pcr: PCR 10 of the SHA-256 bank, hex.
    :param ends: offset after each entry of ``binary``.
    :param files: path to digest, hex; boot_aggregate not among them.
    """

    text: str
    binary: bytes
    pcr: str
    aggregate: str
    ends: list[int]
    files: dict[str, str]


def make(entries: int, aggregate: str) -> Workload:
    """A list of this many entries, the same every time.

    :param aggregate: digest of the first entry, boot_aggregate, hex.
    """
    lines, binary, ends = [], bytearray(), []
    pcr, files = bytes(32), {}
    for number in range(entries):
        path = (
            f'/usr/lib/x86_64-linux-gnu/pkg{number % PACKAGES}'
            f'/file-{number}.so'
        )
        digest = hashlib.sha256(path.encode()).digest()
        if number:
            files[path] = digest.hex()
        else:
            path, digest = 'boot_aggregate', bytes.fromhex(aggregate)
        data = template_data(path.encode(), digest)
        stated = hashlib.sha1(data).digest()
        lines.append(
            f'10 {stated.hex()} ima-ng sha256:{digest.hex()} {path}\n'
        )
        binary += entry(data)
        ends.append(len(binary))
        pcr = hashlib.sha256(pcr + hashlib.sha256(data).digest()).digest()
    return Workload(
        ''.join(lines), bytes(binary), pcr.hex(), aggregate, ends, files
    )


def entry(data: bytes) -> bytes:
    """An entry of the binary list, of its template data."""
    head = _U32.pack(10) + hashlib.sha1(data).digest()
    return head + _U32.pack(6) + b'ima-ng' + _U32.pack(len(data)) + data


def template_data(path: bytes, digest: bytes) -> bytes:
    """Template data of ima-ng: d-ng and n-ng, each after its length."""
    field, name = b'sha256:\0' + digest, path + b'\0'
    return _U32.pack(len(field)) + field + _U32.pack(len(name)) + name


def write(made: Workload, directory: pathlib.Path) -> None:
    """Write what the contenders read."""
    (directory / 'list.txt').write_text(made.text)
    (directory / 'list.bin').write_bytes(made.binary)
    (directory / 'policy.json').write_text(
        json.dumps(
            {
                'pcr': made.pcr,
                'aggregate': made.aggregate,
                'ends': made.ends,
                'files': made.files,
            }
        )
    )


def read(directory: pathlib.Path) -> Workload:
    """What :func:`write` wrote."""
    document = json.loads((directory / 'policy.json').read_text())
    return Workload(
        (directory / 'list.txt').read_text(),
        (directory / 'list.bin').read_bytes(),
        **document,
    )
