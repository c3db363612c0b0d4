# SPDX-License-Identifier: Apache-2.0
"""Kinds of endorsement keys: the default templates and where TPMs keep them.

TCG EK Credential Profile 2.5, 2.2.1 (NV indices) and B.3, B.4 (templates):
L-n of the low range, H-n of the high one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct

from korora_nova.rats.tpm2 import algorithms, structure
from korora_nova.rats.tpm2.algorithms import ALG_SHA256, ALG_SHA384

#: First and last NV index of a maker's intermediate certificates (2.2.1.5.2).
CHAIN_FIRST, CHAIN_LAST = 0x01C00100, 0x01C001FF
#: NV indices of certificates, nonces and templates of EKs.
CERTIFICATES = range(0x01C00002, 0x01C00100)

_CC_POLICY_OR = 0x00000171
#: PolicySecret(TPM_RH_ENDORSEMENT), B.6.2, by nameAlg.
POLICY_A = {
    ALG_SHA256: bytes.fromhex(
        '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa'
    ),
    ALG_SHA384: bytes.fromhex(
        '8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e'
        '143e8bb1133824ccb431053871c6db53'
    ),
}
#: PolicyAuthorizeNV of the index 0x01c07f01 or 0x01c07f02, B.6.4.
POLICY_C = {
    ALG_SHA256: bytes.fromhex(
        '3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde'
    ),
    ALG_SHA384: bytes.fromhex(
        'd6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5'
        'b4947c2d73e63005eed2dc2b3593d165'
    ),
}

_LOW = (
    structure.FIXED_TPM
    | structure.FIXED_PARENT
    | structure.SENSITIVE_DATA_ORIGIN
    | structure.ADMIN_WITH_POLICY
    | structure.RESTRICTED
    | structure.DECRYPT
)
_HIGH = _LOW | structure.USER_WITH_AUTH


@dataclasses.dataclass(frozen=True)
class Kind:
    """One default template.

    :param bits: of an RSA modulus; 0 for ECC.
    :param curve: TPM_ECC_CURVE; 0 for RSA.
    :param certificate: NV index of the certificate.
    :param nonce: NV index of what the unique field begins with; 0: none.
    :param template: NV index of a template in the place of this one.
    :param handle: persistent handle that TPMs have this key at.
    """

    id: str
    name_alg: int
    certificate: int
    template: int
    handle: int
    nonce: int = 0
    bits: int = 0
    curve: int = 0

    @property
    def high(self) -> bool:
        return self.id.startswith('H')

    @property
    def type(self) -> int:
        return structure.ALG_RSA if self.bits else structure.ALG_ECC

    @property
    def attributes(self) -> int:
        return _HIGH if self.high else _LOW

    @property
    def policy(self) -> bytes:
        return (policy_b if self.high else POLICY_A.__getitem__)(self.name_alg)

    @property
    def symmetric_bits(self) -> int:
        return 128 if self.name_alg == ALG_SHA256 else 256


#: In the order in which they are tried.
KINDS = (
    Kind(
        'L-1',
        ALG_SHA256,
        0x01C00002,
        0x01C00004,
        0x81010001,
        nonce=0x01C00003,
        bits=2048,
    ),
    Kind(
        'L-2',
        ALG_SHA256,
        0x01C0000A,
        0x01C0000C,
        0x8101000A,
        nonce=0x01C0000B,
        curve=structure.CURVE_P256,
    ),
    Kind('H-1', ALG_SHA256, 0x01C00012, 0x01C00013, 0x81010012, bits=2048),
    Kind(
        'H-2',
        ALG_SHA256,
        0x01C00014,
        0x01C00015,
        0x81010014,
        curve=structure.CURVE_P256,
    ),
    Kind(
        'H-3',
        ALG_SHA384,
        0x01C00016,
        0x01C00017,
        0x81010016,
        curve=structure.CURVE_P384,
    ),
    Kind('H-6', ALG_SHA384, 0x01C0001C, 0x01C0001D, 0x8101001C, bits=3072),
)
L_1 = KINDS[0]


def policy_or(name_alg: int, *branches: bytes) -> bytes:
    """Digest of a policy session after TPM2_PolicyOR (part 3, 23.6)."""
    known = algorithms.BY_ID[name_alg]
    return hashlib.new(
        known.name,
        bytes(known.size)
        + struct.pack('>I', _CC_POLICY_OR)
        + b''.join(branches),
    ).digest()


def policy_b(name_alg: int) -> bytes:
    """PolicyOR of A and C: the policy of the high range, B.6.3."""
    return policy_or(name_alg, POLICY_A[name_alg], POLICY_C[name_alg])
