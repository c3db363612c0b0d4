# SPDX-License-Identifier: Apache-2.0
"""What a document makes of a record."""

from __future__ import annotations

from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.attester import outcome
from korora_nova.attester.vault import AS_DEST, AS_SOURCE, Record
from korora_nova.custody import chain, documents
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.documents import Document
from korora_nova.custody.words import Statement, VaultState
from tests.support import documents as docs

_R = errors.Reason
_V = VaultState


def record(state: VaultState, **changes: object) -> Record:
    """Of h1, S, at epoch 3 unless the changes say otherwise."""
    fields: dict[str, object] = {
        'instance': docs.INSTANCE,
        'state': state,
        'ak_name': docs.AK_1,
        'srk_name': docs.AK_1,
        'epoch': 3,
        'public': b'public',
        'private': b'private',
        'rests_on': 4,
        **changes,
    }
    return Record(**fields)  # type: ignore[arg-type]


def source(state: VaultState, **changes: object) -> Record:
    return record(state, migration=docs.MIGRATION, **changes)


def dest(state: VaultState = _V.INCOMING, **changes: object) -> Record:
    """Of h2, D, at the permit's epoch."""
    return record(
        state,
        **{'epoch': 5, 'migration': docs.MIGRATION, 'rests_on': 5, **changes},
    )


class OutcomeCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.keys = docs.Keys()
        self.has_domain = False

    def signed(self, document: Document) -> AnyVerified:
        token = documents.sign(document, self.keys.custody)
        return chain.read(token, self.keys.ring)

    def receipt(self, **changes: object) -> AnyVerified:
        return self.signed(docs.a_receipt(**changes))

    def apply(
        self, found: Record, document: AnyVerified, host: str = 'h1'
    ) -> Record | None:
        return outcome.apply_document(
            found, document, host, lambda: self.has_domain
        )

    def refused(
        self,
        reason: str,
        found: Record,
        document: AnyVerified,
        host: str = 'h1',
    ) -> None:
        error = self.assertRaises(
            errors.CustodyError, self.apply, found, document, host
        )
        self.assertEqual(reason, error.reason)

    def assert_held(
        self, after: Record | None, epoch: int, document: AnyVerified
    ) -> None:
        assert after is not None
        self.assertEqual(
            (_V.HELD, epoch, '', '', None, document.token),
            (
                after.state,
                after.epoch,
                after.migration,
                after.permit,
                after.statement,
                after.document,
            ),
        )
        self.assertEqual(document.content.version, after.rests_on)


class ReceiptTest(OutcomeCase):
    """C9: the receipt of its own hand-over."""

    def test_source_is_erased(self) -> None:
        """T22: what a success or an abort leaves behind."""
        for state in AS_SOURCE:
            self.assertIsNone(self.apply(source(state), self.receipt()))

    def test_source_is_not_erased_under_its_guest(self) -> None:
        self.has_domain = True
        for state in AS_SOURCE:
            self.refused(_R.DOMAIN_RUNNING, source(state), self.receipt())

    def test_source_holds_again(self) -> None:
        self.has_domain = True
        receipt = self.receipt(**docs.ABORTED)
        for state in AS_SOURCE:
            said = source(
                state, permit='a.b.c', statement=Statement.NEVER_STARTED
            )
            self.assert_held(self.apply(said, receipt), 3, receipt)

    def test_destination_holds(self) -> None:
        self.has_domain = True
        receipt = self.receipt()
        for state in (_V.INCOMING, _V.RELINQUISHED):
            after = self.apply(dest(state, permit='a.b.c'), receipt, 'h2')
            self.assert_held(after, 5, receipt)

    def test_destination_is_erased(self) -> None:
        """T28: an aborted copy comes back to life."""
        receipt = self.receipt(**docs.ABORTED)
        for state in AS_DEST:
            self.assertIsNone(self.apply(dest(state), receipt, 'h2'))

    def test_destination_is_not_erased_under_its_guest(self) -> None:
        self.has_domain = True
        receipt = self.receipt(**docs.ABORTED)
        for state in (_V.INCOMING, _V.RELINQUISHED):
            self.refused(_R.DOMAIN_RUNNING, dest(state), receipt, 'h2')

    def test_destination_without_a_key(self) -> None:
        """It may go under any domain, and cannot become the holder."""
        self.has_domain = True
        empty = dest(_V.RELINQUISHED, epoch=0, private=b'', rests_on=0)
        aborted = self.receipt(**docs.ABORTED)
        self.assertIsNone(self.apply(empty, aborted, 'h2'))
        self.refused(_R.RECEIPT_INVALID, empty, self.receipt(), 'h2')

    def test_destination_of_another_epoch(self) -> None:
        for receipt in (self.receipt(), self.receipt(**docs.ABORTED)):
            self.refused(_R.RECEIPT_INVALID, dest(epoch=4), receipt, 'h2')

    def test_source_that_is_not_superseded(self) -> None:
        self.refused(
            _R.RECEIPT_INVALID, source(_V.MOVING, epoch=5), self.receipt()
        )

    def test_a_later_receipt_counts(self) -> None:
        """Of the same hand-over, after a dispute."""
        self.has_domain = True
        self.refused(_R.DOMAIN_RUNNING, source(_V.MOVING), self.receipt())
        later = self.receipt(version=8, **docs.ABORTED)
        self.assert_held(self.apply(source(_V.MOVING), later), 3, later)


