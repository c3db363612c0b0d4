# SPDX-License-Identifier: Apache-2.0
"""TPM_ALG_ID of hash algorithms (TCG Algorithm Registry, section 6.2)."""

from __future__ import annotations

import dataclasses

from cryptography.hazmat.primitives import hashes

ALG_SHA1 = 0x0004
ALG_SHA256 = 0x000B
ALG_SHA384 = 0x000C
ALG_SHA512 = 0x000D
ALG_SM3_256 = 0x0012
ALG_SHA3_256 = 0x0027
ALG_SHA3_384 = 0x0028
ALG_SHA3_512 = 0x0029


@dataclasses.dataclass(frozen=True)
class Hash:
    """A hash algorithm.

    :param size: bytes of a digest.
    :param signs: its ``cryptography`` class if signatures with it count.
    """

    id: int
    name: str
    size: int
    signs: type[hashes.HashAlgorithm] | None = None


_ALL = (
    Hash(ALG_SHA1, 'sha1', 20),
    Hash(ALG_SHA256, 'sha256', 32, hashes.SHA256),
    Hash(ALG_SHA384, 'sha384', 48, hashes.SHA384),
    Hash(ALG_SHA512, 'sha512', 64, hashes.SHA512),
    Hash(ALG_SM3_256, 'sm3-256', 32),
    Hash(ALG_SHA3_256, 'sha3-256', 32),
    Hash(ALG_SHA3_384, 'sha3-384', 48),
    Hash(ALG_SHA3_512, 'sha3-512', 64),
)
#: Every hash algorithm of a PCR bank, by id and by name.
BY_ID = {item.id: item for item in _ALL}
BY_NAME = {item.name: item for item in _ALL}
#: Those with which an attestation may be signed.
SIGNING = tuple(item for item in _ALL if item.signs)
