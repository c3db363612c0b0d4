# SPDX-License-Identifier: Apache-2.0
"""The ledger's rows in SQL, held against the anchor.

The rules are in :mod:`korora_nova.custody.ledger`. Whatever changes a row is
one transaction in :func:`change`: the row is what the anchor says, the rule
is asked, the document is signed and stored, and the anchor raised before
anybody is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors, faultpoints
from korora_nova.custody.ledger import LedgerRow
from korora_nova.verifier.anchor.base import Mark
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

T = TypeVar('T')

_R = errors.Reason
_FIELDS = tuple(field.name for field in dataclasses.fields(LedgerRow))
#: Hosts that a sentence names.
_NAMED = 5


def incarnation(session: orm.Session) -> str:
    """Which ledger this is."""
    return session.scalars(
        sa.select(models.Ledger.incarnation).where(models.Ledger.id == 1)
    ).one()


def load(session: orm.Session, instance: str) -> LedgerRow | None:
    """Read a server's row, whatever the anchor says."""
    found = session.get(models.Server, instance, populate_existing=True)
    if found is None:
        return None
    return LedgerRow(**{name: getattr(found, name) for name in _FIELDS})


def current(service: Service, instance: str) -> LedgerRow | None:
    """Read a server's row; it may be told.

    1. The anchor's mark. A row above it was stored, but not told: the anchor
    rises first. 2. A row below it is read once more, after whatever the
    database replicates.

    :raises Conflict: LEDGER_BEHIND, LEDGER_FORKED, ANCHOR_MISSING.
    :raises Unavailable: ANCHOR_UNAVAILABLE, DATABASE_UNAVAILABLE.
    """
    ledger, row = _read(service, instance, causal=False)
    mark = service.anchor.get(ledger, [instance]).get(instance)
    if is_behind(row, mark):
        _, row = _read(service, instance, causal=True)
    if is_behind(row, mark):
        raise errors.Conflict(_R.LEDGER_BEHIND, details={'instance': instance})
    _check_fork(row, mark)
    if row is not None and (mark is None or row.version > mark.version):
        _rise(service, ledger, row)
    return row


def is_behind(row: LedgerRow | None, mark: Mark | None) -> bool:
    """Whether the database lacks what the anchor knows of a server."""
    return mark is not None and (row is None or row.version < mark.version)


def _check_fork(row: LedgerRow | None, mark: Mark | None) -> None:
    if row is not None and mark is not None and row.version == mark.version:
        if row.head != mark.digest:
            raise errors.Conflict(
                _R.LEDGER_FORKED, details={'instance': row.instance}
            )


def _read(
    service: Service, instance: str, *, causal: bool
) -> tuple[str, LedgerRow | None]:
    """Incarnation and row.

    :param causal: wait for what other nodes of the database have committed.
    """
    with service.db.read() as session:
        if causal:
            api.wait_for_replication(session)
        return incarnation(session), load(session, instance)


def _rise(service: Service, ledger: str, row: LedgerRow) -> None:
    with faultpoints.step('v.anchor'):
        service.anchor.rise(ledger, row.instance, Mark(row.version, row.head))


def signable(service: Service, instance: str) -> LedgerRow | None:
    """Read a server's row, about which the service may sign something.

    :raises Conflict: as :func:`current`; HOSTS_UNHEARD.
    """
    row = current(service, instance)
    if not service.anchor.GUARANTEES:
        check_heard(service)
    return row


def check_heard(service: Service) -> None:
    """Without an anchor that lasts, hosts have to report first.

    :raises Conflict: HOSTS_UNHEARD, naming some that did not.
    """
    table = models.Host
    with service.db.read() as session:
        silent = list(
            session.scalars(
                sa.select(table.name)
                .where(
                    table.ak_name.is_not(None),
                    table.approved.is_(True),
                    table.evicted_at.is_(None),
                    sa.func.coalesce(table.reported_at, 0) < service.started,
                )
                .order_by(table.name)
                .limit(_NAMED)
            )
        )
    if silent:
        raise errors.Conflict(
            _R.HOSTS_UNHEARD, details={'hosts': ' '.join(silent)}
        )


@api.retried
def change(
    service: Service,
    instance: str,
    transaction: Callable[[orm.Session, LedgerRow | None], T],
    *,
    point: str,
    signs: bool = True,
) -> T:
    """Run a transaction on a server's row, and raise the anchor.

    :param transaction: gets the row; what it returns may be told. It must
        have no other effect than in its session.
    :param point: fault point of its commit.
    :param signs: false: it only takes note of what was signed before.
    :raises Lost: the row was changed meanwhile, too often.
    """
    read = signable if signs else current
    row = read(service, instance)
    with faultpoints.step(point), service.db.write() as session:
        if load(session, instance) != row:
            raise api.Lost()
        answer = transaction(session, row)
        ledger, new = incarnation(session), load(session, instance)
    if new is not None and new != row:
        _rise(service, ledger, new)
    return answer


def replace(
    session: orm.Session, old: LedgerRow | None, new: LedgerRow
) -> None:
    """Store a row in the place of the one that was read.

    :raises Lost: it was changed meanwhile.
    """
    table = models.Server
    if old is None:
        session.add(table(**dataclasses.asdict(new)))
        try:
            session.flush()
        except db_exc.DBDuplicateEntry:
            raise api.Lost() from None
        return
    api.must_swap(
        session,
        sa.update(table)
        .where(
            table.instance == old.instance,
            table.version == old.version,
            table.head == old.head,
            table.disputed.is_not_distinct_from(old.disputed),
        )
        .values(**dataclasses.asdict(new)),
    )
