# SPDX-License-Identifier: Apache-2.0
import unittest

from korora_nova import errors
from korora_nova.custody import receipt
from tests.support import documents


class ReceiptTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()
        cls.chain = cls.build(5)

    @classmethod
    def build(cls, count, key=None):
        chain, prev = [], receipt.GENESIS
        for seq in range(1, count + 1):
            token = receipt.sign_receipt(
                documents.a_receipt(seq=seq, prev=prev, epoch=seq + 1),
                key or cls.keys.custody,
            )
            chain.append(token)
            prev = cls.verified(token).hash if key is None else prev
        return chain

    @classmethod
    def verified(cls, token):
        return receipt.verify_receipt(
            token, cls.keys.ring, cloud=documents.CLOUD
        )

    def a_verified(self, **changes):
        return self.verified(
            receipt.sign_receipt(
                documents.a_receipt(**changes), self.keys.custody
            )
        )

    def refused(self, function, *args, **kwargs):
        with self.assertRaises(errors.CustodyError) as caught:
            function(*args, **kwargs)
        self.assertEqual('RECEIPT_INVALID', caught.exception.reason)
        return caught.exception

    def breaks(self, chain, seq, **kwargs):
        error = self.refused(
            receipt.verify_chain, chain, self.keys.ring, **kwargs
        )
        self.assertEqual(str(seq), error.details['seq'])

    def test_round_trip(self):
        self.assertEqual(documents.a_receipt(), self.a_verified().receipt)
        deleted = documents.a_receipt(
            outcome='deleted', migration='', dest='', permit_hash=''
        )
        self.assertEqual(
            deleted,
            self.a_verified(
                outcome='deleted', migration='', dest='', permit_hash=''
            ).receipt,
        )

    def test_refusals(self):
        for change in (
            {'seq': 0},
            {'prev': ''},
            {'outcome': 'lost'},
            {'instance': ''},
            {'epoch': 0},
            {'source': ''},
        ):
            self.refused(self.a_verified, **change)
        self.refused(
            receipt.verify_receipt,
            self.chain[0],
            self.keys.ring,
            cloud=documents.OTHER,
        )
        self.refused(
            receipt.verify_receipt,
            self.chain[0],
            self.keys.ring,
            cloud=documents.CLOUD,
            incarnation=documents.OTHER,
        )
        self.refused(self.verified, self.build(1, documents.Keys().custody)[0])

    def test_chain(self):
        """T25: an edit, a gap or another order is found and named."""
        chain = self.chain
        self.assertEqual(
            [1, 2, 3, 4, 5],
            [
                item.receipt.seq
                for item in receipt.verify_chain(chain, self.keys.ring)
            ],
        )
        self.assertEqual((), receipt.verify_chain([], self.keys.ring))
        self.breaks(chain[:2] + chain[3:], 3)
        self.breaks(chain[1:], 1)
        self.breaks([chain[0], chain[2], chain[1]], 2)
        self.breaks(chain[:2] + chain[1:], 3)
        edited = receipt.sign_receipt(
            documents.a_receipt(
                seq=2, prev=self.verified(chain[0]).hash, epoch=9
            ),
            self.keys.custody,
        )
        self.breaks([chain[0], edited, *chain[2:]], 3)
        self.breaks([chain[0], chain[1][:-4] + 'AAAA'], 2)
        self.breaks([chain[0], 'rubbish'], 2)

    def test_part_of_a_chain(self):
        second = self.verified(self.chain[1])
        self.assertEqual(
            3,
            len(
                receipt.verify_chain(
                    self.chain[2:], self.keys.ring, after=second
                )
            ),
        )
        self.breaks(self.chain[3:], 3, after=second)

    def test_source_erases_on_a_superseding_commit_only(self):
        """I11."""
        good = {
            'instance': documents.INSTANCE,
            'migration': documents.MIGRATION,
            'held_epoch': 3,
        }
        self.a_verified().check_committed(**good)
        for outcome in ('aborted', 'deleted'):
            self.refused(
                self.a_verified(outcome=outcome).check_committed, **good
            )
        for change in (
            {'instance': documents.OTHER},
            {'migration': documents.OTHER},
            {'held_epoch': 5},
        ):
            self.refused(
                self.a_verified().check_committed, **{**good, **change}
            )

    def test_dest_erases_on_its_own_abort_only(self):
        """I11."""
        good = {
            'instance': documents.INSTANCE,
            'migration': documents.MIGRATION,
            'epoch': 5,
        }
        self.a_verified(outcome='aborted').check_aborted(**good)
        self.refused(self.a_verified().check_aborted, **good)
        for change in (
            {'instance': documents.OTHER},
            {'epoch': 4},
            {'migration': documents.OTHER},
        ):
            self.refused(
                self.a_verified(outcome='aborted').check_aborted,
                **{**good, **change},
            )

    def test_holder_erases_on_the_deletion_only(self):
        """I11."""
        good = {'instance': documents.INSTANCE, 'epoch': 5}
        deletion = {'outcome': 'deleted', 'migration': '', 'dest': ''}
        self.a_verified(**deletion).check_deleted(**good)
        self.refused(self.a_verified().check_deleted, **good)
        for change in ({'instance': documents.OTHER}, {'epoch': 4}):
            self.refused(
                self.a_verified(**deletion).check_deleted, **{**good, **change}
            )