class DocumentTest(OutcomeCase):
    """A server's newest document, about something else."""

    def test_hand_over_under_way(self) -> None:
        for document in (
            self.signed(docs.a_permit()),
            self.signed(docs.a_start()),
        ):
            for state in AS_SOURCE:
                found = source(state)
                self.assertIs(found, self.apply(found, document))
            for state in AS_DEST:
                found = dest(state)
                self.assertIs(found, self.apply(found, document, 'h2'))

    def test_left_over(self) -> None:
        """Whatever the key's state: another host, or epoch, is the one."""
        other = self.receipt(migration=docs.OTHER, version=9)
        for state in (_V.HELD, _V.FORGOTTEN, *AS_SOURCE):
            self.assertIsNone(self.apply(source(state), other))
            self.assertIsNone(self.apply(record(state, epoch=2), other))
        self.assertIsNone(self.apply(dest(epoch=4), other, 'h2'))

    def test_left_over_under_a_guest(self) -> None:
        self.has_domain = True
        other = self.receipt(migration=docs.OTHER, version=9, source='h3')
        self.refused(_R.DOMAIN_RUNNING, record(_V.HELD), other)

    def test_given_up(self) -> None:
        for kind in (docs.DELETED, docs.RELEASED):
            gone = self.receipt(epoch=3, **kind)
            for state in (_V.FORGOTTEN, _V.HELD):
                self.has_domain = False
                self.assertIsNone(self.apply(record(state), gone))
                self.has_domain = True
                self.refused(_R.DOMAIN_RUNNING, record(state), gone)

    def test_without_a_key_only_its_own_receipt_counts(self) -> None:
        found = dest(_V.RECEIVING, epoch=0, private=b'', rests_on=0)
        for document in (
            self.receipt(migration=docs.OTHER),
            self.receipt(epoch=3, **docs.DELETED),
        ):
            self.assertIs(found, self.apply(found, document, 'h2'))

    def test_held_rests_on_the_newest(self) -> None:
        aborted = self.receipt(**docs.ABORTED)
        self.assert_held(self.apply(record(_V.HELD), aborted), 3, aborted)

    def test_another_hand_over_says_that_ours_was_aborted(self) -> None:
        later = self.receipt(
            migration=docs.OTHER, version=12, epoch=9, **docs.ABORTED
        )
        for state in AS_SOURCE:
            self.assert_held(self.apply(source(state), later), 3, later)

    def test_another_hand_over_says_that_ours_was_committed(self) -> None:
        later = self.signed(
            docs.a_permit(
                migration=docs.OTHER,
                version=8,
                epoch=5,
                source='h2',
                dest='h3',
            )
        )
        after = self.apply(dest(), later, 'h2')
        assert after is not None
        self.assertEqual(
            (_V.OUTGOING, docs.OTHER, Statement.NEVER_STARTED),
            (after.state, after.migration, after.statement),
        )

    def test_forgotten_waits_for_its_receipt(self) -> None:
        aborted = self.receipt(**docs.ABORTED)
        after = self.apply(record(_V.FORGOTTEN), aborted)
        assert after is not None
        self.assertEqual(_V.FORGOTTEN, after.state)

    def test_permit_that_never_came(self) -> None:
        """Its answer was lost: nothing was wrapped, so nothing starts."""
        permit = self.signed(docs.a_permit())
        after = self.apply(record(_V.HELD), permit)
        assert after is not None
        self.assertEqual(
            (_V.OUTGOING, docs.MIGRATION, Statement.NEVER_STARTED, 'h2'),
            (after.state, after.migration, after.statement, after.peer),
        )
        self.assertEqual(permit.token, after.permit)

    def test_start_that_an_older_vault_lacks(self) -> None:
        """Libvirt has to say how it ended."""
        after = self.apply(record(_V.HELD), self.signed(docs.a_start()))
        assert after is not None
        self.assertEqual(
            (_V.MOVING, docs.MIGRATION, None),
            (after.state, after.migration, after.statement),
        )


