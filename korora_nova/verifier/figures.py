# SPDX-License-Identifier: Apache-2.0
"""The whole fleet in figures, as the database has it at one moment.

Every worker of every node would say the same, so nobody counts it: it is read
when somebody asks, in four statements, whatever the number of hosts.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody.words import MigrationState
from korora_nova.metrics import known
from korora_nova.rats.signed.result import MAX_SKEW
from korora_nova.rats.words import Tier
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

_R = errors.Reason
#: Upper bounds for ages of results, seconds; the last one is infinite.
AGES = (15, 30, 60, 90, 120, 180, 300, 600, 3600)
#: Hand-overs that are not decided.
OPEN = (
    MigrationState.RECEIVING,
    MigrationState.PERMITTED,
    MigrationState.SEALED,
    MigrationState.MOVING,
)
STATUSES = ('approved', 'pending', 'preloaded', 'evicted')
STATES = ('held', 'pending', 'disputed', 'released', 'deleted')


class Family(NamedTuple):
    """One metric; the rules for names are those of :mod:`.metrics`.

    :param kind: gauge or counter.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


HOSTS = Family(
    'korora_hosts',
    'gauge',
    'Hosts by their status, and by the tier of the result that counts now.',
    ('status', 'tier'),
)
REASONS = Family(
    'korora_untrusted_hosts',
    'gauge',
    'Approved hosts that are not trusted now, by reason id; a host may have '
    'several.',
    ('reason',),
)
ENFORCING = Family(
    'korora_enforcing_hosts',
    'gauge',
    'Trusted hosts of which nova-compute runs the driver of this package.',
)
AGE = Family(
    'korora_result_age_seconds',
    'gaugehistogram',
    'Age of the last results of all approved hosts.',
)
OLDEST = Family(
    'korora_result_age_max_seconds',
    'gauge',
    'Age of the oldest of these results.',
)
SERVERS = Family(
    'korora_servers',
    'gauge',
    'Servers in the ledger, by the state of custody of their keys.',
    ('state',),
)
HANDOVERS = Family(
    'korora_open_handovers',
    'gauge',
    'Hand-overs of keys that are not decided, by how far they came.',
    ('state',),
)
STUCK = Family(
    'korora_open_handover_age_max_seconds',
    'gauge',
    'Since when nothing came of the one that waits for the longest time.',
)
HEAD = Family(
    'korora_ledger_documents',
    'counter',
    'Signed documents in the log of the ledger: the number of its head.',
)
WRITTEN = Family(
    'korora_ledger_document_timestamp_seconds',
    'gauge',
    'When the document at the head was signed, seconds since 1970.',
)
FAMILIES = (
    HOSTS,
    REASONS,
    ENFORCING,
    AGE,
    OLDEST,
    SERVERS,
    HANDOVERS,
    STUCK,
    HEAD,
    WRITTEN,
)


@dataclasses.dataclass(frozen=True)
class Figures:
    """Values of all families.

    :param values: family -> values of its labels -> value.
    :param ages: how many results are at most as old as each of :data:`AGES`,
        and how many there are.
    :param age_sum: sum of their ages, seconds.
    """

    values: Mapping[Family, Mapping[tuple[str, ...], float]]
    ages: tuple[int, ...]
    age_sum: float


def read(service: Service) -> Figures:
    """Read all figures.

    :raises Unavailable: DATABASE_UNAVAILABLE.
    """
    now = service.clock()
    with service.db.read() as session:
        hosts = _Hosts(session.execute(_grouped(service, now)).all())
        values: dict[Family, Mapping[tuple[str, ...], float]] = {
            HOSTS: hosts.standing,
            REASONS: hosts.reasons,
            ENFORCING: {(): hosts.enforcing},
            OLDEST: {(): hosts.oldest},
            SERVERS: _servers(session),
            **_handovers(session, now),
            **_ledger(session),
        }
    return Figures(values, tuple(hosts.ages), hosts.age_sum)


