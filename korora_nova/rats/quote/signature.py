# SPDX-License-Identifier: Apache-2.0
"""Signatures of attestations, with and without the TPM's own framing."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import (
    ec,
    padding,
    rsa,
    utils,
)

from korora_nova import errors
from korora_nova.rats.quote.key import AttestationKey, scheme_name
from korora_nova.rats.tpm2 import algorithms, attest, structure
from korora_nova.rats.tpm2.structure import ALG_RSAPSS, Scheme

_SIGNING = {item.id: item.signs for item in algorithms.SIGNING if item.signs}
_BY_SIZE = {item.size: item.id for item in algorithms.SIGNING}
_R = errors.Reason


def verify(
    signed: bytes, message: bytes, key: AttestationKey, hash_size: int = 0
) -> Scheme:
    """Verify the signature of ``message`` and return its scheme.

    ``signed`` is a TPMT_SIGNATURE or what the key's algorithm makes: the
    octets of RSA, DER of ECDSA, or r || s, each as long as the curve's
    order. A bare signature says nothing of its scheme: it is the key's or,
    if that names none, the hash of ``hash_size`` bytes with each algorithm
    of the key. Nothing rests on a wrong guess but a refusal.

    :raises EvidenceError: QUOTE_ALGORITHM, not the key's scheme or one
        that is not accepted; QUOTE_MALFORMED; QUOTE_SIGNATURE.
    """
    bare = _bare(signed, key)
    if bare is None:
        framed = _framed(signed, key)
        schemes, value = [framed.scheme], framed.value
    else:
        schemes, value = _guesses(key, hash_size), bare
    for scheme in schemes:
        try:
            _check(scheme, value, message, key)
        except InvalidSignature:
            continue
        return scheme
    raise errors.EvidenceError(
        _R.QUOTE_SIGNATURE,
        place='signature',
        details={
            'key': key.kind,
            'scheme': ' '.join(map(scheme_name, schemes)),
        },
    )


def _bare(signed: bytes, key: AttestationKey) -> bytes | None:
    """A signature without framing, ECDSA as DER; None if it has some.

    A TPMT_SIGNATURE begins with 00 and is longer than r || s or RSA's
    octets by its own sizes.
    """
    octets = (key.key.key_size + 7) // 8
    if isinstance(key.key, rsa.RSAPublicKey):
        return signed if len(signed) == octets else None
    if len(signed) == 2 * octets:
        return attest.ecdsa_der(signed[:octets], signed[octets:])
    if signed[:1] != b'\x30':
        return None
    try:
        utils.decode_dss_signature(signed)
    except ValueError:
        raise structure.malformed('signature: not a DER signature') from None
    return signed


def _framed(signed: bytes, key: AttestationKey) -> attest.Signature:
    algorithm = int.from_bytes(signed[:2], 'big')
    if len(signed) < 4:
        raise structure.malformed('signature: truncated')
    if algorithm not in key.algorithms:
        raise _other(Scheme(algorithm), key)
    parsed = attest.parse_signature(signed)
    if parsed.scheme.details[0] not in _SIGNING or (
        key.scheme not in (None, parsed.scheme)
    ):
        raise _other(parsed.scheme, key)
    return parsed


def _other(scheme: Scheme, key: AttestationKey) -> errors.EvidenceError:
    if key.scheme is not None:
        want = scheme_name(key.scheme)
    else:
        want = ' or '.join(
            scheme_name(Scheme(item)) for item in key.algorithms
        )
        want += ' with SHA256, SHA384 or SHA512'
    got = scheme_name(scheme)
    return errors.EvidenceError(
        _R.QUOTE_ALGORITHM,
        f'The signature is {got}; the key {key.kind} signs with {want}.',
        place='signature: scheme',
        details={'want': want, 'got': got},
    )


def _guesses(key: AttestationKey, hash_size: int) -> list[Scheme]:
    if key.scheme is not None:
        return [key.scheme]
    if hash_size not in _BY_SIZE:
        raise errors.EvidenceError(
            _R.QUOTE_ALGORITHM,
            'Neither the signature nor the key names the hash algorithm.',
            place='signature',
        )
    return [Scheme(item, (_BY_SIZE[hash_size],)) for item in key.algorithms]


def _check(
    scheme: Scheme, value: bytes, message: bytes, key: AttestationKey
) -> None:
    algorithm = _SIGNING[scheme.details[0]]()
    if isinstance(key.key, rsa.RSAPublicKey):
        key.key.verify(value, message, _padding(scheme, algorithm), algorithm)
    else:
        key.key.verify(value, message, ec.ECDSA(algorithm))


def _padding(
    scheme: Scheme, algorithm: hashes.HashAlgorithm
) -> padding.AsymmetricPadding:
    if scheme.algorithm == ALG_RSAPSS:
        # TPMs differ: salt as long as the digest, or as long as it fits.
        return padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
    return padding.PKCS1v15()
