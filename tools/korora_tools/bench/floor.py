# SPDX-License-Identifier: Apache-2.0
"""The floor: the bare loop that any verifier of an IMA list must do.

Parse, rehash the template data, extend, look the digest up; hashlib only,
no error handling, no result but the PCR. A real verifier can be slower
than this only for what it does besides.
"""

from __future__ import annotations

import hashlib
import pathlib
import struct
import sys

from korora_tools.bench import worker, workload


def text(lines: str, allowed: dict[str, str]) -> str:
    """Replay ascii_runtime_measurements; returns the PCR, hex."""
    pcr = bytes(32)
    sha1, sha256 = hashlib.sha1, hashlib.sha256
    from_hex, pack = bytes.fromhex, struct.Struct('<I').pack
    for line in lines.split('\n'):
        if not line:
            continue
        _, stated, name, digest, path = line.split(' ', 4)
        if name != 'ima-ng':
            raise ValueError(name)
        algorithm, value = digest.split(':')
        field = algorithm.encode() + b':\0' + from_hex(value)
        raw = path.encode() + b'\0'
        data = pack(len(field)) + field + pack(len(raw)) + raw
        if sha1(data).digest() != from_hex(stated):
            raise ValueError('template hash')
        if allowed[path] != value:
            raise ValueError('not allowed')
        pcr = sha256(pcr + sha256(data).digest()).digest()
    return pcr.hex()


def binary(log: bytes, allowed: dict[bytes, bytes]) -> str:
    """Replay binary_runtime_measurements; returns the PCR, hex."""
    pcr = bytes(32)
    sha1, sha256 = hashlib.sha1, hashlib.sha256
    u32 = struct.Struct('<I').unpack_from
    at, end = 0, len(log)
    while at < end:
        start = at + 28
        size_at = start + u32(log, at + 24)[0]
        if log[start:size_at] != b'ima-ng':
            raise ValueError('template')
        at_data = size_at + 4
        after = at_data + u32(log, size_at)[0]
        data = log[at_data:after]
        if sha1(data).digest() != log[at + 4 : at + 24]:
            raise ValueError('template hash')
        path_at = 8 + u32(data, 0)[0]
        if allowed[data[path_at:-1]] != data[12 : path_at - 4]:
            raise ValueError('not allowed')
        pcr = sha256(pcr + sha256(data).digest()).digest()
        at = after
    return pcr.hex()


def main() -> None:
    load = workload.read(pathlib.Path(sys.argv[1]))
    as_text = {**load.files, 'boot_aggregate': load.aggregate}
    as_bytes = {
        path.encode(): bytes.fromhex(digest)
        for path, digest in as_text.items()
    }

    def run_text() -> None:
        assert text(load.text, as_text) == load.pcr

    def run_binary() -> None:
        assert binary(load.binary, as_bytes) == load.pcr

    worker.serve({'text': run_text, 'binary': run_binary})


if __name__ == '__main__':
    main()
