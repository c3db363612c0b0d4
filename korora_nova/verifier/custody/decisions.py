# SPDX-License-Identifier: Apache-2.0
"""How a hand-over ends: decided once, by whoever may say so first.

- A party says what it knows; the statement decides, by compare-and-swap
  on the pending migration, and the receipt tells both ends.
- Said again, by either end and whatever it says, the answer is the receipt
  of what was decided: silence and repetition change nothing.
- A host that has just become untrusted may still report facts; they are
  recorded with the reasons for doubt.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies
from korora_nova.custody import ledger as rules
from korora_nova.custody.exchange import Decided
from korora_nova.custody.words import MigrationState, Outcome, Role
from korora_nova.verifier import audit
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import ledger, receipts
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

_R = errors.Reason


def commit(
    service: Service, attested: Attested, body: bodies.Commit
) -> Decided:
    """A party says that the guest runs on D; see :func:`_hear`."""
    return _hear(service, attested, body, Outcome.COMMITTED)


def abort(service: Service, attested: Attested, body: bodies.Abort) -> Decided:
    """A party says that the guest never ran on D; see :func:`_hear`."""
    return _hear(service, attested, body, Outcome.ABORTED)


@api.retried
def _hear(
    service: Service,
    attested: Attested,
    body: bodies.Decision,
    wanted: Outcome,
) -> Decided:
    """Hear a statement.

    :raises NotFound: MIGRATION_UNKNOWN; also if no permit was signed (then
        none will be, and no key is on its way).
    :raises Forbidden: STATEMENT_NOT_ALLOWED.
    :raises Conflict: LEDGER_BEHIND.
    """
    with service.db.write() as session:
        row = session.get(models.Migration, body.migration)
        if row is None:
            return Decided(
                receipts.find_recovered(
                    service, session, body.migration, attested.host
                )
            )
        outcome = rules.outcome_of(_role(attested, row), body.statement)
        if outcome != wanted:
            raise errors.Forbidden(_R.STATEMENT_NOT_ALLOWED)
        if row.status == MigrationState.RECEIVING:
            if outcome != Outcome.ABORTED:
                raise errors.Forbidden(_R.STATEMENT_NOT_ALLOWED)
            _close(service, session, row, attested.host)
            signed = None
        elif row.status == MigrationState.PENDING:
            signed = _decide(
                service,
                session,
                row,
                outcome,
                actor=attested.host,
                note=body.statement,
                taint=attested.reasons,
            )
        else:
            signed = receipts.of(session, row.id)
    if signed is None:
        raise errors.NotFound(
            _R.MIGRATION_UNKNOWN,
            'No permit was signed for the migration, and none will be.',
        )
    return Decided(signed)


@api.retried
def force_abort(
    service: Service, migration: str, reason: str, actor: str
) -> dict[str, str | None]:
    """An operator, with D fenced, decides that the guest is not on D.

    :returns: ``receipt``; null if no permit was signed.
    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Conflict: MIGRATION_SPENT, it is committed; LEDGER_BEHIND.
    """
    with service.db.write() as session:
        row = session.get(models.Migration, migration)
        if row is None:
            raise errors.NotFound(_R.MIGRATION_UNKNOWN)
        if row.status == MigrationState.COMMITTED:
            raise errors.Conflict(
                _R.MIGRATION_SPENT, 'The migration is committed.'
            )
        if row.status == MigrationState.RECEIVING:
            _close(service, session, row, actor, reason)
        if row.status == MigrationState.PENDING:
            return {
                'receipt': _decide(
                    service,
                    session,
                    row,
                    Outcome.ABORTED,
                    actor=actor,
                    note=f'forced: {reason}',
                )
            }
        return {'receipt': receipts.of(session, migration)}


def _role(attested: Attested, row: models.Migration) -> Role:
    """Which end speaks: by name and by attestation key.

    :raises Forbidden: STATEMENT_NOT_ALLOWED, neither.
    """
    if attested.host == row.source and row.ak_source in (
        None,
        attested.ak_name,
    ):
        return Role.SOURCE
    if attested.host == row.dest and row.ak_dest == attested.ak_name:
        return Role.DEST
    raise errors.Forbidden(_R.STATEMENT_NOT_ALLOWED)


def _close(
    service: Service,
    session: orm.Session,
    row: models.Migration,
    actor: str,
    note: str = '',
) -> None:
    """No permit was signed yet: make sure that none will be."""
    _move(
        service,
        session,
        row,
        MigrationState.RECEIVING,
        MigrationState.ABORTED,
        (),
    )
    audit.record(
        service,
        session,
        actor=actor,
        action='closed',
        subject=row.id,
        note=note,
    )


def _decide(
    service: Service,
    session: orm.Session,
    row: models.Migration,
    outcome: Outcome,
    *,
    actor: str,
    note: str,
    taint: tuple[str, ...] = (),
) -> str:
    """Ledger, migration and receipt chain move together or not at all."""
    old = ledger.held(session, row.instance)
    epoch = row.new_epoch or 0
    new = (
        rules.commit(old, row.id, row.dest, epoch)
        if outcome == Outcome.COMMITTED
        else rules.abort(old, row.id)
    )
    ledger.replace(session, old, new)
    _move(
        service,
        session,
        row,
        MigrationState.PENDING,
        MigrationState(outcome),
        taint,
    )
    audit.record(
        service,
        session,
        actor=actor,
        action=outcome,
        subject=row.id,
        note=' '.join((note, *taint)),
    )
    return receipts.append(
        service,
        session,
        outcome=outcome,
        instance=row.instance,
        epoch=epoch,
        source=row.source,
        migration=row.id,
        dest=row.dest,
        permit_hash=row.permit_hash or '',
    )


def _move(
    service: Service,
    session: orm.Session,
    row: models.Migration,
    old: MigrationState,
    new: MigrationState,
    taint: tuple[str, ...],
) -> None:
    table = models.Migration
    api.must_swap(
        session,
        sa.update(table)
        .where(table.id == row.id, table.status == old)
        .values(status=new, taint=list(taint), updated_at=service.clock()),
    )
