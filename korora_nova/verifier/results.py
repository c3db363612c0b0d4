# SPDX-License-Identifier: Apache-2.0
"""Results, for readers who decide for themselves whether they are stale."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.appraise import Appraisal
from korora_nova.rats.finding import Finding
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.signed.result import KIND, MAX_SKEW
from korora_nova.rats.verdict import Verdict
from korora_nova.rats.words import Tier
from korora_nova.verifier import numbers, peers
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

#: Findings that are kept of one attestation, characters of each text, and
#: texts in the details of each.
MAX_FINDINGS = 64
MAX_TEXT = 1024
MAX_DETAILS = 8


@dataclasses.dataclass(frozen=True)
class HostResult:
    """What may be relied on of a host now.

    :param tier: 'affirming', 'contraindicated', or 'none' without a result
        that is valid now.
    :param token: the signed result; None until the host attested.
    """

    host: str
    tier: str
    reasons: Sequence[str]
    token: str | None

    @classmethod
    def of(cls, row: models.Host, now: float) -> HostResult:
        tier, reasons = current(row, now)
        return cls(row.name, tier, reasons, row.token)

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class ExplainedResult:
    """A host's result, and what its last attestation found.

    :param sources: which source said what, as signed.
    """

    result: HostResult
    findings: Sequence[Finding]
    sources: Sequence[Verdict]

    def to_json(self) -> dict[str, object]:
        return {
            **self.result.to_json(),
            'findings': [one.to_json() for one in self.findings],
            'sources': [one.to_json() for one in self.sources],
        }


@dataclasses.dataclass(frozen=True)
class Mark:
    """How far a reader has read; its text is the entity tag of a list.

    :param seq: of the last change.
    :param incarnation: of the ledger; another one counts anew.
    """

    incarnation: str
    seq: int

    def __str__(self) -> str:
        return f'{self.seq}-{self.incarnation}'


@dataclasses.dataclass(frozen=True)
class ResultList:
    """Results of several hosts, with all changes up to a mark."""

    results: Sequence[HostResult]
    mark: Mark

    def to_json(self) -> dict[str, object]:
        return {
            'results': [one.to_json() for one in self.results],
            'incarnation': self.mark.incarnation,
            'seq': self.mark.seq,
        }


@dataclasses.dataclass(frozen=True)
class Since:
    """What to list: changes after a number, or attestations from a time on.

    :param time: seconds since 1970.
    """

    seq: int | None = None
    time: float | None = None

    @classmethod
    def parse(cls, text: str) -> Since:
        """Read ``changes-since``: a sequence number or an ISO 8601 time.

        :raises Invalid: INVALID_REQUEST.
        """
        if text.isascii() and text.isdigit() and len(text) <= 18:
            return cls(seq=int(text))
        try:
            # fromisoformat of Python 3.10 does not know the suffix Z.
            moment = datetime.datetime.fromisoformat(
                text.replace('Z', '+00:00')
            )
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.timezone.utc)
            return cls(time=moment.timestamp())
        except (ValueError, OverflowError):
            raise errors.Invalid(
                errors.Reason.INVALID_REQUEST,
                'changes-since is a sequence number or an ISO 8601 time.',
            ) from None


def findings(appraisal: Appraisal) -> tuple[Finding, ...]:
    """Why a host is not trusted, for people: bounded in number and size.

    The last one says how many were left out, if any were.
    """
    reasons = appraisal.reasons
    kept = [
        Finding(
            one.reason,
            one.message[:MAX_TEXT],
            {
                key: value[:MAX_TEXT]
                for key, value in list(one.details.items())[:MAX_DETAILS]
            },
        )
        for one in reasons[:MAX_FINDINGS]
    ]
    if len(reasons) > MAX_FINDINGS:
        kept.append(
            Finding(
                reasons[MAX_FINDINGS].reason,
                f'{len(reasons) - MAX_FINDINGS} more findings.',
            )
        )
    return tuple(kept)


def current(
    row: models.Host | peers.Peer, now: float
) -> tuple[Tier, list[str]]:
    """Tier and reasons of a host now: an expired result is none.

    Nor is one from the future: else a clock that was ahead once would keep
    the host trusted until then.
    """
    if row.evicted_at is not None:
        return Tier.CONTRAINDICATED, [errors.Reason.EVICTED]
    if row.tier is None or row.expires is None:
        return Tier.NONE, [_missing(row)]
    ahead = row.issued is not None and row.issued > now + MAX_SKEW
    if ahead or now >= row.expires:
        return Tier.NONE, [errors.Reason.RESULT_EXPIRED]
    return Tier(row.tier), list(row.reasons)


def _missing(row: models.Host | peers.Peer) -> str:
    """Why a host has no result: what an operator has to do differs."""
    return (
        errors.Reason.RESULT_MISSING
        if row.approved
        else errors.Reason.HOST_PENDING
    )


def list_results(service: Service, since: Since | None = None) -> ResultList:
    """Results of all hosts, or of those that attested since then.

    The list of all has hosts that wait for approval, too, without token.
    """
    table = models.Host
    query = sa.select(table).order_by(table.name)
    if since is None:
        query = query.where(
            sa.or_(table.token.is_not(None), table.approved.is_(False))
        )
    else:
        query = query.where(table.token.is_not(None))
        if since.seq is not None:
            query = query.where(table.seq > since.seq)
        if since.time is not None:
            query = query.where(table.attested_at >= since.time)
    numbers.give(service.db)
    with service.db.read() as session:
        # The mark first: rows may be newer than it, never older.
        upto = reached(session)
        rows = session.scalars(query).all()
        now = service.clock()
        return ResultList([HostResult.of(row, now) for row in rows], upto)


def mark(service: Service) -> Mark:
    """The mark that a list would have now."""
    numbers.give(service.db)
    with service.db.read() as session:
        return reached(session)


def show(service: Service, host: str) -> ExplainedResult:
    """The result of one host.

    :raises NotFound: HOST_UNKNOWN, HOST_PENDING or RESULT_MISSING.
    """
    with service.db.read() as session:
        found = row(session, host)
        return ExplainedResult(
            HostResult.of(found, service.clock()),
            [Finding(**one) for one in found.findings or ()],
            sources(service, found),
        )


def row(session: orm.Session, host: str) -> models.Host:
    """A host that has a result, in a transaction.

    :raises NotFound: HOST_UNKNOWN, HOST_PENDING or RESULT_MISSING.
    """
    found = session.get(models.Host, host)
    if found is None:
        raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
    if found.token is None:
        raise errors.NotFound(_missing(found))
    return found


def sources(service: Service, row: models.Host) -> Sequence[Verdict]:
    """Which source said what in a host's result, if it is authentic."""
    try:
        claims = tokens.authentic(row.token or '', service.ring, KIND)
        return [Verdict.from_json(one) for one in claims.get('sources', ())]
    except (tokens.TokenError, ValueError, TypeError, KeyError):
        return []


def reached(session: orm.Session) -> Mark:
    """The mark that a transaction sees."""
    seq = numbers.last(session)
    incarnation = session.scalars(
        sa.select(models.Ledger.incarnation).where(models.Ledger.id == 1)
    ).one()
    return Mark(incarnation, seq)
