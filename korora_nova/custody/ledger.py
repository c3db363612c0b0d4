# SPDX-License-Identifier: Apache-2.0
"""Rules of the ledger: who holds a server's key, at which epoch.

A row is what the server's newest document says, and a rule says whether the
next one may be signed. The caller stores the row after it, with a
compare-and-swap on the row that the rule was asked about.

- At most one (host, epoch) may open a server's key at any time; none while
  a hand-over is pending or disputed.
- An epoch is the version of the document that made the key: none is ever
  issued twice.
- A claim that was granted is granted again when it is repeated.
"""

from __future__ import annotations

import dataclasses

from korora_nova import errors
from korora_nova.rats import schemas

_R = errors.Reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One server's row.

    :param holder: host whose TPM may open the key; None: nobody's.
    :param epoch: of the holder's key; 0 without holder.
    :param version: of the newest document; ``head`` its digest, hex.
    :param pending: migration under way, if any.
    :param claim: what the holder called its key when it claimed it; None
        once it was handed over or given up.
    :param released: an operator took the key from its holder: the next
        start gets another one, with the passphrase from escrow.
    :param disputed: migration about which both ends contradict each other;
        not in any document.
    """

    instance: str
    holder: str | None
    epoch: int
    version: int
    head: str
    pending: str | None = None
    claim: str | None = None
    released: bool = False
    disputed: str | None = None

    def __post_init__(self) -> None:
        if (
            not 0 <= self.epoch <= self.version
            or self.version < 1
            or (self.holder is None) != (self.epoch == 0)
            or self.pending is not None
            and (self.holder is None or self.epoch == self.version)
        ):
            raise ValueError('a ledger row contradicts itself')

    def to_json(self) -> dict[str, object]:
        """JSON object of what readers are told."""
        return {name: getattr(self, name) for name in _SHOWN}

    @classmethod
    def from_json(cls, document: object) -> LedgerRow:
        """Read what :meth:`to_json` made, as the service tells it.

        :raises Conflict: LEDGER_BEHIND, LEDGER_FORKED, it is not told.
        :raises ValueError: not a row of the ledger.
        """
        refused = isinstance(document, dict) and document.get('refused')
        if isinstance(refused, dict):
            for reason in (_R.LEDGER_BEHIND, _R.LEDGER_FORKED):
                if refused.get('reason') == reason:
                    raise errors.Conflict(reason)
        if (
            not isinstance(document, dict)
            or schemas.fault(_ROW, document) is not None
        ):
            raise ValueError('not a row of the ledger')
        return cls(**{name: document[name] for name in _SHOWN})


_OR_NULL = {'type': 'null'}

_SHOWN = (
    'instance',
    'holder',
    'epoch',
    'version',
    'head',
    'pending',
    'released',
    'disputed',
)

# Open: the service may come to say more about a server.
_ROW = {
    **schemas.closed(
        {
            'instance': schemas.UUID,
            'holder': {'anyOf': [schemas.HOST, _OR_NULL]},
            'epoch': {'anyOf': [schemas.EPOCH, {'const': 0}]},
            'version': schemas.EPOCH,
            'head': schemas.DIGEST,
            'pending': {'anyOf': [schemas.UUID, _OR_NULL]},
            'released': {'type': 'boolean'},
            'disputed': {'anyOf': [schemas.UUID, _OR_NULL]},
        }
    ),
    'additionalProperties': True,
}


def may_claim(row: LedgerRow | None, host: str, key: str) -> bool:
    """A server's first start, or one after its key was given up (C1).

    :param key: what the host calls the key, of which it claims one.
    :returns: whether this very claim was granted before.
    :raises Conflict: LEDGER_CONFLICT, somebody holds another key, be it the
        same host: a lost vault needs a reissue.
    """
    if row is None:
        return False
    if (row.holder, row.claim, row.pending) == (host, key, None):
        return True
    if row.holder is not None:
        raise errors.Conflict(_R.LEDGER_CONFLICT)
    return False


def may_open(row: LedgerRow | None, host: str, epoch: int) -> None:
    """Insist that this host may open this epoch of the key now (C4, C10).

    :raises CustodyError: NOT_HOLDER, EPOCH_MISMATCH.
    :raises Conflict: CUSTODY_PENDING, CUSTODY_DISPUTED.
    """
    check_epoch(holds(row, host), epoch)


def check_epoch(row: LedgerRow, epoch: int) -> None:
    """:raises CustodyError, Conflict: as :func:`may_open`."""
    if epoch != row.epoch:
        raise errors.CustodyError(_R.EPOCH_MISMATCH)
    check_settled(row)


def check_settled(row: LedgerRow) -> None:
    """:raises Conflict: CUSTODY_PENDING, CUSTODY_DISPUTED."""
    if row.disputed is not None:
        raise errors.Conflict(
            _R.CUSTODY_DISPUTED, details={'migration': row.disputed}
        )
    if row.pending is not None:
        raise errors.Conflict(
            _R.CUSTODY_PENDING, details={'migration': row.pending}
        )


def may_give_up(row: LedgerRow | None, host: str) -> LedgerRow:
    """The holder's server is gone (delete).

    :raises CustodyError: NOT_HOLDER.
    :raises Conflict: CUSTODY_PENDING, CUSTODY_DISPUTED.
    """
    found = holds(row, host)
    check_settled(found)
    return found


def holds(row: LedgerRow | None, host: str) -> LedgerRow:
    """:raises CustodyError: NOT_HOLDER."""
    if row is None or row.holder is None or row.holder != host:
        raise errors.CustodyError(_R.NOT_HOLDER)
    return row
