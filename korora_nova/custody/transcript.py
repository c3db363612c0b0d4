# SPDX-License-Identifier: Apache-2.0
"""What each custody step binds together; one label per purpose."""

from __future__ import annotations

import hashlib
import struct

from korora_nova.rats.signed.transcript import bind


def rest_ref(
    ak_name: bytes, srk_name: bytes, instance: str, epoch: int
) -> bytes:
    """The policyRef of a key sealed at rest on one host, 32 bytes.

    :param ak_name: TPM name of the host's attestation key.
    :param srk_name: TPM name of the host's storage root key.
    """
    return bind(
        'korora rest v1',
        ak_name,
        srk_name,
        instance.encode(),
        struct.pack('>Q', epoch),
    )


def msk_outside_info(
    challenge: bytes, migration: str, instance: str, source: str, dest: str
) -> bytes:
    """outsideInfo of a migration storage key's creation, 32 bytes."""
    return bind(
        'korora msk v1',
        challenge,
        migration.encode(),
        instance.encode(),
        source.encode(),
        dest.encode(),
    )


def transfer_qualifying(
    permit: str, public: bytes, duplicate: bytes, seed: bytes, envelope: bytes
) -> bytes:
    """What the source quotes over: the permit and all it sends, 32 bytes."""
    return bind(
        'korora transfer v1',
        permit.encode(),
        public,
        duplicate,
        seed,
        hashlib.sha256(envelope).digest(),
    )


def envelope_aad(permit: str) -> bytes:
    """Additional data of the envelope under the transit key, 32 bytes."""
    return bind('korora envelope v1', permit.encode())


def rest_aad(
    ak_name: bytes, srk_name: bytes, instance: str, epoch: int
) -> bytes:
    """Additional data of the envelope kept in the vault, 32 bytes."""
    return bind(
        'korora vault v1',
        ak_name,
        srk_name,
        instance.encode(),
        struct.pack('>Q', epoch),
    )
