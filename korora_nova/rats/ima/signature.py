# SPDX-License-Identifier: Apache-2.0
"""Signatures of files: the extended attributes security.ima and .evm.

Linux, security/integrity/integrity.h and digsig_asymmetric.c; big-endian::

    u8 type | u8 version | u8 hash algorithm | u8[4] key id | u16 size
    | signature

=====  =======  ====================================================
type   version  signed
=====  =======  ====================================================
3      2        the digest of the file
3, 6   3        H(u8 type | u8 algorithm | digest): ``ima_file_id``
=====  =======  ====================================================

RSA PKCS#1 v1.5 or ECDSA. The key id is the end of the key's subject key
identifier: of its certificate, else SHA-1 of the public key (RFC 5280,
4.2.1.2, method 1).
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import (
    ec,
    padding,
    rsa,
    utils,
)

from korora_nova import errors
from korora_nova.rats.ima import digests
from korora_nova.rats.ima.templates import DIGEST_SIZES

DIGSIG, PORTABLE, VERITY = 0x03, 0x05, 0x06
#: Keys of a policy, and bytes of one of its entries.
MAX_KEYS = 256
MAX_KEY_BYTES = 1 << 16

_HEADER = struct.Struct('>BBB4sH')
_ALGORITHMS = dict(enumerate(DIGEST_SIZES))
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    'sha1': hashes.SHA1, 'sha224': hashes.SHA224, 'sha256': hashes.SHA256,
    'sha384': hashes.SHA384, 'sha512': hashes.SHA512,
    'sha3-256': hashes.SHA3_256, 'sha3-384': hashes.SHA3_384,
    'sha3-512': hashes.SHA3_512}
_PEM = re.compile(rb'-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----', re.S)
_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Key:
    """A key that may sign files.

    :param id: what signatures call it.
    :param spki: DER, what it is.
    """

    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    id: bytes
    spki: bytes


class Keys:
    """The keys of a policy, by id; two keys may share one.

    :param sources: PEM (several in one are fine) or DER, each a public key
        or a certificate.
    :raises Invalid: POLICY_INVALID.
    """

    def __init__(self, sources: Iterable[str | bytes]) -> None:
        self._by_id: dict[bytes, list[Key]] = {}
        keys = {key.id + key.spki: key
                for source in sources for key in _load(source)}
        if len(keys) > MAX_KEYS:
            raise _invalid(f'there are more than {MAX_KEYS}')
        for key in keys.values():
            self._by_id.setdefault(key.id, []).append(key)
        #: What the keys are, for a fingerprint.
        self.identity = tuple(sorted(keys))

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def refusal(self, signature: bytes, digest: str) -> str | None:
        """Why a signature does not vouch for a digest; None if it does.

        :param digest: as in :class:`Entry`.
        """
        if len(signature) < _HEADER.size:
            return 'the signature is missing' if not signature else (
                'the signature is too short')
        kind, version, number, key_id, size = _HEADER.unpack_from(signature)
        algorithm = _ALGORITHMS.get(number, f'number {number}')
        value = signature[_HEADER.size:]
        signed, why = _signed(kind, version, number, algorithm, digest)
        if len(value) != size:
            why = 'the size of the signature is wrong'
        if why:
            return why
        candidates = self._by_id.get(key_id)
        if not candidates:
            return f'the signature is of the unknown key {key_id.hex()}'
        chosen = _HASHES[algorithm]()
        if any(verifies(key, value, signed, chosen) for key in candidates):
            return None
        return f'the signature of the key {key_id.hex()} is wrong'


def _signed(kind: int, version: int, number: int, algorithm: str,
            digest: str) -> tuple[bytes, str]:
    """The digest that was signed, or b'' and why there is none."""
    name, _, text = digest.rpartition(':')
    verity = name.startswith('verity:')
    name = name.removeprefix('verity:')
    if (kind, version) not in ((DIGSIG, 2), (DIGSIG, 3), (VERITY, 3)):
        return b'', (f'signatures of type {kind}, version {version} are not '
                     'supported')
    if algorithm not in _HASHES or algorithm != name:
        return b'', (f'the signature is over {algorithm}, the list holds '
                     f'{name or "no digest"}')
    if verity != (kind == VERITY):
        return b'', 'the signature is for another kind of digest'
    signed = bytes.fromhex(text)
    if version == 3:
        signed = digests.compute(
            algorithm, bytes((kind, number)) + signed) or b''
    return signed, ''


def verifies(key: Key, value: bytes, signed: bytes,
             algorithm: hashes.HashAlgorithm) -> bool:
    """Whether a signature over a digest is of this key."""
    chosen = utils.Prehashed(algorithm)
    try:
        if isinstance(key.key, rsa.RSAPublicKey):
            key.key.verify(value, signed, padding.PKCS1v15(), chosen)
        else:
            key.key.verify(value, signed, ec.ECDSA(chosen))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _load(source: str | bytes) -> Iterator[Key]:
    data = source.encode() if isinstance(source, str) else source
    if len(data) > MAX_KEY_BYTES:
        raise _invalid(f'one is longer than {MAX_KEY_BYTES} bytes')
    found = False
    for match in _PEM.finditer(data):
        found = True
        yield _one(match.group(0), pem=True)
    if not found:
        yield _one(data, pem=False)


def _one(data: bytes, pem: bool) -> Key:
    for read in (_certificate, _public):
        try:
            return read(data, pem)
        except (ValueError, UnsupportedAlgorithm):
            continue
    raise _invalid('one is neither a public key nor a certificate, or of '
                   'an unsupported algorithm')


def _certificate(data: bytes, pem: bool) -> Key:
    load = x509.load_pem_x509_certificate if pem else (
        x509.load_der_x509_certificate)
    certificate = load(data)
    try:
        stated = certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        stated = b''
    return _key(certificate.public_key(), stated)


def _public(data: bytes, pem: bool) -> Key:
    load = serialization.load_pem_public_key if pem else (
        serialization.load_der_public_key)
    return _key(load(data), b'')


def _key(public: object, stated: bytes) -> Key:
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError
    identifier = stated or (
        x509.SubjectKeyIdentifier.from_public_key(public).digest)
    if len(identifier) < 4:
        raise ValueError
    return Key(public, identifier[-4:], public.public_bytes(
        serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo))


def _invalid(what: str) -> errors.Invalid:
    return errors.Invalid(_R.POLICY_INVALID,
                          f'The keys for file signatures: {what}.')