def _grouped(service: Service, now: float) -> sa.Select[Any]:
    """Hosts, grouped by all that is told of them."""
    table = models.Host
    evicted = table.evicted_at.is_not(None)
    current = sa.and_(
        table.tier.is_not(None),
        table.issued <= now + MAX_SKEW,
        table.expires > now,
    )
    counts = sa.and_(sa.not_(evicted), table.approved.is_(True))
    age = now - table.issued
    one = sa.select(
        sa.case(
            (evicted, 'evicted'),
            (table.ak_name.is_(None), 'preloaded'),
            (table.approved.is_(True), 'approved'),
            else_='pending',
        ).label('status'),
        sa.case(
            (evicted, str(Tier.CONTRAINDICATED)),
            (current, table.tier),
            else_=str(Tier.NONE),
        ).label('trust'),
        sa.case(
            (sa.not_(counts), ''),
            (
                sa.and_(current, table.tier != str(Tier.AFFIRMING)),
                sa.cast(table.reasons, sa.Text),
            ),
            (current, ''),
            (table.tier.is_(None), json.dumps([_R.RESULT_MISSING])),
            else_=json.dumps([_R.RESULT_EXPIRED]),
        ).label('why'),
        sa.case((_enforces(service, now), 1), else_=0).label('enforces'),
        sa.case(
            (sa.or_(sa.not_(counts), table.issued.is_(None)), -1),
            *((age <= bound, place) for place, bound in enumerate(AGES)),
            else_=len(AGES),
        ).label('place'),
        age.label('age'),
    ).subquery()
    columns = one.c
    grouped = (
        columns.status,
        columns.trust,
        columns.why,
        columns.enforces,
        columns.place,
    )
    return sa.select(
        *grouped,
        sa.func.count().label('hosts'),
        sa.func.sum(columns.age).label('total'),
        sa.func.max(columns.age).label('oldest'),
    ).group_by(*grouped)


def _enforces(service: Service, now: float) -> sa.ColumnElement[bool]:
    """As ``enforcement.Heard.missing``."""
    table = models.Host
    known = sa.and_(
        table.enforcer.is_not(None),
        table.enforcer['drift'].as_string() == '',
    )
    if not service.settings.require_enforcer:
        return sa.or_(table.enforcer.is_(None), known)
    return sa.and_(
        known, table.enforcer_at >= now - service.settings.result_ttl
    )


class _Hosts:
    """What the groups come to."""

    def __init__(self, rows: Any) -> None:
        self.standing: dict[tuple[str, ...], float] = {
            (status, str(tier)): 0 for status in STATUSES for tier in Tier
        }
        self.reasons: dict[tuple[str, ...], float] = collections.defaultdict(
            float
        )
        self.enforcing = 0
        self.oldest = self.age_sum = 0.0
        places = [0] * (len(AGES) + 1)
        for row in rows:
            self.standing[row.status, row.trust] += row.hosts
            for reason in json.loads(row.why or '[]'):
                self.reasons[(known(reason),)] += row.hosts
            if row.enforces and (row.status, row.trust) == (
                'approved',
                Tier.AFFIRMING,
            ):
                self.enforcing += row.hosts
            if row.place >= 0:
                places[row.place] += row.hosts
                self.age_sum += row.total
                self.oldest = max(self.oldest, row.oldest)
        self.ages = [sum(places[: at + 1]) for at in range(len(places))]


def _servers(session: orm.Session) -> dict[tuple[str, ...], float]:
    table = models.Server
    one = sa.select(
        sa.case(
            (table.disputed.is_not(None), 'disputed'),
            (table.pending.is_not(None), 'pending'),
            (table.holder.is_not(None), 'held'),
            (table.released.is_(True), 'released'),
            else_='deleted',
        ).label('state')
    ).subquery()
    found = session.execute(
        sa.select(one.c.state, sa.func.count()).group_by(one.c.state)
    )
    return {
        **{(state,): 0 for state in STATES},
        **{(state,): count for state, count in found},
    }


def _handovers(
    session: orm.Session, now: float
) -> dict[Family, Mapping[tuple[str, ...], float]]:
    table = models.Migration
    found = session.execute(
        sa.select(table.status, sa.func.count(), sa.func.min(table.updated_at))
        .where(table.status.in_([str(state) for state in OPEN]))
        .group_by(table.status)
    ).all()
    since = min((at for _, _, at in found), default=now)
    return {
        HANDOVERS: {
            **{(str(state),): 0 for state in OPEN},
            **{(status,): count for status, count, _ in found},
        },
        STUCK: {(): max(0.0, now - since)},
    }


def _ledger(
    session: orm.Session,
) -> dict[Family, Mapping[tuple[str, ...], float]]:
    ledger, document = models.Ledger, models.Document
    head, at = session.execute(
        sa.select(ledger.head_seq, document.stored_at)
        .outerjoin(document, document.seq == ledger.head_seq)
        .where(ledger.id == 1)
    ).one()
    return {HEAD: {(): head}, WRITTEN: {} if at is None else {(): at}}
