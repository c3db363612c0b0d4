# SPDX-License-Identifier: Apache-2.0
"""TPM2_Quote in software, for every kind of key, bank and framing.

It marshals and signs by itself; nothing of the code under test takes part.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import struct
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import (
    ec,
    padding,
    rsa,
    utils,
)

HASHES = {
    'sha1': (0x04, hashes.SHA1()),
    'sha256': (0x0B, hashes.SHA256()),
    'sha384': (0x0C, hashes.SHA384()),
    'sha512': (0x0D, hashes.SHA512()),
}
SCHEMES = {'rsassa': 0x14, 'rsapss': 0x16, 'ecdsa': 0x18}
CURVES = {
    'p256': (3, ec.SECP256R1()),
    'p384': (4, ec.SECP384R1()),
    'p521': (5, ec.SECP521R1()),
}
AK_ATTRIBUTES = 0x00050472


def sized(data: bytes) -> bytes:
    return struct.pack('>H', len(data)) + data


@functools.cache
def private_key(kind: str):
    """A key of 'p256', 'p384', 'p521', 'rsa2048'...; made once."""
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind][1])
    return rsa.generate_private_key(65537, int(kind[3:]))


def values(banks: dict[str, tuple[int, ...]]) -> dict[str, dict[int, bytes]]:
    """PCR values that differ from one another."""
    return {
        bank: {
            index: hashlib.new(bank, b'%d' % index).digest()
            for index in indices
        }
        for bank, indices in banks.items()
    }


def selection(banks, size: int = 3) -> bytes:
    """TPML_PCR_SELECTION of (bank or id, indices) in this order."""
    out = struct.pack('>I', len(banks))
    for bank, indices in banks:
        number = HASHES[bank][0] if isinstance(bank, str) else bank
        bits = sum(1 << index for index in indices)
        out += struct.pack('>HB', number, size) + bits.to_bytes(size, 'little')
    return out


@dataclasses.dataclass
class Quoter:
    """One AK; fields can be set to make it lie.

    :param kind: 'p256', 'rsa2048'...
    :param scheme: 'ecdsa', 'rsassa' or 'rsapss'.
    :param hash: of the signature and the PCR digest.
    """

    kind: str = 'p256'
    scheme: str = 'ecdsa'
    hash: str = 'sha256'
    salt: Any = padding.PSS.DIGEST_LENGTH
    magic: int = 0xFF544347
    type: int = 0x8018
    trailing: bytes = b''
    select_size: int = 3
    nonce: bytes = b'n' * 32

    @property
    def key(self):
        return private_key(self.kind)

    def public(
        self,
        attributes: int = AK_ATTRIBUTES,
        *,
        scheme=None,
        name_alg: int = 0x0B,
    ) -> bytes:
        """TPMT_PUBLIC."""
        if scheme is None:
            scheme = struct.pack(
                '>HH', SCHEMES[self.scheme], HASHES[self.hash][0]
            )
        numbers = self.key.public_key().public_numbers()
        head = struct.pack(
            '>HHIHH',
            0x23 if self.kind in CURVES else 1,
            name_alg,
            attributes,
            0,
            0x10,
        )
        if self.kind in CURVES:
            curve, size = (CURVES[self.kind][0], (self.key.key_size + 7) // 8)
            return (
                head
                + scheme
                + struct.pack('>HH', curve, 0x10)
                + sized(numbers.x.to_bytes(size, 'big'))
                + sized(numbers.y.to_bytes(size, 'big'))
            )
        modulus = numbers.n.to_bytes(self.key.key_size // 8, 'big')
        exponent = 0 if numbers.e == 65537 else numbers.e
        return (
            head
            + scheme
            + struct.pack('>HI', self.key.key_size, exponent)
            + sized(modulus)
        )

    def attest(
        self, pcrs, *, order=None, digest: bytes | None = None
    ) -> bytes:
        """TPMS_ATTEST of a quote over these values."""
        order = order or [
            (bank, tuple(sorted(given))) for bank, given in pcrs.items()
        ]
        if digest is None:
            digest = hashlib.new(
                self.hash,
                b''.join(
                    pcrs[bank][index]
                    for bank, indices in order
                    for index in sorted(indices)
                ),
            ).digest()
        return (
            struct.pack('>IH', self.magic, self.type)
            + sized(b'\0\x0b' + bytes(32))
            + sized(self.nonce)
            + struct.pack('>QIIBQ', 5000, 7, 2, 1, 0x20191023)
            + selection(order, self.select_size)
            + sized(digest)
            + self.trailing
        )

    def raw(self, attest: bytes) -> bytes:
        """The octets of RSA, DER of ECDSA."""
        algorithm = HASHES[self.hash][1]
        if self.scheme == 'ecdsa':
            return self.key.sign(attest, ec.ECDSA(algorithm))
        filling = (
            padding.PKCS1v15()
            if self.scheme == 'rsassa'
            else (padding.PSS(padding.MGF1(algorithm), self.salt))
        )
        return self.key.sign(attest, filling, algorithm)

    def halves(self, attest: bytes) -> tuple[bytes, bytes]:
        """r and s, each as long as the curve's order."""
        size = (self.key.key_size + 7) // 8
        r, s = utils.decode_dss_signature(self.raw(attest))
        return r.to_bytes(size, 'big'), s.to_bytes(size, 'big')

    def sign(self, attest: bytes) -> bytes:
        """TPMT_SIGNATURE."""
        head = struct.pack('>HH', SCHEMES[self.scheme], HASHES[self.hash][0])
        if self.scheme == 'ecdsa':
            return head + b''.join(map(sized, self.halves(attest)))
        return head + sized(self.raw(attest))
