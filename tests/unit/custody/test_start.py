# SPDX-License-Identifier: Apache-2.0
import unittest

from korora_nova import errors
from korora_nova.custody import documents as sealed
from korora_nova.custody import ledger, start
from tests.support import documents


class StartTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()

    def verified(self, **changes):
        return start.verify_start(
            sealed.sign(documents.a_start(**changes), self.keys.custody),
            self.keys.ring,
        )

    def refused(self, function, *args, **kwargs):
        with self.assertRaises(errors.CustodyError) as caught:
            function(*args, **kwargs)
        self.assertEqual('DOCUMENT_INVALID', caught.exception.reason)

    def test_row(self):
        verified = self.verified()
        self.assertEqual(
            ledger.LedgerRow(
                instance=documents.INSTANCE,
                holder='h1',
                epoch=3,
                version=6,
                head=verified.hash,
                pending=documents.MIGRATION,
            ),
            verified.row,
        )

    def test_refusals(self):
        for change in ({'migration': ''}, {'epoch': 5}, {'epoch': 0}):
            self.refused(self.verified, **change)

    def test_source(self):
        verified = self.verified()
        verified.check_source(
            instance=documents.INSTANCE, permit_hash='77' * 32
        )
        for changed in (
            {'instance': documents.OTHER, 'permit_hash': '77' * 32},
            {'instance': documents.INSTANCE, 'permit_hash': '66' * 32},
        ):
            self.refused(verified.check_source, **changed)
