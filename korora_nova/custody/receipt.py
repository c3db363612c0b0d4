# SPDX-License-Identifier: Apache-2.0
"""Receipts: what became of a key, signed, in one hash chain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from korora_nova import errors
from korora_nova.custody.words import Outcome
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens

#: ``prev`` of the first receipt.
GENESIS = '0' * 64

_FIELDS = {
    'seq': schemas.EPOCH,
    'prev': schemas.DIGEST,
    'incarnation': schemas.UUID,
    'migration': {'anyOf': [schemas.UUID, {'const': ''}]},
    'instance': schemas.UUID,
    'epoch': schemas.EPOCH,
    'outcome': {'enum': [str(word) for word in Outcome]},
    'source': schemas.HOST,
    'dest': {'anyOf': [schemas.HOST, {'const': ''}]},
    'permit_hash': {'anyOf': [schemas.DIGEST, {'const': ''}]},
}

KIND = tokens.Kind(
    'korora-receipt+jwt', 'korora-agent', 'custody', tokens.schema(_FIELDS)
)


@dataclasses.dataclass(frozen=True)
class Receipt:
    """One decision. Of a deletion, migration, dest and hash are empty.

    :param seq: 1, 2, ... without gap.
    :param prev: digest of the previous token, hex; :data:`GENESIS` first.
    :param epoch: the migration's new epoch; of a deletion the key's.
    :param issued: seconds since 1970.
    """

    seq: int
    prev: str
    incarnation: str
    cloud: str
    migration: str
    instance: str
    epoch: int
    outcome: Outcome
    source: str
    dest: str
    permit_hash: str
    issued: float


@dataclasses.dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt that the custody key signed for this cloud."""

    receipt: Receipt
    token: str

    @property
    def hash(self) -> str:
        """Digest of the token, hex: the head that hosts report."""
        return tokens.digest(self.token).hex()

    def check_committed(
        self, *, instance: str, migration: str, held_epoch: int
    ) -> None:
        """The source may erase its key: another epoch superseded it.

        :raises CustodyError: RECEIPT_INVALID.
        """
        receipt = self.receipt
        self._check(Outcome.COMMITTED, instance, migration)
        if receipt.epoch <= held_epoch:
            raise _bad('The receipt does not supersede the key held.')

    def check_aborted(
        self, *, instance: str, migration: str, epoch: int
    ) -> None:
        """The destination may erase its copy of an aborted hand-over.

        :raises CustodyError: RECEIPT_INVALID.
        """
        self._check(Outcome.ABORTED, instance, migration)
        if self.receipt.epoch != epoch:
            raise _bad('The receipt is about another epoch.')

    def check_deleted(self, *, instance: str, epoch: int) -> None:
        """The holder may erase the key of a deleted server.

        :raises CustodyError: RECEIPT_INVALID.
        """
        self._check(Outcome.DELETED, instance, '')
        if self.receipt.epoch != epoch:
            raise _bad('The receipt is about another epoch.')

    def _check(self, outcome: Outcome, instance: str, migration: str) -> None:
        receipt = self.receipt
        if (receipt.outcome, receipt.instance, receipt.migration) != (
            outcome,
            instance,
            migration,
        ):
            raise _bad('The receipt is about something else.')


def _bad(message: str, **details: str) -> errors.CustodyError:
    return errors.CustodyError(
        errors.Reason.RECEIPT_INVALID, message, details=details
    )


def sign_receipt(receipt: Receipt, key: keys.SigningKey) -> str:
    """Sign with the custody key; returns a JWT."""
    claims = dataclasses.asdict(receipt)
    claims['iat'] = claims.pop('issued')
    return tokens.sign(claims, key, KIND, receipt.cloud)


def verify_receipt(
    token: str,
    ring: keys.KeyRing,
    *,
    cloud: str,
    incarnation: str | None = None,
) -> VerifiedReceipt:
    """Verify one receipt, not its place in the chain.

    :raises CustodyError: RECEIPT_INVALID.
    """
    try:
        claims = tokens.verify(token, ring, KIND)
    except tokens.TokenError as exc:
        raise _bad(
            'The receipt does not verify with the pinned keys.', why=str(exc)
        ) from None
    receipt = Receipt(
        cloud=claims['cloud'],
        issued=float(claims['iat']),
        **{
            **{field: claims[field] for field in _FIELDS},
            'outcome': Outcome(claims['outcome']),
        },
    )
    if receipt.cloud != cloud or incarnation not in (
        None,
        receipt.incarnation,
    ):
        raise _bad('The receipt is of another cloud or incarnation.')
    return VerifiedReceipt(receipt, token)


def verify_chain(
    chain: Iterable[str],
    ring: keys.KeyRing,
    *,
    after: VerifiedReceipt | None = None,
) -> tuple[VerifiedReceipt, ...]:
    """Verify receipts in order: each follows the one before.

    :param after: the receipt before the first, None if that is number 1.
    :raises CustodyError: RECEIPT_INVALID; details name the seq expected
        where the chain breaks.
    """
    verified: list[VerifiedReceipt] = []
    seq, prev = (after.receipt.seq, after.hash) if after else (0, GENESIS)
    for token in chain:
        seq += 1
        try:
            item = verify_receipt(token, ring, cloud=ring.cloud)
        except errors.CustodyError as exc:
            raise _bad(
                f'Receipt {seq} does not verify.', seq=str(seq), **exc.details
            ) from None
        if (item.receipt.seq, item.receipt.prev) != (seq, prev):
            raise _bad(f'The receipt chain breaks at {seq}.', seq=str(seq))
        prev = item.hash
        verified.append(item)
    return tuple(verified)
