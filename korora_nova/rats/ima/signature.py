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
5      2, 3     attributes, owner and mode (portable EVM signature); the
                attribute security.ima is the digest, or its signature
=====  =======  ====================================================

Type 6 is for fs-verity digests. RSA PKCS#1 v1.5 or ECDSA. The key id is the
end of the key's subject key identifier: of its certificate, else SHA-1 of
the public key (RFC 5280, 4.2.1.2, method 1). Appended signatures (modsig)
are read from lists, but vouch for nothing.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

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
from korora_nova.rats.ima.templates import DIGEST_SIZES, Entry
from korora_nova.rats.x509.certificate import spki

DIGEST, DIGSIG, DIGEST_NG, PORTABLE, VERITY = 1, 3, 4, 5, 6
#: Keys of a policy, and bytes of one of its entries.
MAX_KEYS = 256
MAX_KEY_BYTES = 1 << 16

_HEADER = struct.Struct('>BBB4sH')
_MISC = struct.Struct('<12xIIH2x')
_ALGORITHMS = dict(enumerate(DIGEST_SIZES))
_NUMBERS = {name: number for number, name in _ALGORITHMS.items()}
_SUPPORTED = {
    (DIGSIG, 2),
    (DIGSIG, 3),
    (VERITY, 3),
    (PORTABLE, 2),
    (PORTABLE, 3),
}
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    'sha1': hashes.SHA1,
    'sha224': hashes.SHA224,
    'sha256': hashes.SHA256,
    'sha384': hashes.SHA384,
    'sha512': hashes.SHA512,
    'sha3-256': hashes.SHA3_256,
    'sha3-384': hashes.SHA3_384,
    'sha3-512': hashes.SHA3_512,
}
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
        keys = {
            key.id + key.spki: key
            for source in sources
            for key in _load(source)
        }
        if len(keys) > MAX_KEYS:
            raise _invalid(f'there are more than {MAX_KEYS}')
        for key in keys.values():
            self._by_id.setdefault(key.id, []).append(key)
        #: What the keys are, for a fingerprint.
        self.identity = tuple(sorted(keys))

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def refusal(self, entry: Entry) -> str | None:
        """Why no signature vouches for a file; None if one does."""
        fields = dict(entry.extra)
        # The template evm-sig has security.ima among the attributes.
        signature = Signature.read(
            entry.signature or evm_attribute(fields, b'security.ima')
        )
        if isinstance(signature, str):
            return signature
        if signature.kind != PORTABLE:
            return self._file(signature, entry.digest)
        content = evm_content(fields)
        if content is None:
            return (
                'a portable EVM signature needs the attributes that '
                'only the template evm-sig holds'
            )
        signed = digests.compute(signature.algorithm, content) or b''
        return self._over(signature, signed) or self._attribute(
            fields, entry.digest
        )

    def _attribute(
        self, fields: Mapping[str, bytes], digest: str
    ) -> str | None:
        """Why security.ima, which is signed, is not of this digest."""
        value = evm_attribute(fields, b'security.ima')
        name, _, text = digest.rpartition(':')
        octets = bytes.fromhex(text)
        if value[:1] in (bytes((DIGSIG,)), bytes((VERITY,))):
            signature = Signature.read(value)
            return (
                signature
                if isinstance(signature, str)
                else (self._file(signature, digest))
            )
        plain = value == bytes((DIGEST,)) + octets and (
            name in ('sha1', 'md5')
        )
        if (
            plain
            or name in DIGEST_SIZES
            and value == bytes((DIGEST_NG, _NUMBERS[name])) + octets
        ):
            return None
        return 'the EVM signature is for a file with another digest'

    def _file(self, signature: Signature, digest: str) -> str | None:
        name, _, text = digest.rpartition(':')
        verity = name.startswith('verity:')
        name = name.removeprefix('verity:')
        if signature.algorithm != name:
            return (
                f'the signature is over {signature.algorithm}, the list '
                f'holds {name or "no digest"}'
            )
        if verity != (signature.kind == VERITY):
            return 'the signature is for another kind of digest'
        return self._over(signature, bytes.fromhex(text))

    def _over(self, signature: Signature, digest: bytes) -> str | None:
        if signature.version == 3:
            digest = (
                digests.compute(
                    signature.algorithm,
                    bytes((signature.kind, _NUMBERS[signature.algorithm]))
                    + digest,
                )
                or b''
            )
        shown = signature.key_id.hex()
        candidates = self._by_id.get(signature.key_id)
        if not candidates:
            return f'the signature is of the unknown key {shown}'
        chosen = _HASHES[signature.algorithm]()
        if any(
            verifies(key, signature.value, digest, chosen)
            for key in candidates
        ):
            return None
        return f'the signature of the key {shown} is wrong'


