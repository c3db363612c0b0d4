# SPDX-License-Identifier: Apache-2.0
"""Vectors of what the service signs: tokens, chains, approvals."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import utils

from korora_nova.custody import (
    approval,
    documents,
    grant,
    permit,
    receipt,
    transcript,
)
from korora_nova.custody import start as starts
from korora_nova.custody.words import Outcome
from korora_nova.rats.signed import keys, result, snapshot
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.tpm2 import policy as tpm2_policy
from korora_nova.rats.words import Tier
from tests.support.protocol import fixed

Json = dict[str, Any]
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KID = fixed.signing('approval').kid
KEY_1, KEY_2 = ('000b' + byte * 32 for byte in ('a1', 'a2'))


def service_keys() -> Json:
    """The ring, and each private scalar in hex."""
    return {
        'keys_json': fixed.ring().to_json(),
        'private': {use: f'{fixed.scalar(use):064x}' for use in keys.USES},
    }


def _result(**changed: Any) -> result.Result:
    tpm = fixed.a_tpm(fixed.SOURCE)
    return result.Result(
        **{
            'host': fixed.SOURCE,
            'ak_name': tpm.ak_name.hex(),
            'tier': Tier.AFFIRMING,
            'reasons': (),
            'enforcer': '',
            'issued': fixed.NOW,
            'expires': fixed.NOW + 180,
            'cloud': fixed.CLOUD,
            **changed,
        }
    )


def results() -> Json:
    """``now`` is the reader's clock; refused ones have a reason id."""
    key = fixed.signing('result')
    good = result.sign_result(_result(), key)
    bad = result.sign_result(
        _result(tier=Tier.CONTRAINDICATED, reasons=('IMA_VIOLATION',)), key
    )
    now = fixed.NOW + 10
    vectors = [_case('affirming', good, now), _case('bad', bad, now)]
    vectors += [
        _case('expired', good, fixed.NOW + 180, 'RESULT_EXPIRED'),
        _case('from the future', good, fixed.NOW - 31, 'RESULT_EXPIRED'),
    ]
    for what, token in _forged(good, key).items():
        vectors.append(_case(what, token, now, 'RESULT_FORGED'))
    return {'host': fixed.SOURCE, 'cloud': fixed.CLOUD, 'vectors': vectors}


def _case(what: str, token: str, now: float, refused: str = '') -> Json:
    return {
        'what': what,
        'token': token,
        'now': now,
        'claims': _claims(token),
        'refused': refused,
    }


def _claims(token: str) -> Json:
    try:
        found: Json = jwt.decode(token, options={'verify_signature': False})
    except jwt.PyJWTError:
        return {}
    return found


def _forged(good: str, key: keys.SigningKey) -> Mapping[str, str]:
    """What no reader may take for a result."""
    claims = _claims(good)

    def made(
        signer: keys.SigningKey = key,
        kid: str = '',
        typ: str = '',
        **more: Any,
    ) -> str:
        headers = {'typ': typ or result.KIND.typ, 'kid': kid or signer.kid}
        return jwt.encode({**claims, **more}, signer.private, 'ES256', headers)

    head, payload, last = good.split('.')
    unsigned = _b64url(b'{"alg":"none","typ":"korora-result+jwt"}')
    crit = jwt.encode(
        claims,
        key.private,
        'ES256',
        {'typ': result.KIND.typ, 'kid': key.kid, 'x': 1},
    )
    return {
        'algorithm none': f'{unsigned}.{payload}.',
        'signed with the custody key': made(fixed.signing('custody')),
        'signed with the custody key, under the id of the result key': made(
            fixed.signing('custody'), kid=key.kid
        ),
        'of another type': made(typ='korora-permit+jwt'),
        'for another audience': made(aud='korora-agent'),
        'of another issuer': made(iss='korora:other'),
        'of another cloud': made(cloud=fixed.INCARNATION),
        'about another host': made(sub=fixed.DEST),
        'of another format': made(version=2),
        'with a claim that is not known': made(more=1),
        'with a header that is not known': crit,
        'affirming, with a reason': made(reasons=['IMA_VIOLATION']),
        'enforcing, with a reason why not': made(enforcer='ENFORCER_ABSENT'),
        'a signature of another token': f'{head}.{payload}.'
        + made(exp=fixed.NOW + 999).rpartition('.')[2],
        'without signature': f'{head}.{payload}.',
        'cut off': good[: -len(last) - 1],
    }


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip('=')


def _place(version: int, prev: str) -> Json:
    return {
        'cloud': fixed.CLOUD,
        'incarnation': fixed.INCARNATION,
        'instance': fixed.INSTANCE,
        'version': version,
        'prev': prev,
        'issued': fixed.NOW + version,
    }


