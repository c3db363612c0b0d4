# SPDX-License-Identifier: Apache-2.0
"""Signed documents: compact JWS, ES256 only, one ``typ`` per purpose.

The header is exactly ``{"alg": "ES256", "typ": TYP, "kid": KID}`` and the
key is the pinned one of that id *for that use*. Times are checked by the
caller, who has a clock.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import hashlib
import json
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from korora_nova.rats import schemas
from korora_nova.rats.signed import keys

ALGORITHM = 'ES256'
#: Longest token read, characters.
MAX_TOKEN = 16384

_HEADER = frozenset(('alg', 'typ', 'kid'))
# The caller compares the times with its own clock.
_OPTIONS: Any = {
    'require': ['iat', 'aud', 'iss'],
    'verify_exp': False,
    'verify_nbf': False,
    'verify_iat': False,
}


class TokenError(Exception):
    """A token was refused; callers turn it into an error of theirs."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What sort of token: header type, audience, key use, claims' schema.

    :param versioned: the claim ``version`` is that of the format, 1.
    """

    typ: str
    audience: str
    use: str
    schema: schemas.Schema
    versioned: bool = True


def digest(token: str) -> bytes:
    """SHA-256 of what a token's signature covers: header and payload.

    Of an ECDSA signature (r, s), (r, n - s) is another that verifies: the
    whole text would let anyone give a token two digests.
    """
    return hashlib.sha256(token.rpartition('.')[0].encode()).digest()


def signed_with(token: str) -> str:
    """The id of the key that a token says it is signed with; '' for none.

    It is not verified: good for counting only.
    """
    try:
        kid = jwt.get_unverified_header(token).get('kid')
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return ''
    return kid if isinstance(kid, str) else ''


def issuer(cloud: str) -> str:
    """The issuer that tokens of a cloud name."""
    return f'korora:{cloud}'


def sign(
    claims: schemas.Json, key: keys.SigningKey, kind: Kind, cloud: str
) -> str:
    """Sign claims; adds ``iss``, ``aud`` and, if versioned, ``version``."""
    payload = {
        **claims,
        'iss': issuer(cloud),
        'aud': kind.audience,
    }
    if kind.versioned:
        payload['version'] = 1
    return jwt.encode(
        payload,
        key.private,
        algorithm=ALGORITHM,
        headers={'typ': kind.typ, 'kid': key.kid},
    )


def verify(token: str, ring: keys.KeyRing, kind: Kind) -> schemas.Json:
    """Return the claims of a token after every check but time.

    1. size; 2. header: the three fields only, algorithm, type; 3. the key
    is pinned for this use; 4. signature, audience, issuer; 5. version and
    schema of the claims; 6. the ``cloud`` claim is the ring's.

    The header's ``kid`` is added to the claims.

    :raises TokenError: any check fails.
    """
    if not isinstance(token, str) or len(token) > MAX_TOKEN:
        raise TokenError('not a token, or too long')
    kid, key = _key(token, ring, kind)
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=kind.audience,
            issuer=issuer(ring.cloud),
            options=_OPTIONS,
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
        raise TokenError(f'refused: {type(exc).__name__}') from None
    if kind.versioned and claims.get('version') != 1:
        raise TokenError('unknown version')
    if schemas.fault(kind.schema, claims) is not None:
        raise TokenError('claims do not follow their schema')
    # NaN is neither below a minimum nor above a maximum.
    if any(value != value for value in claims.values()):
        raise TokenError('a claim is not a number')
    if claims['cloud'] != ring.cloud:
        raise TokenError('issued for another cloud')
    return {**claims, 'kid': kid}


def authentic(token: str, ring: keys.KeyRing, kind: Kind) -> Any:
    """The claims of a token of the reader's own; many, in little time.

    Type, key and signature are checked, and that the claims are of this
    type and cloud; what whoever has the key never signs is not. All others
    use :func:`verify`.

    :raises TokenError: any of these fails.
    """
    signed, _, last = token.rpartition('.')
    head, _, payload = signed.partition('.')
    try:
        kid = _kid(head, kind.typ)
        key = getattr(ring, kind.use).get(kid)
        if key is None:
            raise TokenError(f'signed with a key not pinned for {kind.use}')
        raw = _decoded(last)
        key.verify(
            utils.encode_dss_signature(
                int.from_bytes(raw[:32], 'big'),
                int.from_bytes(raw[32:], 'big'),
            ),
            signed.encode(),
            ec.ECDSA(hashes.SHA256()),
        )
        claims = json.loads(_decoded(payload))
        names = claims['aud'], claims['iss'], claims['cloud']
    except (
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
        InvalidSignature,
    ) as exc:
        raise TokenError(f'refused: {type(exc).__name__}') from None
    if names != (
        kind.audience,
        issuer(ring.cloud),
        ring.cloud,
    ):
        raise TokenError('issued for another cloud or purpose')
    return claims


@functools.lru_cache(64)
def _kid(head: str, typ: str) -> str:
    """The key id in a header of exactly the three fields."""
    header = json.loads(_decoded(head))
    if (
        not isinstance(header, dict)
        or set(header) != _HEADER
        or (header['alg'], header['typ']) != (ALGORITHM, typ)
        or not isinstance(header['kid'], str)
    ):
        raise TokenError('header or algorithm not admitted')
    return header['kid']


def _decoded(text: str) -> bytes:
    """:raises ValueError: it is not base64url without padding."""
    try:
        return base64.b64decode(
            text + '=' * (-len(text) % 4), altchars=b'-_', validate=True
        )
    except binascii.Error as exc:
        raise ValueError(str(exc)) from None


def _key(
    token: str, ring: keys.KeyRing, kind: Kind
) -> tuple[str, ec.EllipticCurvePublicKey]:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenError('not a token') from None
    if set(header) != _HEADER or header['alg'] != ALGORITHM:
        raise TokenError('header or algorithm not admitted')
    if header['typ'] != kind.typ:
        raise TokenError('a token of another type')
    pinned: keys.PublicKeys = getattr(ring, kind.use)
    key = pinned.get(header['kid']) if isinstance(header['kid'], str) else None
    if key is None:
        raise TokenError(f'signed with a key not pinned for {kind.use}')
    return header['kid'], key


def schema(
    properties: schemas.Schema, optional: tuple[str, ...] = ()
) -> schemas.Schema:
    """A closed object schema of claims, the common ones included."""
    return schemas.closed(
        {
            'iss': schemas.text(255),
            'aud': schemas.text(255),
            'version': schemas.VERSION,
            'cloud': schemas.text(64),
            'iat': schemas.TIME,
            **properties,
        },
        optional,
    )