class Signature(NamedTuple):
    """A signature's header, and its value."""

    kind: int
    version: int
    algorithm: str
    key_id: bytes
    value: bytes

    @classmethod
    def read(cls, data: bytes) -> Signature | str:
        """The signature in an attribute, or what is wrong with it."""
        if not data:
            return 'the signature is missing'
        if len(data) < _HEADER.size:
            return 'the signature is too short'
        kind, version, number, key_id, size = _HEADER.unpack_from(data)
        algorithm = _ALGORITHMS.get(number, f'number {number}')
        value = data[_HEADER.size :]
        if (kind, version) not in _SUPPORTED:
            return (
                f'signatures of type {kind}, version {version} are not '
                'supported'
            )
        if algorithm not in _HASHES:
            return f'signatures over {algorithm} are not supported'
        if len(value) != size:
            return 'the size of the signature is wrong'
        return cls(kind, version, algorithm, key_id, value)


def evm_content(fields: Mapping[str, bytes]) -> bytes | None:
    """What a portable EVM signature is over: attributes, owner, mode.

    Linux, evm_crypto.c, ``evm_calc_hmac_or_hash`` and ``hmac_add_misc``:
    inode number and generation are zero.
    """
    try:
        numbers = [
            int.from_bytes(fields[name], 'little')
            for name in ('iuid', 'igid', 'imode')
        ]
        return fields['xattrvalues'] + _MISC.pack(*numbers)
    except KeyError:
        return None


def evm_attribute(fields: Mapping[str, bytes], wanted: bytes) -> bytes:
    """The value of an attribute in the fields of evm-sig; b'' if absent."""
    names = fields.get('xattrnames', b'').rstrip(b'\0').split(b'|')
    lengths = fields.get('xattrlengths', b'')
    values = fields.get('xattrvalues', b'')
    if len(lengths) != 4 * len(names):
        return b''
    sizes = struct.unpack(f'<{len(names)}I', lengths)
    if sum(sizes) != len(values) or names.count(wanted) != 1:
        return b''
    index = names.index(wanted)
    start = sum(sizes[:index])
    return values[start : start + sizes[index]]


def verifies(
    key: Key, value: bytes, signed: bytes, algorithm: hashes.HashAlgorithm
) -> bool:
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
        except (
            ValueError,
            UnsupportedAlgorithm,
            x509.InvalidVersion,
            x509.DuplicateExtension,
            x509.UnsupportedGeneralNameType,
        ):
            continue
    raise _invalid(
        'one is neither a public key nor a certificate, or of '
        'an unsupported algorithm'
    )


def _certificate(data: bytes, pem: bool) -> Key:
    load = (
        x509.load_pem_x509_certificate
        if pem
        else (x509.load_der_x509_certificate)
    )
    certificate = load(data)
    try:
        stated = certificate.extensions.get_extension_for_class(
            x509.SubjectKeyIdentifier
        ).value.digest
    except x509.ExtensionNotFound:
        stated = b''
    return _key(certificate.public_key(), stated)


def _public(data: bytes, pem: bool) -> Key:
    load = (
        serialization.load_pem_public_key
        if pem
        else (serialization.load_der_public_key)
    )
    return _key(load(data), b'')


def _key(public: object, stated: bytes) -> Key:
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError
    identifier = stated or (
        x509.SubjectKeyIdentifier.from_public_key(public).digest
    )
    if len(identifier) < 4:
        raise ValueError
    return Key(
        public,
        identifier[-4:],
        spki(public),
    )


def _invalid(what: str) -> errors.Invalid:
    return errors.Invalid(
        _R.POLICY_INVALID, f'The keys for file signatures: {what}.'
    )
