# SPDX-License-Identifier: Apache-2.0
"""TPM 2.0 structures from bytes, without a TSS: reader and public areas.

Section numbers are of the TPM 2.0 Library specification, part 2
("Structures"), unless said otherwise. All integers are big-endian. Every
parser takes exactly one structure, checks each bound, and refuses trailing
bytes; whatever the bytes, only :class:`EvidenceError` comes out.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from korora_nova import errors
from korora_nova.rats.tpm2 import algorithms
from korora_nova.rats.tpm2.algorithms import ALG_SHA256

# TPM_ALG_ID, section 6.3.
ALG_RSA = 0x0001
ALG_AES = 0x0006
ALG_KEYEDHASH = 0x0008
ALG_NULL = 0x0010
ALG_RSASSA = 0x0014
ALG_RSAES = 0x0015
ALG_RSAPSS = 0x0016
ALG_ECDSA = 0x0018
ALG_ECDAA = 0x001A
ALG_ECC = 0x0023
ALG_CFB = 0x0043
# TPM_ECC_CURVE, section 6.4.
CURVE_P256 = 0x0003
CURVE_P384 = 0x0004

# TPMA_OBJECT, section 8.3.
FIXED_TPM = 1 << 1
ST_CLEAR = 1 << 2
FIXED_PARENT = 1 << 4
SENSITIVE_DATA_ORIGIN = 1 << 5
USER_WITH_AUTH = 1 << 6
ADMIN_WITH_POLICY = 1 << 7
NO_DA = 1 << 10
RESTRICTED = 1 << 16
DECRYPT = 1 << 17
SIGN = 1 << 18

#: Largest structure read, bytes.
MAX_STRUCTURE = 4096

#: TPM_ECC_CURVE -> class of ``cryptography``.
CURVES: dict[int, type[ec.EllipticCurve]] = {
    CURVE_P256: ec.SECP256R1,
    CURVE_P384: ec.SECP384R1,
}
_R = errors.Reason


def malformed(what: str) -> errors.EvidenceError:
    """The error of bytes that are not the structure they should be."""
    return errors.EvidenceError(
        _R.QUOTE_MALFORMED,
        f'A TPM structure is malformed: {what}.',
        place=what,
    )


def _other(place: str, got: int) -> errors.EvidenceError:
    return errors.EvidenceError(
        _R.QUOTE_ALGORITHM,
        f'{errors.REASONS[_R.QUOTE_ALGORITHM]} {place} is {got:04x}.',
        place=place,
        details={'got': f'{got:04x}'},
    )


class Reader:
    """Reads one structure; every read is bounded."""

    def __init__(self, data: bytes, what: str) -> None:
        if len(data) > MAX_STRUCTURE:
            raise malformed(f'{what}: too long')
        self._data = bytes(data)
        self._at = 0
        self._what = what

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise malformed(f'{self._what}: truncated at {self._at}')
        value = self._data[self._at : end]
        self._at = end
        return value

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), 'big')

    def u32(self) -> int:
        return int.from_bytes(self.take(4), 'big')

    def u64(self) -> int:
        return int.from_bytes(self.take(8), 'big')

    def sized(self, limit: int = MAX_STRUCTURE) -> bytes:
        """A TPM2B: u16 size | bytes."""
        size = self.u16()
        if size > limit:
            raise malformed(f'{self._what}: a buffer is too long')
        return self.take(size)

    def sized8(self, limit: int) -> bytes:
        """u8 size | bytes."""
        size = self.u8()
        if size > limit:
            raise malformed(f'{self._what}: a buffer is too long')
        return self.take(size)

    def end(self) -> None:
        if self._at != len(self._data):
            raise malformed(f'{self._what}: trailing bytes')


def sized(data: bytes) -> bytes:
    """Marshal a TPM2B: u16 size | bytes."""
    return struct.pack('>H', len(data)) + data


@dataclasses.dataclass(frozen=True)
class Scheme:
    """A TPMT_*_SCHEME or TPMT_SYM_DEF_OBJECT: algorithm and details.

    Of a symmetric definition the details are key bits and mode, of others
    the hash algorithm; empty for TPM_ALG_NULL.
    """

    algorithm: int
    details: tuple[int, ...] = ()


NULL = Scheme(ALG_NULL)
AES_128_CFB = Scheme(ALG_AES, (128, ALG_CFB))
AES_256_CFB = Scheme(ALG_AES, (256, ALG_CFB))
ECDSA_SHA256 = Scheme(ALG_ECDSA, (ALG_SHA256,))


@dataclasses.dataclass(frozen=True)
class Public:
    """A parsed TPM2B_PUBLIC; says nothing about where it came from.

    :param raw: the TPM2B_PUBLIC, size prefix included.
    :param symmetric: None for KEYEDHASH.
    :param curve: TPM_ECC_CURVE, 0 unless ECC.
    :param key_bits: RSA modulus bits, 0 unless RSA.
    :param unique: (x, y) of ECC, (modulus,) of RSA, (digest,) else.
    """

    raw: bytes
    type: int
    name_alg: int
    attributes: int
    auth_policy: bytes
    symmetric: Scheme | None
    scheme: Scheme
    kdf: Scheme
    curve: int
    key_bits: int
    exponent: int
    unique: tuple[bytes, ...]

    @functools.cached_property
    def name(self) -> bytes:
        """The TPM name: u16 nameAlg || H(TPMT_PUBLIC), part 1 section 16."""
        digest = hashlib.new(
            algorithms.BY_ID[self.name_alg].name, self.raw[2:]
        )
        return struct.pack('>H', self.name_alg) + digest.digest()

    @functools.cached_property
    def key(self) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        """The public key.

        :raises EvidenceError: QUOTE_MALFORMED, no such point or modulus;
            QUOTE_ALGORITHM, not P-256, P-384 or RSA.
        """
        numbers = [int.from_bytes(part, 'big') for part in self.unique]
        try:
            if self.type == ALG_RSA:
                return rsa.RSAPublicNumbers(
                    self.exponent or 65537, numbers[0]
                ).public_key()
            if self.type == ALG_ECC and self.curve in CURVES:
                return ec.EllipticCurvePublicNumbers(
                    numbers[0], numbers[1], CURVES[self.curve]()
                ).public_key()
        except ValueError:
            raise malformed('public: not a key') from None
        raise _other('public: curve', self.curve)


def parse_public(data: bytes) -> Public:
    """Parse a TPM2B_PUBLIC of an RSA, ECC or KEYEDHASH object.

    Section 12.2.4, 12.2.5::

        u16 size | u16 type | u16 nameAlg | u32 objectAttributes
        | TPM2B authPolicy | TPMU_PUBLIC_PARMS | TPMU_PUBLIC_ID

    :raises EvidenceError: QUOTE_MALFORMED or QUOTE_ALGORITHM.
    """
    outer = Reader(data, 'public')
    inner = Reader(outer.sized(), 'public')
    outer.end()
    kind, name_alg, attributes = inner.u16(), inner.u16(), inner.u32()
    policy = inner.sized(64)
    if name_alg not in _NAME_ALGORITHMS:
        raise _other('public: nameAlg', name_alg)
    readers = {ALG_ECC: _ecc, ALG_RSA: _rsa, ALG_KEYEDHASH: _keyedhash}
    if kind not in readers:
        raise _other('public: type', kind)
    specific = readers[kind](inner)
    inner.end()
    return dataclasses.replace(
        specific,
        raw=bytes(data),
        type=kind,
        name_alg=name_alg,
        attributes=attributes,
        auth_policy=policy,
    )


_NAME_ALGORITHMS = frozenset(item.id for item in algorithms.SIGNING)
_BLANK = Public(b'', 0, 0, 0, b'', None, NULL, NULL, 0, 0, 0, ())


def _ecc(data: Reader) -> Public:
    # 12.2.3.6 TPMS_ECC_PARMS: symmetric | scheme | u16 curve | kdf;
    # 11.2.5.2 TPMS_ECC_POINT: TPM2B x | TPM2B y.
    symmetric, scheme = _symmetric(data), _scheme(data)
    curve, kdf = data.u16(), _scheme(data)
    unique = (data.sized(66), data.sized(66))
    return dataclasses.replace(
        _BLANK,
        symmetric=symmetric,
        scheme=scheme,
        curve=curve,
        kdf=kdf,
        unique=unique,
    )


def _rsa(data: Reader) -> Public:
    # 12.2.3.5 TPMS_RSA_PARMS: symmetric | scheme | u16 keyBits
    # | u32 exponent (0 means 65537); 11.2.4.5 TPM2B modulus.
    symmetric, scheme = _symmetric(data), _scheme(data)
    bits, exponent, modulus = data.u16(), data.u32(), data.sized(512)
    return dataclasses.replace(
        _BLANK,
        symmetric=symmetric,
        scheme=scheme,
        key_bits=bits,
        exponent=exponent,
        unique=(modulus,),
    )


def _keyedhash(data: Reader) -> Public:
    # 12.2.3.3 TPMS_KEYEDHASH_PARMS: only data objects, scheme NULL.
    if (scheme := data.u16()) != ALG_NULL:
        raise _other('public: scheme', scheme)
    return dataclasses.replace(_BLANK, unique=(data.sized(64),))


def _symmetric(data: Reader) -> Scheme:
    # 11.1.7 TPMT_SYM_DEF_OBJECT: u16 algorithm [| u16 keyBits | u16 mode].
    algorithm = data.u16()
    if algorithm == ALG_NULL:
        return NULL
    return Scheme(algorithm, (data.u16(), data.u16()))


def _scheme(data: Reader) -> Scheme:
    # 11.2.x TPMT_*_SCHEME: u16 scheme [| u16 hashAlg [| u16 count]].
    algorithm = data.u16()
    if algorithm in (ALG_NULL, ALG_RSAES):
        return Scheme(algorithm)
    if algorithm == ALG_ECDAA:
        return Scheme(algorithm, (data.u16(), data.u16()))
    return Scheme(algorithm, (data.u16(),))
