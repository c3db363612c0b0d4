# SPDX-License-Identifier: Apache-2.0
"""What the sources said last, in the database.

Rows are written when what they say changes, or when a quarter of their life is
over: thousands of hosts that are well cost little.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.verdict import Verdict
from korora_nova.rats.words import Tier
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service
from korora_nova.verifier.sources import base
from korora_nova.verifier.sources.chosen import Chosen

#: Rows in one statement.
BATCH = 500
#: Of what a driver may say: reasons, and seconds since 1970.
MAX_REASONS, MAX_TIME = 8, float(1 << 40)

_VERDICTS = models.SourceVerdict
_SUBJECTS = models.SourceSubject
_SPOKEN = ('tier', 'reasons', 'subject')


def of(
    service: Service, session: orm.Session, hosts: Sequence[str]
) -> Mapping[str, tuple[Verdict, ...]]:
    """The verdict of each source that is asked, for each of these hosts.

    One that said nothing has tier NONE, and expired long ago.
    """
    asked = [one for one in service.sources if one.asked]
    if not asked:
        return {host: () for host in hosts}
    rows = session.scalars(
        sa.select(_VERDICTS).where(_VERDICTS.host.in_(hosts))
    ).all()
    found = {(row.host, row.source): row for row in rows}
    return {
        host: tuple(
            _verdict(source, found.get((host, source.name)))
            for source in asked
        )
        for host in hosts
    }


def _verdict(source: Chosen, row: models.SourceVerdict | None) -> Verdict:
    if row is None:
        return Verdict(
            source.name,
            source.required,
            source.proof,
            Tier.NONE,
            (errors.Reason.SOURCE_SILENT,),
        )
    return Verdict(
        source.name,
        source.required,
        source.proof,
        Tier(row.tier),
        tuple(row.reasons),
        row.subject,
        row.issued,
        row.expires,
    )


def enrolled(service: Service) -> Sequence[base.Enrolled]:
    """Hosts whose TPM is proven."""
    table = models.Host
    with service.db.read() as session:
        rows = session.execute(
            sa.select(table.name, table.ek_name)
            .where(table.ek_name.is_not(None), table.evicted_at.is_(None))
            .order_by(table.name)
        )
        return [base.Enrolled(name, ek_name or '') for name, ek_name in rows]


def known(service: Service, source: str) -> Mapping[str, base.Known]:
    """The names that a source had when it was asked last."""
    with service.db.read() as session:
        rows = session.scalars(
            sa.select(_SUBJECTS).where(_SUBJECTS.source == source)
        )
        return {
            row.subject: base.Known(
                row.ek_name, row.agrees, row.count, row.read_at
            )
            for row in rows
        }


def keep(service: Service, source: str, asked: base.Asked, at: float) -> None:
    """Note an answer, unless a later one is known.

    :param at: when it was asked for, seconds since 1970.
    :raises ValueError: it is none that a result could have.
    """
    for one in asked.said.values():
        _check(one)
    before = known(service, source)
    _keep_known(service, source, before, asked.known)
    hosts = sorted(asked.said)
    for start in range(0, len(hosts), BATCH):
        _keep_said(
            service,
            source,
            {host: asked.said[host] for host in hosts[start : start + BATCH]},
            at,
        )
    _forget(service, source, asked.said)


def forget(service: Service, source: str, subject: str) -> bool:
    """Let a name of a source be read anew; whether it was known."""
    with service.db.write() as session:
        done: Any = session.execute(
            sa.delete(_SUBJECTS).where(
                _SUBJECTS.source == source, _SUBJECTS.subject == subject
            )
        )
        return bool(done.rowcount)


def _check(said: base.Said) -> None:
    """What is noted comes into signed results as it is."""
    Tier(said.tier)
    if (
        not 0 <= said.issued <= said.expires <= MAX_TIME
        or len(said.reasons) > MAX_REASONS
        or not all(reason in errors.REASONS for reason in said.reasons)
    ):
        raise ValueError('the source says what cannot be signed')


def _spoken(said: base.Said) -> dict[str, object]:
    return {
        'tier': str(said.tier),
        'reasons': list(said.reasons),
        'subject': said.subject[: models.NAME],
        'issued': said.issued,
        'expires': said.expires,
    }


def _is_news(row: models.SourceVerdict, said: base.Said) -> bool:
    new = _spoken(said)
    return any(getattr(row, name) != new[name] for name in _SPOKEN) or (
        said.expires - row.expires > (said.expires - said.issued) / 4
        # It takes back what it has promised.
        or said.expires < row.expires - 1
    )


@api.retried
def _keep_said(
    service: Service, source: str, said: Mapping[str, base.Said], at: float
) -> None:
    with _racing(), service.db.write() as session:
        rows = session.scalars(
            sa.select(_VERDICTS).where(
                _VERDICTS.source == source, _VERDICTS.host.in_(said)
            )
        ).all()
        for row in rows:
            new = said[row.host]
            if row.asked_at < at and _is_news(row, new):
                _update(session, row, new, at)
        there = {row.host for row in rows}
        session.add_all(
            _VERDICTS(host=host, source=source, asked_at=at, **_spoken(one))
            for host, one in said.items()
            if host not in there
        )
        session.flush()


def _update(
    session: orm.Session,
    row: models.SourceVerdict,
    said: base.Said,
    at: float,
) -> None:
    """Another process may have a later answer."""
    api.swap(
        session,
        sa.update(_VERDICTS)
        .where(
            _VERDICTS.host == row.host,
            _VERDICTS.source == row.source,
            _VERDICTS.asked_at < at,
        )
        .values(asked_at=at, **_spoken(said)),
    )


@api.retried
def _keep_known(
    service: Service,
    source: str,
    before: Mapping[str, base.Known],
    now: Mapping[str, base.Known],
) -> None:
    gone = sorted(set(before) - set(now))
    changed = [
        name for name, one in now.items() if _differs(before.get(name), one)
    ]
    if not (gone or changed):
        return
    with _racing(), service.db.write() as session:
        for names in _batches([*gone, *changed]):
            session.execute(
                sa.delete(_SUBJECTS).where(
                    _SUBJECTS.source == source, _SUBJECTS.subject.in_(names)
                )
            )
        session.add_all(
            _SUBJECTS(
                source=source, subject=name, **dataclasses.asdict(now[name])
            )
            for name in changed
        )
        session.flush()


def _differs(before: base.Known | None, now: base.Known) -> bool:
    """Whether it is worth a row: a count that only grows is not."""
    return before is None or (
        dataclasses.replace(before, count=0)
        != dataclasses.replace(now, count=0)
        or now.count < before.count
        or now.count > 2 * before.count + 10
    )


@api.retried
def _forget(service: Service, source: str, hosts: Iterable[str]) -> None:
    """Drop what was said of hosts that are not asked about any more."""
    with service.db.read() as session:
        there = session.scalars(
            sa.select(_VERDICTS.host).where(_VERDICTS.source == source)
        ).all()
    gone = sorted(set(there) - set(hosts))
    for names in _batches(gone):
        with service.db.write() as session:
            session.execute(
                sa.delete(_VERDICTS).where(
                    _VERDICTS.source == source, _VERDICTS.host.in_(names)
                )
            )


def _batches(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (
        names[start : start + BATCH] for start in range(0, len(names), BATCH)
    )


@contextlib.contextmanager
def _racing() -> Iterator[None]:
    """Another process may add the same row: then again."""
    try:
        yield
    except db_exc.DBDuplicateEntry:
        raise api.Lost() from None
