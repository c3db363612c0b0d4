# SPDX-License-Identifier: Apache-2.0
"""Keys and names that never change. Nobody may use them for anything."""

from __future__ import annotations

import hashlib
from typing import Any, NoReturn

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova.rats.signed import keys
from tests.support import simulator

CLOUD = '00000000-0000-4000-8000-000000000001'
INCARNATION = '00000000-0000-4000-8000-000000000002'
MIGRATION = '00000000-0000-4000-8000-000000000003'
INSTANCE = '00000000-0000-4000-8000-000000000004'
SOURCE, DEST = 'compute-1', 'compute-2'
#: 2026-01-01T00:00:00Z.
NOW = 1767225600.0
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def scalar(label: str) -> int:
    """The private scalar of a test key: SHA-256 of a text, made to fit."""
    digest = hashlib.sha256(f'korora test key: {label}'.encode()).digest()
    return int.from_bytes(digest, 'big') % (_ORDER - 1) + 1


def octets(label: str, size: int) -> bytes:
    """Bytes in the place of random ones."""
    return hashlib.shake_256(f'korora test: {label}'.encode()).digest(size)


class Key(ec.EllipticCurvePrivateKey):
    """A P-256 key whose signatures are those of RFC 6979."""

    def __init__(self, label: str) -> None:
        self._key = ec.derive_private_key(scalar(label), ec.SECP256R1())

    def sign(self, data: Any, signature_algorithm: Any) -> bytes:
        algorithm = signature_algorithm.algorithm
        return self._key.sign(
            data, ec.ECDSA(algorithm, deterministic_signing=True)
        )

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._key.curve

    @property
    def key_size(self) -> int:
        return self._key.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: Any) -> bytes:
        return self._key.exchange(algorithm, peer_public_key)

    def private_numbers(self) -> NoReturn:
        raise NotImplementedError

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: Any) -> Key:
        return self


def signing(use: str) -> keys.SigningKey:
    """The service's key of one use."""
    private = Key(use)
    return keys.SigningKey(keys.key_id(private.public_key()), private)


def ring() -> keys.KeyRing:
    """What relying parties and agents pin."""
    return keys.KeyRing.build(
        CLOUD,
        result=[signing('result').public],
        custody=[signing('custody').public],
        approval=[signing('approval').public],
    )


def pem(public: ec.EllipticCurvePublicKey) -> str:
    return public.public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    ).decode()


def a_tpm(host: str) -> simulator.SimTpm:
    """A TPM that has just booted, with fixed keys and PCRs."""
    made = simulator.SimTpm()
    made.ak, made.srk = Key(f'ak of {host}'), Key(f'srk of {host}')
    made.ak_public = simulator.ecc_public(
        made.ak.public_key(),
        simulator.AK_ATTRIBUTES,
        scheme=simulator.ECDSA_SHA256,
    )
    made.srk_public = simulator.ecc_public(
        made.srk.public_key(),
        simulator.SRK_ATTRIBUTES,
        symmetric=simulator.AES_128_CFB,
    )
    for index in range(16):
        made.extend(index, octets(f'pcr {index} of {host}', 32))
    return made
