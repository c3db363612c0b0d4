# SPDX-License-Identifier: Apache-2.0
"""Requests that come twice: whatever lies between sends them again.

A request whose purpose changes custody is answered once, and its answer is
kept beside its challenge: sent again as it is, it gets the same one. With
another challenge, the ledger's rules tell it from a new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa

from korora_nova import faultpoints
from korora_nova.custody.exchange import Answer, Request, Served
from korora_nova.rats.signed.transcript import bind
from korora_nova.verifier import records
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

_TABLE = models.table(models.Challenge)
_KEEP = (
    sa.update(_TABLE)
    .where(_TABLE.c.challenge == sa.bindparam('of'))
    .values(request=sa.bindparam('digest'), answer=sa.bindparam('given'))
)


def find(
    service: Service, record: records.Record, request: Request
) -> Mapping[str, object] | None:
    """What this very request was answered; None if it was not."""
    table, known = models.Challenge, record.challenge
    digest = _digest(request)
    if known is None or known.request != digest:
        return None
    with service.db.read() as session:
        answer = session.scalars(
            sa.select(table.answer).where(
                table.challenge == request.challenge,
                table.host == record.host.name,
                table.request == digest,
            )
        ).one_or_none()
    if answer is None:
        return None
    document: Mapping[str, object] = json.loads(answer)
    return document


@api.retried
def keep(service: Service, request: Request, answer: Answer[Served]) -> None:
    """Keep an answer for as long as its challenge is remembered."""
    values = {
        'of': request.challenge,
        'digest': _digest(request),
        'given': json.dumps(answer.to_json()),
    }
    with faultpoints.step('v.repeat'), service.db.begin() as connection:
        connection.execute(_KEEP, values)


def _digest(request: Request) -> str:
    """Hash of the quote, which is over all the rest, and of its purpose."""
    evidence = request.evidence
    return bind(
        'korora request v1',
        request.purpose.encode(),
        request.body.encode(),
        str(evidence.get('attest')).encode(),
        str(evidence.get('signature')).encode(),
    ).hex()
