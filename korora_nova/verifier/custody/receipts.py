# SPDX-License-Identifier: Apache-2.0
"""The chain of receipts: appended with each decision, never changed."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import receipt
from korora_nova.custody.words import Outcome
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens
from korora_nova.verifier.custody import ledger
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

#: Receipts in one answer.
PAGE = 1000


def append(
    service: Service,
    session: orm.Session,
    *,
    outcome: Outcome,
    instance: str,
    epoch: int,
    source: str,
    migration: str = '',
    dest: str = '',
    permit_hash: str = '',
) -> str:
    """Sign the next receipt, in the transaction of what it decides.

    :raises Lost: another worker appended one meanwhile.
    :raises Conflict: LEDGER_BEHIND: a receipt now would fork the chain.
    """
    head = ledger.current(session)
    signed = receipt.sign_receipt(
        receipt.Receipt(
            seq=head.head_seq + 1,
            prev=head.head_hash,
            incarnation=head.incarnation,
            cloud=service.cloud,
            migration=migration,
            instance=instance,
            epoch=epoch,
            outcome=outcome,
            source=source,
            dest=dest,
            permit_hash=permit_hash,
            issued=service.clock(),
        ),
        service.signers.custody,
    )
    extend(
        session,
        head.head_seq,
        head.head_hash,
        signed,
        migration or deletion(instance, epoch),
    )
    return signed


def extend(
    session: orm.Session, seq: int, prev: str, signed: str, subject: str
) -> None:
    """Make a receipt the new head if the head still is ``seq``.

    :raises Lost: it is not.
    """
    digest = tokens.digest(signed).hex()
    _advance(session, seq, prev, digest)
    session.add(
        models.Receipt(
            hash=digest,
            seq=seq + 1,
            chained=True,
            subject=subject,
            token=signed,
        )
    )


def _advance(session: orm.Session, seq: int, prev: str, digest: str) -> None:
    table = models.Ledger
    api.must_swap(
        session,
        sa.update(table)
        .where(
            table.id == 1,
            table.head_seq == seq,
            table.head_hash == prev,
        )
        .values(head_seq=seq + 1, head_hash=digest),
    )


def file(
    service: Service,
    session: orm.Session,
    unknown: Iterable[receipt.VerifiedReceipt],
) -> None:
    """Keep receipts of ours that come from hosts, to be settled.

    Those that continue the chain are appended to it, and what was kept
    before and continues it now.

    :raises Lost: another worker appended one meanwhile.
    """
    for item in unknown:
        content = item.receipt
        session.add(
            models.Receipt(
                hash=item.hash,
                seq=content.seq,
                chained=False,
                settled=False,
                subject=content.migration
                or deletion(content.instance, content.epoch),
                token=item.token,
            )
        )
    try:
        session.flush()
    except db_exc.DBDuplicateEntry:
        raise api.Lost() from None
    _chain(service, session)


def _chain(service: Service, session: orm.Session) -> None:
    """Append kept receipts to the chain, as long as one comes next."""
    state = ledger.state(session)
    seq, prev = state.head_seq, state.head_hash
    while (found := _following(service, session, seq, prev)) is not None:
        _advance(session, seq, prev, found.hash)
        found.chained = True
        seq, prev = found.seq, found.hash
    session.flush()


def _following(
    service: Service, session: orm.Session, seq: int, prev: str
) -> models.Receipt | None:
    """The kept receipt that comes next in the chain."""
    table = models.Receipt
    for row in session.scalars(
        sa.select(table)
        .where(table.chained.is_(False), table.seq == seq + 1)
        .order_by(table.hash)
    ):
        item = verified(service, row)
        if item is not None and item.receipt.prev == prev:
            return row
    return None


def verified(
    service: Service, row: models.Receipt
) -> receipt.VerifiedReceipt | None:
    """A kept receipt; None if its key is no longer pinned."""
    try:
        return receipt.verify_receipt(
            row.token, service.ring, cloud=service.cloud
        )
    except errors.CustodyError:
        return None


def deletion(instance: str, epoch: int) -> str:
    """The subject of a deletion's receipt."""
    return f'{instance}/{epoch}'


def of(session: orm.Session, subject: str) -> str | None:
    """The receipt that decided this; None while undecided."""
    table = models.Receipt
    return session.scalars(
        sa.select(table.token).where(
            table.subject == subject, table.chained.is_(True)
        )
    ).one_or_none()


def find_recovered(
    service: Service, session: orm.Session, migration: str, host: str
) -> str:
    """The receipt of a migration that is known from a recovery alone.

    :raises NotFound: MIGRATION_UNKNOWN, there is none for this host.
    """
    table = models.Receipt
    for signed in session.scalars(
        sa.select(table.token)
        .where(table.subject == migration)
        .order_by(table.chained.desc())
    ):
        verified = receipt.verify_receipt(
            signed, service.ring, cloud=service.cloud
        )
        if host in (verified.receipt.source, verified.receipt.dest):
            return signed
    raise errors.NotFound(errors.Reason.MIGRATION_UNKNOWN)


def last_deletion(
    service: Service, session: orm.Session, instance: str, host: str
) -> str | None:
    """The newest receipt by which this host deleted this server's key."""
    table = models.Receipt
    for signed in session.scalars(
        sa.select(table.token)
        .where(table.subject.startswith(f'{instance}/'))
        .order_by(table.seq.desc())
    ):
        verified = receipt.verify_receipt(
            signed, service.ring, cloud=service.cloud
        )
        if verified.receipt.source == host:
            return signed
    return None


def list_receipts(service: Service, since: int) -> list[str]:
    """Receipts after a sequence number, in order, one page."""
    table = models.Receipt
    with service.db.read() as session:
        return list(
            session.scalars(
                sa.select(table.token)
                .where(table.chained.is_(True), table.seq > since)
                .order_by(table.seq)
                .limit(PAGE)
            )
        )


def verify(db: api.Database, ring: keys.KeyRing) -> int:
    """Verify the whole chain: signatures, order, no gap, its head.

    :returns: the number of receipts.
    :raises CustodyError: RECEIPT_INVALID; the details name the seq.
    """
    last: receipt.VerifiedReceipt | None = None
    table = models.Receipt
    with db.read() as session:
        head = ledger.state(session)
        head_seq, head_hash = head.head_seq, head.head_hash
        for row in session.scalars(
            sa.select(table)
            .where(table.chained.is_(True))
            .order_by(table.seq)
            .execution_options(yield_per=PAGE)
        ):
            (last,) = receipt.verify_chain([row.token], ring, after=last)
            if (row.seq, row.hash) != (last.receipt.seq, last.hash):
                raise _bad(row.seq, 'is filed under another number')
    seq, digest = (
        (last.receipt.seq, last.hash) if last else (0, receipt.GENESIS)
    )
    if (seq, digest) != (head_seq, head_hash):
        raise _bad(
            min(seq, head_seq) + 1, 'does not agree with the head of the chain'
        )
    return seq


def _bad(seq: int, what: str) -> errors.CustodyError:
    return errors.CustodyError(
        errors.Reason.RECEIPT_INVALID,
        f'Receipt {seq} {what}.',
        details={'seq': str(seq)},
    )
