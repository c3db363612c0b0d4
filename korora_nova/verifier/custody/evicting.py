# SPDX-License-Identifier: Apache-2.0
"""All keys of a host that is dead or destroyed.

The host is marked first, so that nothing more is given to it; its keys are
taken one by one, each in a transaction of its own. Whatever ends it in
between, the next call goes on.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody.words import (
    MigrationState,
    Outcome,
    Role,
    Statement,
)
from korora_nova.verifier import hosts, windows
from korora_nova.verifier.custody import (
    ends,
    giving_up,
    migrations,
    resolving,
)
from korora_nova.verifier.custody.plans import Order, Plan, carry_out
from korora_nova.verifier.custody.standing import Standing
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

#: Servers in one call.
BATCH = 64
#: Documents of one server until nothing of it is the host's.
_STEPS = 4
_UNDECIDED = (MigrationState.RECEIVING, *migrations.OPEN)

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Evicted:
    """What became of some of a host's servers.

    :param next: give it as ``after`` for the others; '' if these were all.
    :param left: those of which something is left to do, see ``refused``.
    """

    host: str
    plans: Sequence[Plan]
    next: str

    @property
    def left(self) -> list[str]:
        return [one.instance for one in self.plans if one.refused is not None]

    def to_json(self) -> dict[str, object]:
        return {
            'host': self.host,
            'servers': [one.to_json() for one in self.plans],
            'left': self.left,
            'next': self.next,
        }


def evict(
    service: Service, host: str, order: Order, *, after: str = ''
) -> Evicted:
    """Take all keys from a host, for good.

    :param after: go on behind this server.
    :raises NotFound: HOST_UNKNOWN, and no server has to do with it.
    :raises Unavailable: ANCHOR_UNAVAILABLE, DATABASE_UNAVAILABLE.
    """
    known = _instances(service, host, after)
    if not order.dry_run:
        marked = hosts.evict(service, host, order.actor, order.note)
    else:
        marked = hosts.is_known(service, host)
    if not marked and not known and not after:
        raise errors.NotFound(_R.HOST_UNKNOWN)
    plans = [_evict_server(service, host, order, one) for one in known]
    return Evicted(host, plans, known[-1] if len(known) == BATCH else '')


def _instances(service: Service, host: str, after: str) -> list[str]:
    """Servers whose keys have to do with a host, in their order."""
    server, migration = models.Server, models.Migration
    holds = sa.select(server.instance).where(server.holder == host)
    hands = sa.select(migration.instance).where(
        sa.or_(migration.source == host, migration.dest == host),
        sa.or_(
            migration.status.in_(_UNDECIDED),
            migration.contradicted_at.is_not(None),
        ),
    )
    both = sa.union(holds, hands).subquery()
    with service.db.read() as session:
        return list(
            session.scalars(
                sa.select(both.c.instance)
                .where(both.c.instance > after)
                .order_by(both.c.instance)
                .limit(BATCH)
            )
        )


def _evict_server(
    service: Service, host: str, order: Order, instance: str
) -> Plan:
    """Take what one server has there, document by document."""
    said: list[str] = []
    plan = Plan(instance, False, said)
    for _ in range(_STEPS):
        try:
            plan = carry_out(
                service,
                instance,
                order,
                functools.partial(_plan, service, host),
                functools.partial(_sign, service, host, order),
                point='v.evict',
            )
        except errors.Unavailable:
            raise
        except errors.KororaError as exc:
            plan = dataclasses.replace(plan, refused=exc)
        said.extend(plan.consequences)
        if order.dry_run or plan.refused is not None or plan.done_before:
            break
    return dataclasses.replace(
        plan, done=plan.refused is None and plan.done, consequences=said
    )


@dataclasses.dataclass(frozen=True)
class _Job:
    """What comes next for a server.

    :param migration: to be decided; None: the key is to be released.
    :param keep: whose copy counts; None: the other end is waited for.
    """

    consequence: str
    migration: models.Migration | None = None
    keep: Role | None = None


def _plan(
    service: Service, host: str, session: orm.Session, found: Standing
) -> Plan:
    plan = Plan(found.instance, False, [], _ends(service, session, found))
    try:
        found.check()
    except errors.Conflict as exc:
        return plan.refuse(exc)
    job = _job(session, host, found)
    if job is None:
        return plan.finished()
    plan = plan.adding(job.consequence)
    if job.migration is None:
        warning = windows.warning(
            session.get(models.Host, host), service.clock()
        )
        plan = plan.adding(warning) if warning else plan
    if job.migration is not None and job.keep is None:
        if job.migration.source_word is not None:
            return plan.refuse(
                errors.Conflict(
                    _R.CUSTODY_PENDING, details={'migration': job.migration.id}
                )
            )
    return plan


def _sign(
    service: Service,
    host: str,
    order: Order,
    session: orm.Session,
    found: Standing,
) -> str:
    job = _job(session, host, found)
    if job is None:
        return ''
    if job.migration is None:
        return giving_up.sign(service, session, found, Outcome.RELEASED, order)
    if job.keep is None:
        # With it, the word of the other end decides.
        migrations.change(
            service, session, job.migration, source_word=Statement.ENDED_HERE
        )
        return ''
    return resolving.settle(
        service, session, found, job.migration, job.keep, order
    )


def _job(session: orm.Session, host: str, found: Standing) -> _Job | None:
    row = found.row
    for migration in _open(session, host, found.instance):
        if migration.status in _UNDECIDED or (
            row is not None and row.disputed == migration.id
        ):
            return _decided(session, migration, host)
    if row is None or row.holder != host or row.pending is not None:
        return None
    return _Job(
        f'The key of epoch {row.epoch} on host {host} never opens again; the '
        "server's next start elsewhere gets a new one."
    )


def _decided(
    session: orm.Session, migration: models.Migration, host: str
) -> _Job:
    """How a hand-over from or to the host ends."""
    source, dest = migration.source, migration.dest
    stays = _Job(
        f'The hand-over from {source} to {dest} is aborted: the copy on '
        f'{dest} never opens.',
        migration,
        Role.SOURCE,
    )
    if host == dest or migration.start_hash is None:
        return stays
    other = session.get(models.Host, dest)
    if other is None or other.evicted_at is not None:
        return stays
    if migration.dest_word == Statement.NO_DOMAIN:
        return stays
    if migration.dest_word == Statement.ACTIVATED:
        return _Job(
            f'The hand-over from {source} to {dest} is committed: {dest} '
            'runs the server.',
            migration,
            Role.DEST,
        )
    return _Job(
        f'Host {dest} has not said whether it runs the server, which decides '
        'the hand-over; if it does not come to that, resolve the migration.',
        migration,
    )


def _open(
    session: orm.Session, host: str, instance: str
) -> Sequence[models.Migration]:
    table = models.Migration
    return session.scalars(
        sa.select(table)
        .where(
            table.instance == instance,
            sa.or_(table.source == host, table.dest == host),
            sa.or_(
                table.status.in_(_UNDECIDED),
                table.contradicted_at.is_not(None),
            ),
        )
        .order_by(table.created_at, table.id)
        .execution_options(populate_existing=True)
    ).all()


def _ends(
    service: Service, session: orm.Session, found: Standing
) -> list[ends.End]:
    row = found.row
    if row is None or row.holder is None:
        return []
    server = session.get(models.Server, found.instance)
    pending = row.pending or row.disputed
    migration = session.get(models.Migration, pending) if pending else None
    if migration is not None:
        return ends.both(service, session, migration, server)
    return [ends.end(service, session, ends.HOLDER, row.holder, server=server)]
