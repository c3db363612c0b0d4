# SPDX-License-Identifier: Apache-2.0
"""The ledger's rows in SQL, and whether the ledger is up to date.

The rules are in :mod:`korora_nova.custody.ledger`; here a row is read,
given to a rule, and stored if it still is what was read.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody.ledger import LedgerRow
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service


def show(service: Service, instance: str) -> dict[str, object]:
    """Who holds the key of a server.

    :raises NotFound: NOT_FOUND, the server never was protected.
    """
    with service.db.read() as session:
        row = load(session, instance)
        if row is None:
            raise errors.NotFound(errors.Reason.NOT_FOUND)
        return row.to_json()


def load(session: orm.Session, instance: str) -> LedgerRow | None:
    """Read a server's row."""
    found = session.get(models.Server, instance)
    if found is None:
        return None
    return LedgerRow(
        found.instance,
        found.holder,
        found.epoch,
        found.max_epoch,
        found.pending,
        found.claim,
    )


def held(session: orm.Session, instance: str) -> LedgerRow:
    """Read a server's row.

    :raises CustodyError: NOT_HOLDER, there is none.
    """
    row = load(session, instance)
    if row is None:
        raise errors.CustodyError(errors.Reason.NOT_HOLDER)
    return row


def insert(session: orm.Session, row: LedgerRow) -> None:
    """Store the first row of a server.

    :raises Lost: another worker did.
    """
    session.add(models.Server(**dataclasses.asdict(row)))
    try:
        session.flush()
    except db_exc.DBDuplicateEntry:
        raise api.Lost() from None


def replace(session: orm.Session, old: LedgerRow, new: LedgerRow) -> None:
    """Store a row in the place of the one that was read.

    :raises Lost: it was changed meanwhile.
    """
    table = models.Server
    api.must_swap(
        session,
        sa.update(table)
        .where(
            table.instance == old.instance,
            table.holder.is_not_distinct_from(old.holder),
            table.epoch == old.epoch,
            table.max_epoch == old.max_epoch,
            table.pending.is_not_distinct_from(old.pending),
        )
        .values(
            holder=new.holder,
            epoch=new.epoch,
            max_epoch=new.max_epoch,
            pending=new.pending,
            claim=new.claim,
        ),
    )


def state(session: orm.Session) -> models.Ledger:
    """The ledger's single row."""
    return session.scalars(
        sa.select(models.Ledger).where(models.Ledger.id == 1)
    ).one()


def current(session: orm.Session) -> models.Ledger:
    """The ledger's single row, if nothing shows that it is outdated.

    :raises Conflict: LEDGER_BEHIND.
    """
    row = state(session)
    if row.behind:
        raise errors.Conflict(errors.Reason.LEDGER_BEHIND)
    return row
