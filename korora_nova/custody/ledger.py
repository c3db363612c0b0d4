# SPDX-License-Identifier: Apache-2.0
"""Rules of the ledger: who holds a server's key, at which epoch.

Pure functions from row to row; the caller stores the result with a
compare-and-swap on the row it read.

- At most one (host, epoch) may open a server's key at any time; none while
  a hand-over is pending.
- Epochs only grow: an aborted, deleted or recovered one is never reissued.
- A migration is decided once.
- A claim that was granted is granted again when it is repeated.
"""

from __future__ import annotations

import dataclasses

from korora_nova import errors
from korora_nova.custody.words import Outcome, Role, Statement
from korora_nova.rats import schemas

#: role in the migration -> statement -> the outcome it decides.
STATEMENTS: dict[Role, dict[Statement, Outcome]] = {
    Role.SOURCE: {
        Statement.STREAM_COMPLETED: Outcome.COMMITTED,
        Statement.NEVER_STARTED: Outcome.ABORTED,
    },
    Role.DEST: {
        Statement.ACTIVATED: Outcome.COMMITTED,
        Statement.NO_DOMAIN: Outcome.ABORTED,
    },
}

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class LedgerRow:
    """One server's row.

    :param holder: host whose TPM may open the key; None after deletion.
    :param epoch: epoch of the holder's key.
    :param max_epoch: highest epoch ever issued.
    :param pending: migration under way, if any; its epoch is max_epoch.
    :param claim: what the holder called its key when it claimed it; None
        once it was handed over or deleted.
    """

    instance: str
    holder: str | None
    epoch: int
    max_epoch: int
    pending: str | None = None
    claim: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.epoch <= self.max_epoch:
            raise ValueError('a ledger row contradicts itself')
        if self.pending is not None and (
            self.holder is None or self.epoch == self.max_epoch
        ):
            raise ValueError('a ledger row contradicts itself')

    def to_json(self) -> dict[str, object]:
        """JSON object of what readers are told."""
        return {name: getattr(self, name) for name in _SHOWN}

    @classmethod
    def from_json(cls, document: object) -> LedgerRow:
        """Read what :meth:`to_json` made.

        :raises ValueError: not a row of the ledger.
        """
        if (
            not isinstance(document, dict)
            or schemas.fault(_ROW, document) is not None
        ):
            raise ValueError('not a row of the ledger')
        return cls(**{name: document[name] for name in _SHOWN})


_SHOWN = ('instance', 'holder', 'epoch', 'max_epoch', 'pending')

# Open: the service may come to say more about a server.
_ROW = {
    **schemas.closed(
        {
            'instance': schemas.UUID,
            'holder': {'anyOf': [schemas.HOST, {'type': 'null'}]},
            'epoch': schemas.EPOCH,
            'max_epoch': schemas.EPOCH,
            'pending': {'anyOf': [schemas.UUID, {'type': 'null'}]},
        }
    ),
    'additionalProperties': True,
}


def outcome_of(role: Role, statement: Statement) -> Outcome:
    """The outcome that a party's statement decides.

    :raises Forbidden: STATEMENT_NOT_ALLOWED.
    """
    try:
        return STATEMENTS[role][statement]
    except KeyError:
        raise errors.Forbidden(_R.STATEMENT_NOT_ALLOWED) from None


def claim(
    row: LedgerRow | None, instance: str, host: str, key: str
) -> LedgerRow:
    """First start of a server: epoch 1, or a new one after a deletion.

    :param key: what the host calls the key, of which it claims one.
    :returns: the same row if this very claim was granted before.
    :raises Conflict: LEDGER_CONFLICT, somebody holds another key, be it the
        same host: a lost vault needs :func:`reissue`.
    """
    if row is None:
        return LedgerRow(instance, host, 1, 1, claim=key)
    _same(row, instance)
    if (row.holder, row.claim, row.pending) == (host, key, None):
        return row
    if row.holder is not None:
        raise errors.Conflict(_R.LEDGER_CONFLICT)
    return dataclasses.replace(_fresh(row, host), claim=key)


def reissue(row: LedgerRow, host: str) -> LedgerRow:
    """An operator gives a server whose vault is lost a new epoch.

    :raises Conflict: CUSTODY_PENDING.
    """
    _not_pending(row)
    return _fresh(row, host)


def begin(
    row: LedgerRow, source: str, epoch: int, migration: str
) -> tuple[LedgerRow, int]:
    """Burn a new epoch for a hand-over; nobody may open until decided.

    :returns: the new row and the destination's epoch.
    :raises CustodyError: NOT_HOLDER, EPOCH_MISMATCH.
    :raises Conflict: CUSTODY_PENDING.
    """
    may_open(row, source, epoch)
    burned = row.max_epoch + 1
    return dataclasses.replace(
        row, max_epoch=burned, pending=migration
    ), burned


def commit(row: LedgerRow, migration: str, dest: str, epoch: int) -> LedgerRow:
    """The destination becomes the holder, at the migration's epoch.

    :raises Conflict: MIGRATION_SPENT, it is not the pending one.
    :raises CustodyError: EPOCH_MISMATCH.
    """
    _pending(row, migration)
    if epoch != row.max_epoch:
        raise errors.CustodyError(_R.EPOCH_MISMATCH)
    return dataclasses.replace(
        row, holder=dest, epoch=epoch, pending=None, claim=None
    )


def abort(row: LedgerRow, migration: str) -> LedgerRow:
    """The source stays the holder; the burned epoch stays dead.

    :raises Conflict: MIGRATION_SPENT, it is not the pending one.
    """
    _pending(row, migration)
    return dataclasses.replace(row, pending=None)


def delete(row: LedgerRow, host: str) -> LedgerRow:
    """The server is gone: nobody holds its key, its epochs stay dead.

    :raises CustodyError: NOT_HOLDER.
    :raises Conflict: CUSTODY_PENDING.
    """
    _holds(row, host)
    _not_pending(row)
    return dataclasses.replace(row, holder=None, claim=None)


def may_open(row: LedgerRow, host: str, epoch: int) -> None:
    """Insist that this host may open this epoch of the key now.

    :raises CustodyError: NOT_HOLDER, EPOCH_MISMATCH.
    :raises Conflict: CUSTODY_PENDING.
    """
    _holds(row, host)
    if epoch != row.epoch:
        raise errors.CustodyError(_R.EPOCH_MISMATCH)
    _not_pending(row)


def _fresh(row: LedgerRow, host: str) -> LedgerRow:
    epoch = row.max_epoch + 1
    return dataclasses.replace(
        row, holder=host, epoch=epoch, max_epoch=epoch, claim=None
    )


def _same(row: LedgerRow, instance: str) -> None:
    if row.instance != instance:
        raise ValueError('the row is of another server')


def _holds(row: LedgerRow, host: str) -> None:
    if row.holder is None or row.holder != host:
        raise errors.CustodyError(_R.NOT_HOLDER)


def _not_pending(row: LedgerRow) -> None:
    if row.pending is not None:
        raise errors.Conflict(_R.CUSTODY_PENDING)


def _pending(row: LedgerRow, migration: str) -> None:
    if row.pending is None or row.pending != migration:
        raise errors.Conflict(_R.MIGRATION_SPENT)
