# SPDX-License-Identifier: Apache-2.0
"""Receipts: what became of a key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from korora_nova import errors
from korora_nova.custody import decision, documents
from korora_nova.custody.words import Outcome, Role
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys

_HAND_OVER = (Outcome.COMMITTED, Outcome.ABORTED)


def _words(role: Role) -> schemas.Schema:
    return {'enum': ['', *sorted(str(word) for word in decision.WORDS[role])]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Receipt(documents.Document):
    """One decision.

    Without a hand-over, migration, dest and permit_hash are empty.

    :param epoch: of the destination's copy; without a hand-over that of the
        key that is given up, with all before it.
    :param source: who held it; '' if that is not known any more.
    :param source_word: what the ends had said, '' for nothing; likewise
        ``dest_word``.
    :param holder: who holds the key now, '' for nobody; ``held`` is its
        epoch, 0 for none.
    """

    KIND = documents.kind(
        'korora-receipt+jwt',
        {
            'migration': {'anyOf': [schemas.UUID, {'const': ''}]},
            'epoch': schemas.EPOCH,
            'outcome': {'enum': [str(word) for word in Outcome]},
            'source': {'anyOf': [schemas.HOST, {'const': ''}]},
            'dest': {'anyOf': [schemas.HOST, {'const': ''}]},
            'permit_hash': {'anyOf': [schemas.DIGEST, {'const': ''}]},
            'source_word': _words(Role.SOURCE),
            'dest_word': _words(Role.DEST),
            'holder': {'anyOf': [schemas.HOST, {'const': ''}]},
            'held': {'anyOf': [schemas.EPOCH, {'const': 0}]},
        },
    )
    INVALID = errors.Reason.RECEIPT_INVALID

    migration: str
    epoch: int
    outcome: Outcome
    source: str
    dest: str
    permit_hash: str
    source_word: str
    dest_word: str
    holder: str
    held: int

    @property
    def subject(self) -> str:
        """See :attr:`.Document.subject`."""
        return self.migration

    def holding(self) -> Mapping[str, Any]:
        """See :meth:`.Document.holding`."""
        return {
            'holder': self.holder or None,
            'epoch': self.held,
            'released': self.outcome == Outcome.RELEASED,
        }

    def check(self) -> None:
        """See :meth:`.Document.check`."""
        super().check()
        by_outcome = {
            Outcome.COMMITTED: (self.dest, self.epoch),
            Outcome.ABORTED: (self.source, self.held),
            Outcome.DELETED: ('', 0),
            Outcome.RELEASED: ('', 0),
        }
        outcome = Outcome(self.outcome)
        if (
            (self.holder, self.held) != by_outcome[outcome]
            or (outcome in _HAND_OVER) != bool(self.migration)
            or (outcome in _HAND_OVER and not self.source)
            or bool(self.holder) != bool(self.held)
            or max(self.epoch, self.held) >= self.version
        ):
            raise self.refused('The receipt contradicts itself.')


@dataclasses.dataclass(frozen=True)
class VerifiedReceipt(documents.Verified[Receipt]):
    """A receipt of this cloud's custody key."""

    def check_superseded(
        self, *, instance: str, migration: str, epoch: int
    ) -> None:
        """The source's copy is dead: the destination's took its place.

        :raises CustodyError: RECEIPT_INVALID.
        """
        self._check(Outcome.COMMITTED, instance, migration)
        if self.content.epoch <= epoch:
            raise Receipt.refused(
                'The receipt does not supersede the key held.'
            )

    def check_arrived(
        self, *, instance: str, migration: str, epoch: int
    ) -> None:
        """The destination holds the key: its very copy.

        :raises CustodyError: RECEIPT_INVALID.
        """
        self._check(Outcome.COMMITTED, instance, migration)
        self._check_epoch(epoch)

    def check_aborted(
        self, *, instance: str, migration: str, epoch: int | None
    ) -> None:
        """The destination's copy is dead, the source's is held.

        :param epoch: of the destination's copy; None: it has none.
        :raises CustodyError: RECEIPT_INVALID.
        """
        self._check(Outcome.ABORTED, instance, migration)
        if epoch is not None:
            self._check_epoch(epoch)

    def check_given_up(self, *, instance: str, epoch: int) -> None:
        """The key of this epoch, or one that took its place, was deleted or
        taken by an operator.

        :raises CustodyError: RECEIPT_INVALID.
        """
        if self.content.outcome not in (Outcome.DELETED, Outcome.RELEASED):
            raise Receipt.refused('The receipt is about something else.')
        self._check(self.content.outcome, instance, '')
        if self.content.epoch < epoch:
            raise Receipt.refused('The receipt is about an older epoch.')

    def _check(self, outcome: str, instance: str, migration: str) -> None:
        content = self.content
        if (content.outcome, content.instance, content.migration) != (
            outcome,
            instance,
            migration,
        ):
            raise Receipt.refused('The receipt is about something else.')

    def _check_epoch(self, epoch: int) -> None:
        if self.content.epoch != epoch:
            raise Receipt.refused('The receipt is about another epoch.')


def verify_receipt(
    token: str, ring: keys.KeyRing, *, incarnation: str | None = None
) -> VerifiedReceipt:
    """Verify one receipt, not its place in the chain.

    :raises CustodyError: RECEIPT_INVALID.
    """
    receipt = documents.verify(Receipt, token, ring, incarnation)
    outcome = Outcome(receipt.outcome)
    return VerifiedReceipt(
        dataclasses.replace(receipt, outcome=outcome), token
    )