def chain() -> list[str]:
    """One server: granted, permitted, started, committed."""
    key, made = fixed.signing('custody'), list[str]()

    def add(kind: type[documents.Document], **fields: Any) -> str:
        prev = tokens.digest(made[-1]).hex() if made else documents.GENESIS
        place = _place(len(made) + 1, prev)
        made.append(documents.sign(kind(**place, **fields), key))
        return tokens.digest(made[-1]).hex()

    source, dest = fixed.a_tpm(fixed.SOURCE), fixed.a_tpm(fixed.DEST)
    add(
        grant.Grant,
        host=fixed.SOURCE,
        ak=source.ak_name.hex(),
        key=KEY_1,
        approval_kid=KID,
    )
    permitted = add(
        permit.Permit,
        migration=fixed.MIGRATION,
        nonce=fixed.octets('nonce', 32).hex(),
        source=fixed.SOURCE,
        dest=fixed.DEST,
        ak_source=source.ak_name.hex(),
        ak_dest=dest.ak_name.hex(),
        epoch=1,
        msk_name=KEY_2,
        dest_pcr_digest=_state(dest.pcrs),
        dest_reset_restart='0000000300000001',
        dest_deadline=987654321,
        source_pcr_digest=_state(source.pcrs),
        source_reset_restart='0000000500000000',
        address='192.0.2.2',
        tls_name='',
        approval_kid=KID,
    )
    add(
        starts.Start,
        migration=fixed.MIGRATION,
        source=fixed.SOURCE,
        epoch=1,
    )
    add(
        receipt.Receipt,
        migration=fixed.MIGRATION,
        epoch=2,
        outcome=Outcome.COMMITTED,
        source=fixed.SOURCE,
        dest=fixed.DEST,
        permit_hash=permitted,
        source_word='stream_completed',
        dest_word='activated',
        holder=fixed.DEST,
        held=2,
    )
    return made


def _state(pcrs: Mapping[int, bytes]) -> str:
    return tpm2_policy.pcr_digest(pcrs, tpm2_policy.PCRS_POLICY).hex()


def custody() -> Json:
    """Documents in order; ``broken`` are chains, and where each breaks."""
    good = chain()
    one, two, three, four = good
    head, _, last = two.rpartition('.')
    raw = base64.urlsafe_b64decode(last + '==')
    s = _ORDER - int.from_bytes(raw[32:], 'big')
    twin = f'{head}.{_b64url(raw[:32] + s.to_bytes(32, "big"))}'
    return {
        'vectors': [
            {
                'token': token,
                'digest': tokens.digest(token).hex(),
                'claims': _claims(token),
            }
            for token in good
        ],
        'same': {
            'what': 'the other signature (r, n - s) of the second document: '
            'it verifies, and has the same digest',
            'token': twin,
            'digest': tokens.digest(twin).hex(),
        },
        'broken': [
            {'what': 'one is missing', 'chain': [one, three], 'at': 2},
            {'what': 'in another order', 'chain': [two, one], 'at': 1},
            {'what': 'one comes twice', 'chain': [one, one], 'at': 2},
            {'what': 'the first is missing', 'chain': [two, three], 'at': 1},
            {
                'what': 'one was altered',
                'chain': [one, two, three, _altered(four)],
                'at': 4,
            },
        ],
    }


def _altered(token: str) -> str:
    head, payload, last = token.split('.')
    claims = json.loads(base64.urlsafe_b64decode(payload + '=='))
    claims['holder'] = fixed.SOURCE
    return f'{head}.{_b64url(json.dumps(claims).encode())}.{last}'


def approvals() -> Json:
    """An approval, and what it opens."""
    tpm = fixed.a_tpm(fixed.DEST)
    ref = transcript.rest_ref(tpm.ak_name, tpm.srk_name, fixed.INSTANCE, 2)
    made = approval.sign_approval(
        instance=fixed.INSTANCE,
        epoch=2,
        pcr_digest=bytes.fromhex(_state(tpm.pcrs)),
        reset_restart=bytes.fromhex('0000000300000001'),
        deadline=987654321,
        ref=ref,
        key=fixed.signing('approval'),
    )
    signature = utils.encode_dss_signature(
        int.from_bytes(made.signature_r, 'big'),
        int.from_bytes(made.signature_s, 'big'),
    )
    return {
        'approval': made.to_json(),
        'approved_policy': made.approved_policy.hex(),
        'signed_digest': made.signed_digest.hex(),
        'signature_der': signature.hex(),
    }


def snapshots() -> Json:
    """Whole, and a change of it."""
    key = fixed.signing('result')
    rows = {
        row.host: row.text()
        for row in (
            snapshot.Row.of(_result()),
            snapshot.Row.of(
                _result(
                    host=fixed.DEST,
                    tier=Tier.CONTRAINDICATED,
                    reasons=('IMA_VIOLATION',),
                )
            ),
        )
    }
    vectors = []
    for seq, lines in ((4, rows), (5, {fixed.SOURCE: rows[fixed.SOURCE]})):
        digest = snapshot.digest(lines)
        head = snapshot.Head(
            fixed.CLOUD,
            fixed.INCARNATION,
            seq,
            len(lines),
            digest,
            fixed.NOW + seq,
        )
        vectors.append(
            {
                'token': snapshot.sign(head, key),
                'rows': '\n'.join(lines[host] for host in sorted(lines)),
                'digest': digest,
                'mark': head.mark,
            }
        )
    return {
        'now': fixed.NOW + 10,
        'whole': vectors[0],
        'change': {
            'base': vectors[0]['mark'],
            'rows': '',
            'gone': [fixed.DEST],
            'token': vectors[1]['token'],
            'digest': vectors[1]['digest'],
        },
    }


FILES = {
    'keys': ("the service's keys: pinned, and private", service_keys),
    'results': ('attestation results, and what is none', results),
    'custody': ('the chain of documents of one server', custody),
    'approvals': ('TPM2_PolicyAuthorize signatures', approvals),
    'snapshots': ('all results under one signature', snapshots),
}