class ReversedTest(OutcomeCase):
    """A later receipt takes away what an earlier one gave."""

    def test_from_the_source(self) -> None:
        later = self.receipt(version=8)
        self.assertIsNone(self.apply(record(_V.HELD), later))
        self.has_domain = True
        after = self.apply(record(_V.HELD), later)
        assert after is not None
        self.assertEqual(
            (_V.MOVING, docs.MIGRATION, Statement.KEPT, 4),
            (after.state, after.migration, after.statement, after.rests_on),
        )
        self.refused(_R.DOMAIN_RUNNING, after, later)

    def test_from_the_destination(self) -> None:
        later = self.receipt(version=8, **docs.ABORTED)
        held = record(_V.HELD, epoch=5)
        self.assertIsNone(self.apply(held, later, 'h2'))
        self.has_domain = True
        after = self.apply(held, later, 'h2')
        assert after is not None
        self.assertEqual(
            (_V.INCOMING, docs.MIGRATION, Statement.ACTIVATED, 4),
            (after.state, after.migration, after.statement, after.rests_on),
        )
        self.refused(_R.DOMAIN_RUNNING, after, later, 'h2')


class ClaimTest(OutcomeCase):
    """C1, whose answer was lost or not believed."""

    def setUp(self) -> None:
        super().setUp()
        patcher = mock.patch.object(outcome, 'key_name', lambda _: docs.MSK)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.claim = record(_V.CLAIMING, epoch=1, rests_on=0, kid='ab' * 8)

    def test_granted(self) -> None:
        grant = self.signed(docs.a_grant())
        self.assert_held(self.apply(self.claim, grant), 1, grant)

    def test_granted_as_it_was_not_guessed(self) -> None:
        """It has to be sealed anew, with the passphrase that Nova has."""
        for changes in (
            {'approval_kid': 'cd' * 8},
            {'version': 4, 'prev': '11' * 32},
            {'key': docs.AK_2},
        ):
            grant = self.signed(docs.a_grant(**changes))
            self.assertIs(self.claim, self.apply(self.claim, grant))

    def test_granted_to_another(self) -> None:
        self.has_domain = True
        grant = self.signed(docs.a_grant(host='h2'))
        self.assertIsNone(self.apply(self.claim, grant))

    def test_of_before_the_claim(self) -> None:
        claim = record(_V.CLAIMING, epoch=8, rests_on=0)
        gone = self.receipt(epoch=3, **docs.DELETED)
        self.assertIs(claim, self.apply(claim, gone))
