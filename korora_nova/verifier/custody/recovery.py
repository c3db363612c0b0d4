# SPDX-License-Identifier: Apache-2.0
"""Recovery of a ledger that is older than its hosts (I13).

After the database was restored from a backup, hosts hold receipts that it
does not know.  What hosts report of them is kept, an operator brings the
rest; each is verified, and then

1. those that continue the chain are appended to it; others (after a gap,
   or on a branch that grew before the restoration was noticed) are kept
   beside it, so that hosts may report them;
2. for each server they are about, the newest epoch decides who holds the
   key; if two hosts were given the same epoch, or a receipt is missing in
   between, nobody holds it;
3. a key that nobody holds by then, and exactly one host reported to hold
   at an epoch not yet spent, is that host's (it was claimed after the
   backup);
4. every server's next epoch is far above any that may have been issued
   and forgotten;
5. the ledger gets a new incarnation: permits of the old one are dead.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import ledger as rules
from korora_nova.custody.receipt import (
    Receipt,
    VerifiedReceipt,
    verify_receipt,
)
from korora_nova.custody.words import MigrationState, Outcome
from korora_nova.verifier import audit
from korora_nova.verifier.custody import ledger, receipts
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

#: Epochs skipped: more than any server uses between two backups.
STRIDE = 1 << 20


def freeze(db: api.Database, why: str) -> None:
    """Stop permits, approvals and receipts until :func:`recover`.

    For whoever restores a backup: until a host reports what the database
    does not know, nothing else shows that it is outdated.
    """
    table = models.Ledger
    with db.write() as session:
        session.execute(
            sa.update(table)
            .where(table.id == 1, table.behind == '')
            .values(behind=why)
        )


def recover(
    service: Service, tokens: Sequence[str], actor: str
) -> Mapping[str, str | int]:
    """Reconcile with receipts of hosts; see the module for the steps.

    :returns: ``incarnation``, and numbers of what was done.
    :raises CustodyError: RECEIPT_INVALID; the details name the index of
        the receipt; nothing was changed.
    """
    verified = []
    for index, token in enumerate(dict.fromkeys(tokens)):
        try:
            verified.append(
                verify_receipt(token, service.ring, cloud=service.cloud)
            )
        except errors.CustodyError as exc:
            exc.details['index'] = str(index)
            raise
    return _recover(service, verified, actor)


@api.retried
def _recover(
    service: Service, brought: Sequence[VerifiedReceipt], actor: str
) -> Mapping[str, str | int]:
    with service.db.write() as session:
        old = ledger.state(session).incarnation
        fresh, chained = _gather(service, session, brought)
        settled = _settle(session, fresh)
        adopted = _adopt(session)
        _skip_epochs(session)
        incarnation = str(uuid.uuid4())
        table = models.Ledger
        api.must_swap(
            session,
            sa.update(table)
            .where(table.id == 1, table.incarnation == old)
            .values(incarnation=incarnation, behind=''),
        )
        answer: dict[str, str | int] = {
            'incarnation': incarnation,
            'chained': chained,
            'unchained': len(fresh) - chained,
            'servers': settled,
            'adopted': adopted,
        }
        audit.record(
            service,
            session,
            actor=actor,
            action='recovered',
            subject=incarnation,
            note=' '.join(f'{name}={value}' for name, value in answer.items()),
        )
        return answer


def _unknown(
    session: orm.Session, brought: Sequence[VerifiedReceipt]
) -> list[VerifiedReceipt]:
    known = set(
        session.scalars(
            sa.select(models.Receipt.hash).where(
                models.Receipt.hash.in_([item.hash for item in brought])
            )
        )
    )
    # Twice the same receipt may come with two signatures.
    fresh = {item.hash: item for item in brought if item.hash not in known}
    return sorted(fresh.values(), key=lambda item: item.receipt.seq)


def _gather(
    service: Service,
    session: orm.Session,
    brought: Sequence[VerifiedReceipt],
) -> tuple[list[VerifiedReceipt], int]:
    """What is to be settled, by number, and how much of it is chained."""
    receipts.file(service, session, _unknown(session, brought))
    table = models.Receipt
    fresh, chained = [], 0
    for row in session.scalars(
        sa.select(table).where(table.settled.is_(False)).order_by(table.seq)
    ):
        item = receipts.verified(service, row)
        if item is not None:
            row.settled = True
            fresh.append(item)
            chained += row.chained
    return fresh, chained


def _settle(session: orm.Session, fresh: Sequence[VerifiedReceipt]) -> int:
    """Bring the ledger's rows to what the receipts say."""
    by_instance: dict[str, list[Receipt]] = {}
    for item in fresh:
        by_instance.setdefault(item.receipt.instance, []).append(item.receipt)
        _close_migration(session, item)
    for instance, decided in by_instance.items():
        old = ledger.load(session, instance)
        new = _latest(old, sorted(decided, key=lambda one: one.epoch))
        if old is not None and new is not None:
            ledger.replace(session, old, new)
        elif new is not None:
            ledger.insert(session, new)
    return len(by_instance)


