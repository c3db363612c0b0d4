# SPDX-License-Identifier: Apache-2.0
"""Keys and valid signed documents that unit tests falsify."""

from __future__ import annotations

import base64
import json

from korora_nova.custody import documents, grant, permit, receipt, start
from korora_nova.rats.signed import keys, result

CLOUD = '00000000-0000-4000-8000-000000000001'
INCARNATION = '00000000-0000-4000-8000-000000000002'
MIGRATION = '00000000-0000-4000-8000-000000000003'
INSTANCE = '00000000-0000-4000-8000-000000000004'
OTHER = '00000000-0000-4000-8000-00000000000f'
AK_1, AK_2, MSK = ('000b' + byte * 32 for byte in ('11', '22', '33'))


class Keys:
    """One key per use, and the ring that pins them."""

    def __init__(self) -> None:
        self.result, self.custody, self.approval = (
            keys.SigningKey.generate() for _ in range(3)
        )
        self.ring = keys.KeyRing.build(
            CLOUD,
            result=[self.result.public],
            custody=[self.custody.public],
            approval=[self.approval.public],
        )


def a_result(**changes: object) -> result.Result:
    fields = {
        'host': 'h1',
        'ak_name': AK_1,
        'tier': 'affirming',
        'reasons': (),
        'enforcer': '',
        'issued': 1000.0,
        'expires': 1180.0,
        'cloud': CLOUD,
        **changes,
    }
    return result.Result(**fields)  # type: ignore[arg-type]


PLACE = {
    'cloud': CLOUD,
    'incarnation': INCARNATION,
    'instance': INSTANCE,
    'issued': 1000.0,
}


def a_grant(**changes: object) -> grant.Grant:
    """The first document of a server."""
    fields = {
        **PLACE,
        'version': 1,
        'prev': documents.GENESIS,
        'host': 'h1',
        'ak': AK_1,
        'key': MSK,
        'approval_kid': 'ab' * 8,
        **changes,
    }
    return grant.Grant(**fields)  # type: ignore[arg-type]


def a_permit(**changes: object) -> permit.Permit:
    """From h1, at epoch 3, to h2."""
    fields = {
        **PLACE,
        'version': 5,
        'prev': '88' * 32,
        'migration': MIGRATION,
        'nonce': '44' * 32,
        'source': 'h1',
        'dest': 'h2',
        'ak_source': AK_1,
        'ak_dest': AK_2,
        'epoch': 3,
        'msk_name': MSK,
        'dest_pcr_digest': '55' * 32,
        'dest_reset_restart': '00000007' + '00000001',
        'dest_deadline': 99000,
        'source_pcr_digest': '66' * 32,
        'source_reset_restart': '00000003' + '00000000',
        'address': '192.0.2.2',
        'tls_name': 'h2.example',
        'approval_kid': 'ab' * 8,
        **changes,
    }
    return permit.Permit(**fields)  # type: ignore[arg-type]


def a_start(**changes: object) -> start.Start:
    """Of that hand-over."""
    fields = {
        **PLACE,
        'version': 6,
        'prev': '77' * 32,
        'migration': MIGRATION,
        'source': 'h1',
        'epoch': 3,
        **changes,
    }
    return start.Start(**fields)  # type: ignore[arg-type]


def a_receipt(**changes: object) -> receipt.Receipt:
    """That it was committed."""
    fields = {
        **PLACE,
        'version': 7,
        'prev': '99' * 32,
        'migration': MIGRATION,
        'epoch': 5,
        'outcome': 'committed',
        'source': 'h1',
        'dest': 'h2',
        'permit_hash': '77' * 32,
        'source_word': 'stream_completed',
        'dest_word': '',
        'holder': 'h2',
        'held': 5,
        **changes,
    }
    return receipt.Receipt(**fields)  # type: ignore[arg-type]


#: Of :func:`a_receipt`, for other outcomes.
ABORTED = {'outcome': 'aborted', 'holder': 'h1', 'held': 3}
DELETED = {
    'outcome': 'deleted',
    'migration': '',
    'dest': '',
    'permit_hash': '',
    'source_word': '',
    'holder': '',
    'held': 0,
}
RELEASED = {**DELETED, 'outcome': 'released'}


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def split(token: str) -> tuple[dict, dict, str]:
    """Header, claims and signature text of a token."""
    header, claims, signature = token.split('.')
    return (_decode(header), _decode(claims), signature)


def _decode(part: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(part + '=='))


def join(header: dict, claims: dict, signature: str) -> str:
    return '.'.join(
        (
            b64url(json.dumps(header).encode()),
            b64url(json.dumps(claims).encode()),
            signature,
        )
    )


def other_signature(token: str) -> str:
    """The same token with the other ECDSA signature, (r, n - s)."""
    signed, _, signature = token.rpartition('.')
    raw = base64.urlsafe_b64decode(signature + '==')
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    flipped = order - int.from_bytes(raw[32:], 'big')
    return (
        signed
        + '.'
        + base64.urlsafe_b64encode(raw[:32] + flipped.to_bytes(32, 'big'))
        .decode()
        .rstrip('=')
    )
