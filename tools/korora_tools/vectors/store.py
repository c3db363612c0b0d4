# SPDX-License-Identifier: Apache-2.0
"""A recording as a directory: raw files and a vector.json about them."""

from __future__ import annotations

import gzip
import json
import pathlib
import shutil
from typing import Any

from korora_tools import checkout

VECTORS = checkout.ROOT / 'tests/vectors'
#: Larger files are compressed, bytes.
COMPRESS = 64 << 10

#: Nothing measures into the others.
KEPT = range(16)

Pcrs = dict[str, dict[str, str]]


def pcrs(text: bytes) -> Pcrs:
    """Bank to decimal index to hex, of the guest's lines."""
    banks: Pcrs = {}
    for line in text.decode().splitlines():
        bank, index, value = line.split()
        if int(index) in KEPT:
            banks.setdefault(bank, {})[index] = value.lower()
    return banks


def write(
    root: pathlib.Path,
    name: str,
    files: dict[str, bytes],
    about: dict[str, Any],
) -> pathlib.Path:
    """Make ``root/name`` anew.

    :param name: kind and name, "uefi/shim-grub".
    :param files: raw evidence by file name.
    """
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, data in files.items():
        if len(data) > COMPRESS:
            file, data = file + '.gz', gzip.compress(data, 9, mtime=0)
        (folder / file).write_bytes(data)
    (folder / 'vector.json').write_text(
        json.dumps(about, indent=1, ensure_ascii=False) + '\n'
    )
    return folder
