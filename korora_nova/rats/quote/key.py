# SPDX-License-Identifier: Apache-2.0
"""Attestation keys in the forms in which they are passed on.

The form is told from the bytes: a TPM2B_PUBLIC begins with its own size, a
TPMT_PUBLIC with type RSA or ECC, DER with 30, a JWK with a brace. Nobody
vouches for a key because it was read here: not for a certificate's issuer,
and, unless the form is a TPM's public area, not that it signs only what a
TPM generated.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from korora_nova import errors
from korora_nova.rats.tpm2 import algorithms, structure
from korora_nova.rats.tpm2.structure import ALG_ECDSA, ALG_RSAPSS, ALG_RSASSA
from korora_nova.rats.x509 import certificate

#: Largest key read in any form, bytes.
MAX_KEY = 16384
#: RSA modulus, bits.
RSA_BITS = (2048, 3072, 4096)
#: Smallest RSA exponent; smaller ones forgive errors in padding checks.
MIN_EXPONENT = 65537

Members: TypeAlias = dict[str, object]
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_CURVES = {'secp256r1': 'P-256', 'secp384r1': 'P-384'}
#: Signature algorithms of each kind of key.
ECC_ALGORITHMS = (ALG_ECDSA,)
RSA_ALGORITHMS = (ALG_RSASSA, ALG_RSAPSS)
_SIGNING = {item.id: item for item in algorithms.SIGNING}

# RFC 7518 section 3.1.
_JWK_ALGORITHMS = {
    prefix + str(item.size * 8): structure.Scheme(algorithm, (item.id,))
    for prefix, algorithm in (
        ('ES', ALG_ECDSA),
        ('RS', ALG_RSASSA),
        ('PS', ALG_RSAPSS),
    )
    for item in algorithms.SIGNING
}
#: How a JWK of each type is read, and the numbers it has.
_JWK: Mapping[str, tuple[Callable[[Members], object], str, str]] = {
    'EC': (ECAlgorithm.from_jwk, 'x', 'y'),
    'RSA': (RSAAlgorithm.from_jwk, 'n', 'e'),
}
_BASE64URL = re.compile('[A-Za-z0-9_-]+', re.ASCII)
_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class AttestationKey:
    """A public key of a kind that signs attestations.

    :param scheme: the only one it signs with, None if the form names none.
    :param name: its TPM name; empty unless the form was a public area.
    """

    key: PublicKey
    scheme: structure.Scheme | None = None
    name: bytes = b''

    @property
    def kind(self) -> str:
        """For people: P-256, P-384, RSA-2048..."""
        if isinstance(self.key, rsa.RSAPublicKey):
            return f'RSA-{self.key.key_size}'
        return _CURVES[self.key.curve.name]

    @property
    def algorithms(self) -> tuple[int, ...]:
        """TPM_ALG_ID of the signatures it can make."""
        if self.scheme is not None:
            return (self.scheme.algorithm,)
        return (
            RSA_ALGORITHMS
            if isinstance(self.key, rsa.RSAPublicKey)
            else ECC_ALGORITHMS
        )


def load(data: bytes) -> AttestationKey:
    """Read a TPM2B_PUBLIC, TPMT_PUBLIC, SPKI, certificate or JWK.

    ECC P-256 or P-384, RSA 2048 to 4096 bits; SPKI and certificates as DER
    or PEM. A scheme that the form states must be ECDSA, RSASSA or RSAPSS
    with SHA-256, SHA-384 or SHA-512.

    :raises EvidenceError: QUOTE_KEY, no such key; QUOTE_ALGORITHM, another
        scheme; AK_ATTRIBUTES, a public area of a key that does not sign
        for the TPM alone.
    """
    if len(data) > MAX_KEY:
        raise _refused('it is too large')
    if data[:1] == b'\x30':
        return _checked(_der(data))
    if b'-----BEGIN ' in data:
        return _checked(_pem(data))
    if data.lstrip()[:1] == b'{':
        return _jwk(data)
    return of_public(_public(data))


def of_public(public: structure.Public) -> AttestationKey:
    """The attestation key of a public area.

    fixedTPM, restricted and sign, not decrypt: such a key signs no bytes
    from outside that look like the TPM's own.

    :raises EvidenceError: AK_ATTRIBUTES, QUOTE_KEY, QUOTE_ALGORITHM.
    """
    need = structure.FIXED_TPM | structure.RESTRICTED | structure.SIGN
    got = public.attributes & (need | structure.DECRYPT)
    if got != need:
        raise errors.EvidenceError(
            _R.AK_ATTRIBUTES,
            'The attestation key is not fixedTPM, '
            'restricted and for signatures alone.',
            place='attributes',
            details={'want': f'{need:08x}', 'got': f'{got:08x}'},
        )
    try:
        key = _checked(public.key, public.key_bits)
    except errors.EvidenceError as exc:
        raise _refused(exc.message) from None
    if public.scheme == structure.NULL:
        return dataclasses.replace(key, name=public.name)
    _check_scheme(public.scheme, key)
    return dataclasses.replace(key, scheme=public.scheme, name=public.name)


def _refused(why: str, place: str | None = None) -> errors.EvidenceError:
    return errors.EvidenceError(
        _R.QUOTE_KEY, f'The attestation key cannot be used: {why}', place=place
    )


def _public(data: bytes) -> structure.Public:
    # A TPMT_PUBLIC begins with a type, a TPM2B_PUBLIC of such a size
    # would be too small for any key.
    if data[:2] in (b'\0\x01', b'\0\x23'):
        data = structure.sized(data)
    try:
        return structure.parse_public(data)
    except errors.EvidenceError as exc:
        raise _refused(exc.message, exc.place) from None


def _der(data: bytes) -> object:
    try:
        return serialization.load_der_public_key(data)
    except certificate.BROKEN:
        pass
    try:
        return certificate.load(data).x509.public_key()
    except certificate.BROKEN:
        raise _refused(
            'it is neither a public key nor a certificate in DER.'
        ) from None


def _pem(data: bytes) -> object:
    blocks = list(certificate.pem_blocks(data))
    labels = ('PUBLIC KEY', 'RSA PUBLIC KEY', 'CERTIFICATE')
    if (
        data.count(b'-----BEGIN ') != 1
        or len(blocks) != 1
        or blocks[0][0] not in labels
    ):
        raise _refused(
            'its PEM is not of exactly one public key or certificate.'
        )
    return _der(blocks[0][1])


def _jwk(data: bytes) -> AttestationKey:
    """RFC 7517 section 4, RFC 7518 sections 6.2.1 and 6.3.1."""
    try:
        document = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _refused('its JWK is not a JSON object.') from None
    if not isinstance(document, dict):
        raise _refused('its JWK is not a JSON object.')
    if 'd' in document or document.get('use', 'sig') != 'sig':
        raise _refused('its JWK is of a private key or not for signatures.')
    kind = document.get('kty')
    if not isinstance(kind, str) or kind not in _JWK:
        raise _refused('it is neither EC nor RSA.', 'kty')
    key = _checked(_jwk_numbers(document, *_JWK[kind]))
    if 'alg' not in document:
        return key
    name = document['alg']
    if not isinstance(name, str) or name not in _JWK_ALGORITHMS:
        raise errors.EvidenceError(
            _R.QUOTE_ALGORITHM,
            'The attestation key cannot be used: its '
            'JWK is for another algorithm.',
            place='alg',
        )
    _check_scheme(_JWK_ALGORITHMS[name], key)
    return dataclasses.replace(key, scheme=_JWK_ALGORITHMS[name])


def _once(pairs: list[tuple[str, object]]) -> Members:
    if len(dict(pairs)) != len(pairs):
        raise ValueError('a member occurs twice')
    return dict(pairs)


def _jwk_numbers(
    document: Members, read: Callable[[Members], object], *fields: str
) -> object:
    for field in fields:
        # PyJWT passes over characters that are not base64url.
        text = document.get(field)
        if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
            raise _refused('a number is not base64url.', field)
    try:
        return read(document)
    except (jwt.InvalidKeyError, ValueError):
        raise _refused('its numbers are not those of a key.') from None


def _checked(key: object, bits: int = 0) -> AttestationKey:
    """Insist on a kind of key that no one breaks.

    :param bits: of the modulus as stated elsewhere, 0: not stated.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise _refused(
                f'its curve is {key.curve.name}, not P-256 or P-384.'
            )
        return AttestationKey(key)
    if not isinstance(key, rsa.RSAPublicKey):
        raise _refused('it is neither ECC nor RSA.')
    if key.key_size not in RSA_BITS or bits not in (0, key.key_size):
        raise _refused(f'its modulus has {key.key_size} bits.')
    if not MIN_EXPONENT <= key.public_numbers().e < 1 << 32:
        raise _refused('its exponent is weak.')
    return AttestationKey(key)


def _check_scheme(scheme: structure.Scheme, key: AttestationKey) -> None:
    if scheme.algorithm not in key.algorithms or (
        scheme.details[0] not in _SIGNING
    ):
        got = scheme_name(scheme)
        raise errors.EvidenceError(
            _R.QUOTE_ALGORITHM,
            f'The attestation key cannot be used: its scheme is {got}.',
            place='scheme',
            details={'got': got},
        )


def scheme_name(scheme: structure.Scheme) -> str:
    """For people: ECDSA-SHA256, or the numbers of what is unknown."""
    names = {ALG_ECDSA: 'ECDSA', ALG_RSASSA: 'RSASSA', ALG_RSAPSS: 'RSAPSS'}
    parts = [names.get(scheme.algorithm, f'{scheme.algorithm:04x}')]
    for detail in scheme.details[:1]:
        known = algorithms.BY_ID.get(detail)
        parts.append(known.name.upper() if known else f'{detail:04x}')
    return '-'.join(parts)
