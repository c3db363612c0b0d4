# SPDX-License-Identifier: Apache-2.0
"""Snapshots of all results, for readers with many hosts.

A worker reads what changed since it looked last, so a snapshot costs what
changed, one signature, and nothing for each reader more. A row is what the
service *signed* of its host: the result is verified before it comes into a
snapshot, so nobody gets a host trusted by writing to the database. Only less
trust is taken from the database alone: a host that is evicted, waits or is
gone.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.signed import keys, snapshot
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.signed.result import KIND
from korora_nova.rats.words import Tier
from korora_nova.verifier import numbers, results
from korora_nova.verifier.db import api, models
from korora_nova.verifier.observed import (
    MAX_GONE,
    Listed,
    Observed,
    Page,
)
from korora_nova.verifier.service import Service

#: Seconds for which a worker does not look at its database again.
REUSE = 1.0
#: Hosts in one statement.
BATCH = 500

_BASE = re.compile(r'([0-9]{1,18})-([0-9a-f-]{36})')
_TABLE = models.Host
#: Hosts that a snapshot has.
_LISTED = sa.or_(
    _TABLE.token.is_not(None),
    _TABLE.approved.is_(False),
    _TABLE.evicted_at.is_not(None),
)
_ROWS = sa.select(
    _TABLE.name, _TABLE.seq, _TABLE.token, _TABLE.evicted_at
).where(_LISTED)


def show(service: Service, base: str) -> Page:
    """The snapshot of this moment, or what changed since another one.

    :param base: the mark of that; '' for none. What changed since one that
        this worker cannot tell of is a whole snapshot.
    :raises Invalid: INVALID_REQUEST.
    """
    seq, incarnation = _parsed(base)
    latest = service.snapshots
    current = latest.value
    if not _stands(service, current, seq):
        current = latest.joined()
    if current is None or not _stands(service, current, seq):
        current = latest.made(lambda last: _observe(service, last))
    return current.page(seq if current.tells(seq, incarnation) else None)


def _parsed(base: str) -> tuple[int, str]:
    if not base:
        return -1, ''
    found = _BASE.fullmatch(base)
    if found is None:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            'base is what an earlier snapshot has as seq and incarnation, '
            'with a dash between them.',
        )
    return int(found[1]), found[2]


def _stands(service: Service, last: Observed | None, seq: int) -> bool:
    return (
        last is not None
        and last.ring is service.ring
        and 0 <= service.clock() - last.at < REUSE
        # Else another worker has seen more already.
        and seq <= last.head.seq
    )


def _observe(service: Service, last: Observed | None) -> Observed:
    """Look at the database again.

    Times and the mark are of before: rows may be newer, never older.
    """
    began, at, ring = time.monotonic(), service.clock(), service.ring
    numbers.give(service.db)
    with service.db.read() as session:
        # Let all statements see the database of one moment.
        api.isolate(session, 'REPEATABLE READ')
        mark = results.reached(session)
        if last is None or (
            last.ring is not ring
            or last.head.incarnation != mark.incarnation
            or last.head.seq > mark.seq
            or len(last.gone) > MAX_GONE
        ):
            last = None
            rows = session.execute(_ROWS).all()
            hosts = _listed(rows, {}, ring, mark.seq)
            gone: Mapping[str, int] = {}
        else:
            hosts, gone = _again(session, last, ring, mark.seq)
    return _signed(
        service,
        Observed(
            began,
            at,
            ring,
            _head(ring.cloud, mark, hosts, at),
            '',
            hosts,
            gone,
            mark.seq if last is None else last.since,
        ),
    )


def _again(
    session: orm.Session, last: Observed, ring: keys.KeyRing, seq: int
) -> tuple[dict[str, Listed], dict[str, int]]:
    """Hosts now, and all that went since readers were first told.

    A change has a number. What has none, a deletion above all, changes how
    many hosts there are, or the sum of their numbers.
    """
    rows = session.execute(
        _ROWS.where(
            sa.or_(_TABLE.seq > last.head.seq, _TABLE.seq == numbers.CHANGED)
        )
    ).all()
    hosts = _listed(rows, last.hosts, ring, seq)
    found = session.execute(
        sa.select(sa.func.count(), sa.func.sum(_TABLE.seq)).where(_LISTED)
    ).one()
    gone = dict(last.gone)
    if (int(found[0]), int(found[1] or 0)) != (
        len(hosts),
        sum(one.seq for one in hosts.values()),
    ):
        there = dict(
            session.execute(sa.select(_TABLE.name, _TABLE.seq).where(_LISTED))
            .tuples()
            .all()
        )
        for host in set(hosts) - set(there):
            del hosts[host]
            gone[host] = seq
        stale = [
            host
            for host, number in there.items()
            if host not in hosts or hosts[host].seq != number
        ]
        hosts = _listed(_read(session, stale), hosts, ring, seq)
    for host in set(gone) & set(hosts):
        del gone[host]
    return hosts, gone


def _read(session: orm.Session, names: list[str]) -> list[Any]:
    """The rows of these hosts."""
    return [
        row
        for start in range(0, len(names), BATCH)
        for row in session.execute(
            _ROWS.where(_TABLE.name.in_(names[start : start + BATCH]))
        )
    ]


def _listed(
    rows: Iterable[Any],
    known: Mapping[str, Listed],
    ring: keys.KeyRing,
    seq: int,
) -> dict[str, Listed]:
    """Hosts with these rows in the place of those that are known."""
    hosts = dict(known)
    for row in rows:
        line = _row(row, ring).text()
        last = known.get(row.name)
        hosts[row.name] = Listed(
            row.seq,
            line,
            last.changed
            if last is not None and last.line == line
            # What has no number yet will have a later one.
            else max(seq + (row.seq == numbers.CHANGED), row.seq),
        )
    return hosts


def _row(row: Any, ring: keys.KeyRing) -> snapshot.Row:
    """What may be said of a host; it depends on nothing but its row."""
    if row.evicted_at is not None:
        return _without(row.name, errors.Reason.EVICTED)
    if row.token is None:
        return _without(row.name, errors.Reason.HOST_PENDING)
    try:
        found = snapshot.Row.claimed(tokens.authentic(row.token, ring, KIND))
    # Also one of another release, with other claims: of this host only.
    except (tokens.TokenError, KeyError, TypeError):
        return _without(row.name, errors.Reason.RESULT_FORGED)
    if found.host != row.name:
        return _without(row.name, errors.Reason.RESULT_FORGED)
    return found


def _without(host: str, reason: str) -> snapshot.Row:
    return snapshot.Row(host, Tier.NONE, reasons=(reason,))


def _head(
    cloud: str, mark: results.Mark, hosts: Mapping[str, Listed], at: float
) -> snapshot.Head:
    return snapshot.Head(
        cloud,
        mark.incarnation,
        mark.seq,
        len(hosts),
        snapshot.digest({host: one.line for host, one in hosts.items()}),
        at,
    )


def _signed(service: Service, observed: Observed) -> Observed:
    return dataclasses.replace(
        observed,
        token=snapshot.sign(observed.head, service.signers.result),
        _pages={},
    )
