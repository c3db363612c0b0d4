# SPDX-License-Identifier: Apache-2.0
"""Private keys in a PKCS#11 token: ``[verifier] key_store = pkcs11``.

A key is found by its id, which is that of its public half; whoever made it,
both halves have the same CKA_ID. The private half never leaves the token,
and no signature is given out that its public half does not verify.
"""

from __future__ import annotations

import os
from typing import NoReturn, cast

import pkcs11
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from oslo_config import cfg
from pkcs11.types import PublicKey, Session, SignMixin
from pkcs11.util.ec import encode_named_curve_parameters

from korora_nova.rats.signed import keys
from korora_nova.verifier.keystores.token import (
    Missing,
    Opened,
    Token,
    invalid,
)

_A = pkcs11.Attribute
#: What DER puts before an uncompressed point of P-256 in an OCTET STRING.
_OCTET_STRING = b'\x04\x41'
_POINT = 65
_SIGNATURE = 64
#: Signed to see whether a key can sign; it is of no kind that counts.
_PROBE = b'korora: can this key sign?'
_PREHASHED = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


class Pkcs11KeyStore:
    """Keys of the token that ``[pkcs11]`` names."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._token = Token(conf)

    def signing_key(self, use: str, kid: str) -> keys.SigningKey:
        """See :meth:`.KeyStore.signing_key`; it signs once to try it."""
        public = self._token.run(lambda opened: _public(opened, kid)[0])
        private = TokenPrivateKey(self._token, kid, public)
        private.sign(_PROBE, ec.ECDSA(hashes.SHA256()))
        return keys.SigningKey(kid, private)

    def create(self, use: str) -> keys.SigningKey:
        """See :meth:`.KeyStore.create`."""
        public = self._token.write(lambda session: _generate(session, use))
        return self.signing_key(use, keys.key_id(public))


class TokenPrivateKey(ec.EllipticCurvePrivateKey):
    """A private key on P-256 that signs, and does nothing else."""

    def __init__(
        self, token: Token, kid: str, public: ec.EllipticCurvePublicKey
    ) -> None:
        self._token = token
        self._kid = kid
        self._public = public

    def __repr__(self) -> str:
        return f'<TokenPrivateKey {self._kid}>'

    def __copy__(self) -> TokenPrivateKey:
        return self

    def __deepcopy__(self, memo: object) -> TokenPrivateKey:
        return self

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """In bits."""
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half, as it was when the key was looked up."""
        return self._public

    def sign(
        self,
        data: bytes | bytearray | memoryview,
        signature_algorithm: ec.EllipticCurveSignatureAlgorithm,
    ) -> bytes:
        """A signature in DER; only of SHA-256, or its digests.

        :raises Unavailable: KEYS_INVALID.
        """
        digest = _digest(bytes(data), signature_algorithm)
        raw = self._token.run(
            lambda opened: _private(opened, self._kid).sign(
                digest, mechanism=pkcs11.Mechanism.ECDSA
            )
        )
        half = _SIGNATURE // 2
        signature = utils.encode_dss_signature(
            int.from_bytes(raw[:half], 'big'),
            int.from_bytes(raw[half:_SIGNATURE], 'big'),
        )
        try:
            self._public.verify(signature, digest, _PREHASHED)
        except InvalidSignature:
            raise invalid(
                f'The token signs with another key than {self._kid}.'
            ) from None
        return signature

    def exchange(self, *args: object) -> NoReturn:
        """Refused."""
        raise _only_signs()

    def private_numbers(self) -> NoReturn:
        """Refused."""
        raise _only_signs()

    def private_bytes(self, *args: object) -> NoReturn:
        """Refused."""
        raise _only_signs()


def _only_signs() -> TypeError:
    return TypeError('a key in a token only signs')


def _digest(
    data: bytes, algorithm: ec.EllipticCurveSignatureAlgorithm
) -> bytes:
    if isinstance(algorithm.algorithm, utils.Prehashed):
        if len(data) != hashes.SHA256.digest_size:
            raise ValueError('not a digest of SHA-256')
        return data
    if not isinstance(algorithm.algorithm, hashes.SHA256):
        raise ValueError('keys in a token sign SHA-256 only')
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


def _public(
    opened: Opened, kid: str
) -> tuple[ec.EllipticCurvePublicKey, bytes]:
    """The public half of a key in the token, and its CKA_ID.

    :raises Missing: it has none.
    """
    session = opened.session
    template = {
        _A.CLASS: pkcs11.ObjectClass.PUBLIC_KEY,
        _A.KEY_TYPE: pkcs11.KeyType.EC,
    }
    for found in list(session.get_objects(template)):
        public = _decoded(cast(PublicKey, found))
        if public is not None and keys.key_id(public) == kid:
            return public, bytes(found[_A.ID])
    raise Missing(f'The token {session.token.label} has no key {kid}.')


def _private(opened: Opened, kid: str) -> SignMixin:
    """The private half of a key in the token.

    :raises Missing: it has none, or several.
    """
    if kid in opened.keys:
        return opened.keys[kid]
    template = {
        _A.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
        _A.KEY_TYPE: pkcs11.KeyType.EC,
        _A.ID: _public(opened, kid)[1],
    }
    found = list(opened.session.get_objects(template))
    if len(found) != 1:
        raise Missing(
            f'The token {opened.session.token.label} has {len(found)} private '
            f'keys with the CKA_ID of the key {kid}, not one.'
        )
    return opened.keys.setdefault(kid, cast(SignMixin, found[0]))


def _decoded(found: PublicKey) -> ec.EllipticCurvePublicKey | None:
    """A public key of the token; None if it is not on P-256."""
    point = bytes(found[_A.EC_POINT])
    if len(point) == len(_OCTET_STRING) + _POINT:
        point = point.removeprefix(_OCTET_STRING)
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1(), point
        )
    except ValueError:
        return None


def _generate(session: Session, use: str) -> ec.EllipticCurvePublicKey:
    curve = session.create_domain_parameters(
        pkcs11.KeyType.EC,
        {_A.EC_PARAMS: encode_named_curve_parameters('secp256r1')},
        local=True,
    )
    made, _ = curve.generate_keypair(
        store=True,
        id=os.urandom(16),
        label=f'korora-{use}',
        capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
        private_template={
            _A.PRIVATE: True,
            _A.SENSITIVE: True,
            _A.EXTRACTABLE: False,
        },
    )
    public = _decoded(made)
    if public is None:
        raise invalid('The token made a key that is not on P-256.')
    return public
