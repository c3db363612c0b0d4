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
from korora_nova.verifier import numbers, paging, peers
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
    """Results of several hosts, with all changes up to a mark.

    :param next: the marker of the next page; '' if this is the last one.
        Who reads pages goes on from the mark of the first one.
    """

    results: Sequence[HostResult]
    mark: Mark
    next: str = ''

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


@dataclasses.dataclass(frozen=True)
class Query:
    """Which results to list.

    :param since: None: those of all hosts, and hosts that wait for approval,
        which have no token.
    :param tier: that counts now; '' for any.
    :param limit: None: all of them.
    :param marker: begin behind this host.
    """

    since: Since | None = None
    tier: str = ''
    limit: int | None = None
    marker: str = ''


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


def has_tier(tier: Tier, now: float) -> sa.ColumnElement[bool]:
    """The rows of which :func:`current` says this."""
    table = models.Host
    over = sa.or_(
        table.tier.is_(None),
        table.expires.is_(None),
        table.expires <= now,
        sa.and_(table.issued.is_not(None), table.issued > now + MAX_SKEW),
    )
    if tier == Tier.NONE:
        return sa.and_(table.evicted_at.is_(None), over)
    says = sa.and_(
        table.evicted_at.is_(None), sa.not_(over), table.tier == str(tier)
    )
    if tier == Tier.CONTRAINDICATED:
        return sa.or_(table.evicted_at.is_not(None), says)
    return says


def _missing(row: models.Host | peers.Peer) -> str:
    """Why a host has no result: what an operator has to do differs."""
    return (
        errors.Reason.RESULT_MISSING
        if row.approved
        else errors.Reason.HOST_PENDING
    )


def list_results(service: Service, query: Query) -> ResultList:
    """Results, by host."""
    limit, now = query.limit, service.clock()
    wanted = _chosen(query, now).order_by(models.Host.name)
    numbers.give(service.db)
    with service.db.read() as session:
        # The mark first: rows may be newer than it, never older.
        upto = reached(session)
        page = paging.Page.of(
            session.scalars(wanted.limit(paging.one_more(limit))).all(),
            limit,
            lambda row: row.name,
        )
        return ResultList(
            [HostResult.of(row, now) for row in page.items], upto, page.next
        )


def _chosen(query: Query, now: float) -> sa.Select[tuple[models.Host]]:
    table, since = models.Host, query.since
    wanted = sa.select(table).where(table.name > query.marker)
    if query.tier:
        wanted = wanted.where(has_tier(Tier(query.tier), now))
    if since is None:
        return wanted.where(
            sa.or_(table.token.is_not(None), table.approved.is_(False))
        )
    wanted = wanted.where(table.token.is_not(None))
    if since.seq is not None:
        wanted = wanted.where(table.seq > since.seq)
    if since.time is not None:
        wanted = wanted.where(table.attested_at >= since.time)
    return wanted


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
