# SPDX-License-Identifier: Apache-2.0
"""The one hash construction that binds fields together."""

from __future__ import annotations

import hashlib
import struct


def bind(label: str, *fields: bytes) -> bytes:
    """Hash a label and fields so that no two lists of fields collide.

    SHA-256 over ``u32be(len(x)) || x`` for the UTF-8 label and each field:
    moving a byte between two fields, or dropping an empty one, changes it.

    :returns: 32 bytes.
    """
    digest = hashlib.sha256()
    for item in (label.encode(), *fields):
        digest.update(struct.pack('>I', len(item)))
        digest.update(item)
    return digest.digest()
