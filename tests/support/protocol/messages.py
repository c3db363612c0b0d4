# SPDX-License-Identifier: Apache-2.0
"""Vectors of the JSON that hosts send: bodies of attestations."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from korora_nova.custody import bodies, messages, words
from tests.support.protocol import fixed, signed

Json = dict[str, Any]


def _bodies() -> tuple[bodies.Body, ...]:
    migration, instance = fixed.MIGRATION, fixed.INSTANCE
    token = signed.chain()[0]
    digest = '99' * 32
    return (
        bodies.Attest((bodies.Known(instance, 1, digest, signed.KID),)),
        bodies.ListPart(8388608, digest),
        bodies.Present((token,)),
        bodies.Claim(instance, signed.KEY_1),
        bodies.Approve((bodies.Key(instance, 1, signed.KID),)),
        bodies.Receive(
            migration,
            instance,
            fixed.SOURCE,
            b'\x00\x02ab',
            b'cd',
            b'at',
            b'si',
            '192.0.2.2',
            '',
        ),
        bodies.Send(
            migration,
            instance,
            digest,
            fixed.DEST,
            signed.KEY_2,
            signed.KID,
        ),
        bodies.Sealed(migration, digest, signed.KEY_2),
        bodies.Start(migration, digest),
        bodies.Tell(migration, words.Statement.ACTIVATED),
        bodies.Delete(instance),
    )


def requests() -> Json:
    """``body`` is hashed as it stands; refused ones follow no schema."""
    vectors = [_case(one.PURPOSE, messages.dumps(one)) for one in _bodies()]
    tell = json.loads(messages.dumps(_bodies()[9]))
    for what, body in (
        ('a field that is not known', json.dumps({**tell, 'x': 1})),
        ('another version', json.dumps({**tell, 'version': 2})),
        ('a word that is none', json.dumps({**tell, 'statement': 'gone'})),
        ('a field is missing', json.dumps({'version': 1})),
        ('a field twice', '{"version": 1, "version": 1}'),
        ('not an object', '[]'),
        ('not JSON', '{"version": NaN}'),
    ):
        vectors.append(_case('tell', body, what))
    return {'vectors': vectors}


def _case(purpose: str, body: str, refused: str = '') -> Json:
    return {
        'purpose': purpose,
        'body': body,
        'sha256': hashlib.sha256(body.encode()).hexdigest(),
        'refused': refused,
    }


FILES = {'requests': ('bodies of attestations, one per purpose', requests)}
