# SPDX-License-Identifier: Apache-2.0
"""Results, for readers who decide for themselves whether they are stale."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.appraise import Appraisal
from korora_nova.rats.words import Tier
from korora_nova.verifier import service
from korora_nova.verifier.db import models

#: Findings that are kept of one attestation, characters of each text, and
#: texts in the details of each.
MAX_FINDINGS = 64
MAX_TEXT = 1024
MAX_DETAILS = 8

_COUNTER = 'results'


def findings(appraisal: Appraisal) -> list[dict[str, Any]]:
    """Why a host is not trusted, for people: bounded JSON.

    The last entry says how many were left out, if any were.
    """
    reasons = appraisal.reasons
    kept = [
        {
            'reason': one.reason,
            'message': one.message[:MAX_TEXT],
            'details': {
                key: value[:MAX_TEXT]
                for key, value in list(one.details.items())[:MAX_DETAILS]
            },
        }
        for one in reasons[:MAX_FINDINGS]
    ]
    if len(reasons) > MAX_FINDINGS:
        kept.append(
            {
                'reason': reasons[MAX_FINDINGS].reason,
                'details': {},
                'message': f'{len(reasons) - MAX_FINDINGS} more findings.',
            }
        )
    return kept


def next_seq(session: orm.Session) -> int:
    """Number a change; the row stays locked until the transaction ends.

    So numbers become visible in their order, and a reader that knows one
    misses none before it.
    """
    table = models.Counter
    session.execute(
        sa.update(table)
        .where(table.name == _COUNTER)
        .values(value=table.value + 1)
    )
    return _seq(session)


def current(row: models.Host, now: float) -> tuple[Tier, list[str]]:
    """Tier and reasons of a host now: an expired result is none."""
    if row.tier is None or row.expires is None:
        return Tier.NONE, [_missing(row)]
    if now >= row.expires:
        return Tier.NONE, [errors.Reason.RESULT_EXPIRED]
    return Tier(row.tier), list(row.reasons)


def _missing(row: models.Host) -> str:
    """Why a host has no result: what an operator has to do differs."""
    return (
        errors.Reason.RESULT_MISSING
        if row.approved
        else errors.Reason.HOST_PENDING
    )


def since(text: str | None) -> int | float | None:
    """Read ``changes-since``: a sequence number or an ISO 8601 time.

    :returns: an int for a number, a float (seconds since 1970) for a time.
    :raises Invalid: INVALID_REQUEST.
    """
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    try:
        # fromisoformat of Python 3.10 does not know the suffix Z.
        moment = datetime.datetime.fromisoformat(text.replace('Z', '+00:00'))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            'changes-since is a sequence number or an ISO 8601 time.',
        ) from None


def list_results(
    verifier: service.Service, changed: int | float | None = None
) -> dict[str, Any]:
    """Results of all hosts, or of those that attested since then.

    The list of all has hosts that wait for approval, too, without token.
    """
    table = models.Host
    query = sa.select(table).order_by(table.name)
    if changed is None:
        query = query.where(
            sa.or_(table.token.is_not(None), table.approved.is_(False))
        )
    elif isinstance(changed, float):
        query = query.where(
            table.token.is_not(None), table.attested_at >= changed
        )
    else:
        query = query.where(table.token.is_not(None), table.seq > changed)
    with verifier.db.read() as session:
        # The number first: rows may be newer than it, never older.
        seq, incarnation = _seq(session), _incarnation(session)
        rows = session.scalars(query).all()
        now = verifier.clock()
        return {
            'results': [_view(row, now) for row in rows],
            'incarnation': incarnation,
            'seq': seq,
        }


def tag(answer: dict[str, Any]) -> str:
    """The entity tag of a bulk answer."""
    return f'{answer["seq"]}-{answer["incarnation"]}'


def etag(verifier: service.Service) -> str:
    """The entity tag that a bulk answer would have now."""
    with verifier.db.read() as session:
        return tag(
            {'seq': _seq(session), 'incarnation': _incarnation(session)}
        )


def show(verifier: service.Service, host: str) -> dict[str, Any]:
    """The result of one host, and what its last attestation found.

    :raises NotFound: HOST_UNKNOWN, HOST_PENDING or RESULT_MISSING.
    """
    with verifier.db.read() as session:
        row = session.get(models.Host, host)
        if row is None:
            raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
        if row.token is None:
            raise errors.NotFound(_missing(row))
        return {**_view(row, verifier.clock()), 'findings': row.findings or []}


def _view(row: models.Host, now: float) -> dict[str, Any]:
    tier, reasons = current(row, now)
    return {
        'host': row.name,
        'tier': tier,
        'reasons': reasons,
        'token': row.token,
    }


def _seq(session: orm.Session) -> int:
    return session.scalars(
        sa.select(models.Counter.value).where(models.Counter.name == _COUNTER)
    ).one()


def _incarnation(session: orm.Session) -> str:
    return session.scalars(
        sa.select(models.Ledger.incarnation).where(models.Ledger.id == 1)
    ).one()