def _close_migration(session: orm.Session, item: VerifiedReceipt) -> None:
    row = session.get(models.Migration, item.receipt.migration)
    if row is not None and row.status in (
        MigrationState.RECEIVING,
        MigrationState.PENDING,
    ):
        row.status = MigrationState(item.receipt.outcome)
        row.new_epoch = item.receipt.epoch


def _latest(
    old: rules.LedgerRow | None, decided: Sequence[Receipt]
) -> rules.LedgerRow | None:
    """The row after all that is known; None if that says too little.

    :param decided: unknown so far, of one server; ascending epochs.
    """
    holder, epoch = (old.holder, old.epoch) if old else (None, 0)
    for receipt in decided:
        if receipt.outcome == Outcome.ABORTED:
            # Its source held the key then; if that is news, a receipt is
            # missing, and nobody can be said to hold it.
            if epoch and receipt.source != holder:
                holder = None
            continue
        new = receipt.dest if receipt.outcome == Outcome.COMMITTED else None
        holder = new if receipt.epoch > epoch or new == holder else None
        epoch = max(epoch, receipt.epoch)
    if not epoch:
        return None
    top = max(epoch, decided[-1].epoch)
    if old is None:
        return rules.LedgerRow(decided[0].instance, holder, epoch, top)
    named = {receipt.migration for receipt in decided}
    over = (
        old.pending in named
        or top > old.max_epoch
        or holder is None
        or epoch == old.max_epoch
    )
    return rules.LedgerRow(
        old.instance,
        holder,
        epoch,
        max(top, old.max_epoch),
        None if over else old.pending,
    )


def _adopt(session: orm.Session) -> int:
    """Keys first claimed after the backup: only their holders know."""
    claims: dict[str, list[tuple[str, int]]] = {}
    for row in session.scalars(
        sa.select(models.Host).where(models.Host.approved.is_(True))
    ):
        for instance, epoch in row.held:
            claims.setdefault(str(instance), []).append((row.name, int(epoch)))
    adopted = 0
    for instance, hosts in claims.items():
        old = ledger.load(session, instance)
        host, epoch = hosts[0]
        if (
            len(hosts) > 1
            or old is not None
            and (old.holder is not None or epoch <= old.epoch)
        ):
            continue
        new = rules.LedgerRow(
            instance, host, epoch, max(epoch, old.max_epoch if old else epoch)
        )
        if old is None:
            ledger.insert(session, new)
        else:
            ledger.replace(session, old, new)
        adopted += 1
    return adopted


def _skip_epochs(session: orm.Session) -> None:
    """A pending hand-over keeps its number: its epoch is the highest."""
    table = models.Server
    session.execute(
        sa.update(table)
        .where(table.pending.is_(None))
        .values(max_epoch=table.max_epoch + STRIDE),
        execution_options={'synchronize_session': False},
    )
