# SPDX-License-Identifier: Apache-2.0
"""How large documents are kept in the database: compressed, in parts."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

#: Bytes in one row.  A database takes no more in one statement than
#: ``max_allowed_packet``, by default 16 MiB: flush rows one by one.
PART = 4 << 20


def pack(document: object) -> bytes:
    """Compress a JSON document."""
    return compress(json.dumps(document, separators=(',', ':')).encode())


def unpack(content: bytes) -> Any:
    """The document that :func:`pack` was given."""
    return json.loads(zlib.decompress(content))


def compress(content: bytes) -> bytes:
    """At the level at which the fastest attestation is not slowed down."""
    return zlib.compress(content, 1)


def split(content: bytes) -> Iterator[bytes]:
    """Parts that fit a row each; none of what is empty."""
    for start in range(0, len(content), PART):
        yield content[start : start + PART]
