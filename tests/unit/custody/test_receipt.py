# SPDX-License-Identifier: Apache-2.0
import unittest

from korora_nova import errors
from korora_nova.custody import documents as sealed
from korora_nova.custody import ledger, receipt
from tests.support import documents


class ReceiptTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()

    def verified(self, incarnation=None, ring=None, **changes):
        return receipt.verify_receipt(
            sealed.sign(documents.a_receipt(**changes), self.keys.custody),
            ring or self.keys.ring,
            incarnation=incarnation,
        )

    def refused(self, function, *args, **kwargs):
        with self.assertRaises(errors.CustodyError) as caught:
            function(*args, **kwargs)
        self.assertEqual('RECEIPT_INVALID', caught.exception.reason)

    def test_round_trip(self):
        for changes in (
            {},
            documents.ABORTED,
            documents.DELETED,
            documents.RELEASED,
        ):
            self.assertEqual(
                documents.a_receipt(**changes),
                self.verified(**changes).content,
            )

    def test_rows(self):
        for changes, holder, epoch, released in (
            ({}, 'h2', 5, False),
            (documents.ABORTED, 'h1', 3, False),
            (documents.DELETED, None, 0, False),
            (documents.RELEASED, None, 0, True),
        ):
            verified = self.verified(**changes)
            self.assertEqual(
                ledger.LedgerRow(
                    instance=documents.INSTANCE,
                    holder=holder,
                    epoch=epoch,
                    version=7,
                    head=verified.hash,
                    released=released,
                ),
                verified.row,
            )

    def test_refusals(self):
        for change in (
            {'version': 0},
            {'prev': ''},
            {'outcome': 'lost'},
            {'instance': ''},
            {'epoch': 0},
            {'source': ''},
            {'held': -1},
            {'source_word': 'activated'},
            {'dest_word': 'kept'},
            {'dest_word': None},
            {'incarnation': documents.OTHER, 'cloud': documents.OTHER},
        ):
            self.refused(self.verified, **change)
        self.refused(self.verified, ring=documents.Keys().ring)
        self.refused(self.verified, incarnation=documents.OTHER)

    def test_contradictions(self):
        for change in (
            {'holder': 'h1'},
            {'held': 3},
            {'version': 5},
            {'migration': ''},
            {**documents.ABORTED, 'holder': 'h2'},
            {**documents.ABORTED, 'source': ''},
            {**documents.ABORTED, 'held': 0},
            {**documents.ABORTED, 'held': 7},
            {**documents.DELETED, 'holder': 'h1', 'held': 5},
            {**documents.DELETED, 'migration': documents.MIGRATION},
            {**documents.RELEASED, 'held': 1},
        ):
            self.refused(self.verified, **change)

    def check(self, name, good, others, **changes):
        """The check takes what is good, and nothing else."""
        getattr(self.verified(**changes), name)(**good)
        for change in others:
            self.refused(
                getattr(self.verified(**changes), name), **{**good, **change}
            )
        for other in (
            {},
            documents.ABORTED,
            documents.DELETED,
            documents.RELEASED,
        ):
            if other.get('outcome') != changes.get('outcome') and not (
                name == 'check_given_up'
                and 'holder' in other
                and not other['holder']
            ):
                self.refused(getattr(self.verified(**other), name), **good)

    MIGRATION = {
        'instance': documents.INSTANCE,
        'migration': documents.MIGRATION,
    }
    OTHERS = (
        {'instance': documents.OTHER},
        {'migration': documents.OTHER},
    )

    def test_source_erases_what_was_superseded(self):
        """I11."""
        self.check(
            'check_superseded',
            {**self.MIGRATION, 'epoch': 3},
            (*self.OTHERS, {'epoch': 5}),
        )

    def test_dest_holds_its_own_copy(self):
        self.check(
            'check_arrived',
            {**self.MIGRATION, 'epoch': 5},
            (*self.OTHERS, {'epoch': 4}),
        )

    def test_dest_erases_what_was_aborted(self):
        """I11."""
        good = {**self.MIGRATION, 'epoch': 5}
        self.check(
            'check_aborted',
            good,
            (*self.OTHERS, {'epoch': 4}),
            **documents.ABORTED,
        )
        self.verified(**documents.ABORTED).check_aborted(
            **{**good, 'epoch': None}
        )

    def test_holder_erases_what_was_given_up(self):
        """I11."""
        for changes in (documents.DELETED, documents.RELEASED):
            self.check(
                'check_given_up',
                {'instance': documents.INSTANCE, 'epoch': 5},
                ({'instance': documents.OTHER}, {'epoch': 6}),
                **changes,
            )
            # Whatever is older is dead as well, whoever held it.
            self.verified(**changes, source='').check_given_up(
                instance=documents.INSTANCE, epoch=4
            )
