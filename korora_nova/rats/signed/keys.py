# SPDX-License-Identifier: Apache-2.0
"""Signing keys of the service and the pinned ring of their public halves.

Three uses, three keys: ``result`` (attestation results), ``custody``
(permits and receipts) and ``approval`` (TPM policies). A key pinned for one
use never verifies another; the ring refuses a key listed for two.

keys.json::

    {"version": 1, "cloud": "<uuid>",
     "result": [{"kid": "<16 hex>", "pem": "..."}],
     "custody": [...], "approval": [...]}
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.x509.certificate import spki

USES = ('result', 'custody', 'approval')


def key_id(public: ec.EllipticCurvePublicKey) -> str:
    """First 16 hex digits of SHA-256 over the SubjectPublicKeyInfo."""
    return hashlib.sha256(spki(public)).hexdigest()[:16]


def _bad(message: str) -> errors.Unavailable:
    return errors.Unavailable(errors.Reason.KEYS_INVALID, message)


@dataclasses.dataclass(frozen=True, repr=False)
class SigningKey:
    """A P-256 private key and its id. Its repr shows the id only."""

    kid: str
    private: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f'<SigningKey {self.kid}>'

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        return self.private.public_key()

    @classmethod
    def generate(cls) -> SigningKey:
        """Draw a new key from the operating system's randomness."""
        private = ec.generate_private_key(ec.SECP256R1())
        return cls(key_id(private.public_key()), private)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SigningKey:
        """Read an unencrypted PEM (PKCS #8) file.

        :raises Unavailable: KEYS_INVALID, missing or not a P-256 key.
        """
        try:
            with open(path, 'rb') as stream:
                private = serialization.load_pem_private_key(
                    stream.read(), None
                )
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise _bad(
                f'cannot read the private key {path}: {type(exc).__name__}'
            ) from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not (
            isinstance(private.curve, ec.SECP256R1)
        ):
            raise _bad(f'the private key {path} is not on P-256')
        return cls(key_id(private.public_key()), private)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new PEM file, mode 0600; an existing one is kept.

        :raises FileExistsError: the file exists.
        """
        pem = self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(path, flags, 0o600), 'wb') as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())


PublicKeys = Mapping[str, ec.EllipticCurvePublicKey]


@dataclasses.dataclass(frozen=True)
class KeyRing:
    """Pinned public keys by use; each maps key id to key."""

    cloud: str
    result: PublicKeys
    custody: PublicKeys
    approval: PublicKeys

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for use in USES:
            ids = set(getattr(self, use))
            if ids & seen:
                raise _bad('a key is listed for two uses')
            seen |= ids

    @classmethod
    def build(
        cls,
        cloud: str,
        *,
        result: Sequence[ec.EllipticCurvePublicKey],
        custody: Sequence[ec.EllipticCurvePublicKey],
        approval: Sequence[ec.EllipticCurvePublicKey],
    ) -> KeyRing:
        """Make a ring of keys at hand."""
        return cls(
            cloud,
            *(
                {key_id(key): key for key in keys}
                for keys in (result, custody, approval)
            ),
        )

    @classmethod
    def load(cls, source: str | os.PathLike[str] | schemas.Json) -> KeyRing:
        """Read keys.json, from its path or already decoded.

        :raises Unavailable: KEYS_INVALID, missing or malformed.
        """
        if isinstance(source, Mapping):
            return cls._from_dict(source)
        try:
            with open(source, encoding='utf-8') as stream:
                data = json.load(stream)
        except (OSError, ValueError, RecursionError) as exc:
            raise _bad(
                f'cannot read the trusted keys {source}: {type(exc).__name__}'
            ) from None
        if not isinstance(data, dict):
            raise _bad(f'{source} does not hold an object')
        return cls._from_dict(data)

    @classmethod
    def _from_dict(cls, data: schemas.Json) -> KeyRing:
        if data.get('version') != 1:
            raise _bad('the trusted keys have an unknown version')
        cloud = data.get('cloud')
        if not isinstance(cloud, str) or not cloud:
            raise _bad('the trusted keys do not name their cloud')
        return cls(cloud, *(_keys(data.get(use), use) for use in USES))

    def to_json(self) -> dict[str, object]:
        """The content of keys.json."""
        document: dict[str, object] = {'version': 1, 'cloud': self.cloud}
        for use in USES:
            document[use] = [
                {
                    'kid': kid,
                    'pem': key.public_bytes(
                        serialization.Encoding.PEM,
                        serialization.PublicFormat.SubjectPublicKeyInfo,
                    ).decode(),
                }
                for kid, key in getattr(self, use).items()
            ]
        return document

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write keys.json; public keys only."""
        with open(path, 'w', encoding='utf-8') as stream:
            json.dump(self.to_json(), stream, indent=1)
            stream.write('\n')


def _keys(items: object, use: str) -> dict[str, ec.EllipticCurvePublicKey]:
    if not isinstance(items, list):
        raise _bad(f'the trusted keys lack the list {use!r}')
    keys: dict[str, ec.EllipticCurvePublicKey] = {}
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get('pem'), str):
            raise _bad(f'an entry of {use!r} is not an object with a PEM')
        try:
            key = serialization.load_pem_public_key(item['pem'].encode())
        except (ValueError, UnsupportedAlgorithm):
            raise _bad(f'an entry of {use!r} is not a public key') from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise _bad(f'a key of {use!r} is not on P-256')
        if item.get('kid') != key_id(key):
            raise _bad(f'a key of {use!r} does not match its id')
        keys[key_id(key)] = key
    return keys
