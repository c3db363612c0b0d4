# SPDX-License-Identifier: Apache-2.0
"""TPM 2.0 without a TSS: the kinds of objects the project uses.

The parsers of :mod:`korora_nova.rats.tpm2.structure` and
:mod:`korora_nova.rats.tpm2.attest` are offered here as well.
Sections are of the TPM 2.0 Library specification.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from korora_nova import errors
from korora_nova.rats.tpm2 import structure
from korora_nova.rats.tpm2.algorithms import ALG_SHA256, ALG_SHA384
from korora_nova.rats.tpm2.attest import (
    Attest,
    Clock,
    CreationData,
    CreationInfo,
    QuoteInfo,
    parse_attest,
    parse_creation_data,
    parse_signature,
)
from korora_nova.rats.tpm2.structure import (
    ALG_AES,
    ALG_CFB,
    ALG_ECC,
    ALG_ECDSA,
    ALG_KEYEDHASH,
    ALG_NULL,
    ALG_RSA,
    CURVE_P256,
    MAX_STRUCTURE,
    Public,
    parse_public,
)

__all__ = [
    'ALG_AES',
    'ALG_CFB',
    'ALG_ECC',
    'ALG_ECDSA',
    'ALG_KEYEDHASH',
    'ALG_NULL',
    'ALG_RSA',
    'ALG_SHA256',
    'Attest',
    'CURVE_P256',
    'Clock',
    'CreationData',
    'CreationInfo',
    'MAX_STRUCTURE',
    'Public',
    'QuoteInfo',
    'check_ak',
    'check_ek',
    'check_msk',
    'check_srk',
    'check_transit',
    'external_ecc_name',
    'external_ecc_public',
    'make_credential',
    'parse_attest',
    'parse_creation_data',
    'parse_public',
    'parse_signature',
]

_FIXED = (
    structure.FIXED_TPM
    | structure.FIXED_PARENT
    | structure.SENSITIVE_DATA_ORIGIN
)
#: Storage keys: fixed, restricted, decrypt.
STORAGE_ATTRIBUTES = (
    _FIXED
    | structure.USER_WITH_AUTH
    | structure.NO_DA
    | structure.RESTRICTED
    | structure.DECRYPT
)
#: Migration storage keys: gone at the next TPM Reset.
MSK_ATTRIBUTES = STORAGE_ATTRIBUTES | structure.ST_CLEAR
#: Attestation keys as the agent creates them.
AK_ATTRIBUTES = (
    _FIXED
    | structure.USER_WITH_AUTH
    | structure.NO_DA
    | structure.RESTRICTED
    | structure.SIGN
)
#: Approval keys as the agent loads them.
EXTERNAL_ATTRIBUTES = structure.USER_WITH_AUTH | structure.SIGN
#: Transit objects: opened by policy only.
TRANSIT_ATTRIBUTES = structure.ADMIN_WITH_POLICY | structure.NO_DA
# What every endorsement key is, whatever its template.
_EK_NEED = _FIXED | structure.RESTRICTED | structure.DECRYPT
_EK_SYMMETRIC = (structure.AES_128_CFB, structure.AES_256_CFB)
_EK_BITS = (2048, 3072, 4096)
_EK_CURVES = (structure.CURVE_P256, structure.CURVE_P384)
_EK_HASHES: dict[int, type[hashes.HashAlgorithm]] = {
    ALG_SHA256: hashes.SHA256,
    ALG_SHA384: hashes.SHA384,
}

_R = errors.Reason
#: Longest secret that every TPM's ActivateCredential takes, bytes.
MAX_CREDENTIAL = 32


def check_ak(public: structure.Public) -> None:
    """Insist on an attestation key that signs only what a TPM made.

    fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, not
    decrypt; P-256, ECDSA with SHA-256.

    :raises EvidenceError: AK_ATTRIBUTES.
    """
    need = _FIXED | structure.RESTRICTED | structure.SIGN
    ok = (
        public.type == structure.ALG_ECC
        and public.name_alg == ALG_SHA256
        and public.curve == structure.CURVE_P256
        and public.attributes & (need | structure.DECRYPT) == need
        and public.scheme == structure.ECDSA_SHA256
        and public.symmetric == structure.NULL
        and public.kdf == structure.NULL
    )
    if not ok:
        raise errors.EvidenceError(_R.AK_ATTRIBUTES)
    _is_key(public, _R.AK_ATTRIBUTES)


def check_srk(public: structure.Public) -> None:
    """Insist on the storage root key's exact template.

    :raises EvidenceError: SRK_ATTRIBUTES.
    """
    _check_storage(public, STORAGE_ATTRIBUTES, _R.SRK_ATTRIBUTES)


def check_msk(public: structure.Public) -> None:
    """Insist on the migration storage key's exact template.

    :raises EvidenceError: MSK_TEMPLATE.
    """
    _check_storage(public, MSK_ATTRIBUTES, _R.MSK_TEMPLATE)


def check_ek(public: structure.Public) -> None:
    """Insist on an endorsement key: restricted, and of the TPM for good.

    The templates of the EK credential profile are such keys, and so is what
    a maker's own template in NV memory may make; its policy is the maker's.

    :raises EvidenceError: EK_MISMATCH.
    """
    size = (
        public.key_bits in _EK_BITS and public.exponent in (0, 65537)
        if public.type == structure.ALG_RSA
        else public.type == structure.ALG_ECC
        and public.curve in _EK_CURVES
        and public.kdf == structure.NULL
    )
    ok = (
        size
        and public.name_alg in _EK_HASHES
        and public.attributes & (_EK_NEED | structure.SIGN) == _EK_NEED
        and public.symmetric in _EK_SYMMETRIC
        and public.scheme == structure.NULL
    )
    if not ok:
        raise errors.EvidenceError(
            _R.EK_MISMATCH,
            'The endorsement key is not of a supported kind: RSA of 2048, '
            '3072 or 4096 bits, or ECC on P-256 or P-384; a restricted '
            'decryption key that never leaves its TPM.',
        )
    _is_key(public, _R.EK_MISMATCH)


def check_transit(public: structure.Public, policy: bytes) -> None:
    """Insist on a transit object that opens under ``policy`` alone.

    :raises CustodyError: TRANSFER_INVALID.
    """
    ok = (
        public.type == structure.ALG_KEYEDHASH
        and public.name_alg == ALG_SHA256
        and public.attributes == TRANSIT_ATTRIBUTES
        and len(policy) == 32
        and public.auth_policy == policy
    )
    if not ok:
        raise errors.CustodyError(
            _R.TRANSFER_INVALID,
            'The transit object or its policy is not that of the permit.',
        )


def _check_storage(
    public: structure.Public, attributes: int, reason: str
) -> None:
    ok = (
        public.type == structure.ALG_ECC
        and public.name_alg == ALG_SHA256
        and public.curve == structure.CURVE_P256
        and public.attributes == attributes
        and public.auth_policy == b''
        and public.symmetric == structure.AES_128_CFB
        and public.scheme == structure.NULL
        and public.kdf == structure.NULL
    )
    if not ok:
        raise errors.EvidenceError(reason)
    _is_key(public, reason)


def _is_key(
    public: structure.Public, reason: str
) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    try:
        return public.key
    except errors.EvidenceError:
        raise errors.EvidenceError(
            reason, 'The public area holds no valid key.'
        ) from None


def external_ecc_public(key: ec.EllipticCurvePublicKey) -> bytes:
    """TPM2B_PUBLIC with which agents TPM2_LoadExternal an approval key.

    userWithAuth | sign, empty policy, no symmetric algorithm, ECDSA with
    SHA-256, P-256, no KDF.

    :raises ValueError: the key is not on P-256.
    """
    if not isinstance(key.curve, ec.SECP256R1):
        raise ValueError('not a P-256 key')
    numbers = key.public_numbers()
    area = struct.pack(
        '>HHIH HHHHH',
        ALG_ECC,
        ALG_SHA256,
        EXTERNAL_ATTRIBUTES,
        0,
        ALG_NULL,
        ALG_ECDSA,
        ALG_SHA256,
        CURVE_P256,
        ALG_NULL,
    )
    area += structure.sized(numbers.x.to_bytes(32, 'big'))
    area += structure.sized(numbers.y.to_bytes(32, 'big'))
    return structure.sized(area)


def external_ecc_name(key: ec.EllipticCurvePublicKey) -> bytes:
    """TPM name of :func:`external_ecc_public`, 34 bytes."""
    return structure.parse_public(external_ecc_public(key)).name


def make_credential(
    ek: structure.Public,
    name: bytes,
    secret: bytes,
    random: Callable[[int], bytes] = os.urandom,
) -> tuple[bytes, bytes]:
    """TPM2_MakeCredential in software (part 1 sections 24, B.10.4, C.6.4).

    :param ek: endorsement key.
    :param name: TPM name of the object that must be in the same TPM.
    :param secret: at most 32 bytes.
    :returns: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
    :raises EvidenceError: EK_MISMATCH.
    :raises ValueError: the secret is too long or empty.
    """
    check_ek(ek)
    if not 0 < len(secret) <= MAX_CREDENTIAL:
        raise ValueError('a credential has 1 to 32 bytes')
    key, algorithm = ek.key, _EK_HASHES[ek.name_alg]()
    hash_name = algorithm.name
    if isinstance(key, rsa.RSAPublicKey):
        seed, encrypted = _rsa_seed(key, algorithm, random)
    else:
        seed, encrypted = _ecc_seed(key, hash_name)
    assert ek.symmetric is not None
    bits = ek.symmetric.details[0]
    identity = _cfb(
        _kdfa(hash_name, seed, b'STORAGE', name, bits // 8),
        structure.sized(secret),
    )
    size = algorithm.digest_size
    mac = hmac.digest(
        _kdfa(hash_name, seed, b'INTEGRITY', b'', size),
        identity + name,
        hash_name,
    )
    return (
        structure.sized(structure.sized(mac) + identity),
        structure.sized(encrypted),
    )


def _rsa_seed(
    key: rsa.RSAPublicKey,
    algorithm: hashes.HashAlgorithm,
    random: Callable[[int], bytes],
) -> tuple[bytes, bytes]:
    """A seed, and what the TPM finds it in: OAEP, B.10.4."""
    seed = random(algorithm.digest_size)
    oaep = padding.OAEP(padding.MGF1(algorithm), algorithm, b'IDENTITY\0')
    return seed, key.encrypt(seed, oaep)


def _ecc_seed(
    key: ec.EllipticCurvePublicKey, hash_name: str
) -> tuple[bytes, bytes]:
    """The same for ECC: one-pass ECDH, C.6.4; TPMS_ECC_POINT."""
    size = (key.curve.key_size + 7) // 8
    own = ec.generate_private_key(key.curve)
    shared = own.exchange(ec.ECDH(), key)
    mine, theirs = own.public_key().public_numbers(), key.public_numbers()
    # KDFe, 11.4.10.3: H(counter || Z || label || PartyUInfo || PartyVInfo)
    seed = hashlib.new(
        hash_name,
        struct.pack('>I', 1)
        + shared
        + b'IDENTITY\0'
        + mine.x.to_bytes(size, 'big')
        + theirs.x.to_bytes(size, 'big'),
    ).digest()
    point = b''.join(
        structure.sized(number.to_bytes(size, 'big'))
        for number in (mine.x, mine.y)
    )
    return seed, point


def _kdfa(
    hash_name: str, key: bytes, label: bytes, context: bytes, size: int
) -> bytes:
    """KDFa of part 1 section 11.4.10.2; at most one block."""
    return hmac.digest(
        key,
        struct.pack('>I', 1)
        + label
        + b'\0'
        + context
        + struct.pack('>I', size * 8),
        hash_name,
    )[:size]


def _cfb(key: bytes, plaintext: bytes) -> bytes:
    """AES-CFB with a zero IV; modes.CFB moves between releases."""
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    block, out = bytes(16), b''
    for at in range(0, len(plaintext), 16):
        part = plaintext[at : at + 16]
        block = bytes(
            left ^ right
            for left, right in zip(cipher.update(block), part, strict=False)
        )
        out += block
    return out
