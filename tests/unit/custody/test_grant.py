# SPDX-License-Identifier: Apache-2.0
import unittest

from korora_nova import errors
from korora_nova.custody import documents as sealed
from korora_nova.custody import grant, ledger
from tests.support import documents


class GrantTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()

    def verified(self, incarnation=None, ring=None, **changes):
        return grant.verify_grant(
            sealed.sign(documents.a_grant(**changes), self.keys.custody),
            ring or self.keys.ring,
            incarnation=incarnation,
        )

    def refused(self, function, *args, **kwargs):
        with self.assertRaises(errors.CustodyError) as caught:
            function(*args, **kwargs)
        self.assertEqual('DOCUMENT_INVALID', caught.exception.reason)
        return caught.exception

    def test_row(self):
        """Its version is the key's epoch."""
        for version, prev in ((1, '0' * 64), (4, '11' * 32)):
            verified = self.verified(version=version, prev=prev)
            self.assertEqual(
                ledger.LedgerRow(
                    instance=documents.INSTANCE,
                    holder='h1',
                    epoch=version,
                    version=version,
                    head=verified.hash,
                    claim=documents.MSK,
                ),
                verified.row,
            )

    def test_refusals(self):
        for change in (
            {'version': 0},
            {'version': 2},
            {'version': 1.5},
            {'version': 2**63},
            {'prev': '11' * 32},
            {'host': ''},
            {'key': ''},
            {'approval_kid': ''},
        ):
            self.refused(self.verified, **change)
        self.refused(self.verified, ring=documents.Keys().ring)
        self.refused(self.verified, incarnation=documents.OTHER)

    def test_host_compares_every_field(self):
        good = {
            'host': 'h1',
            'ak_name': bytes.fromhex(documents.AK_1),
            'instance': documents.INSTANCE,
            'key': documents.MSK,
        }
        verified = self.verified()
        verified.check_host(**good)
        for field, value in good.items():
            other = b'x' if isinstance(value, bytes) else 'x'
            error = self.refused(verified.check_host, **{**good, field: other})
            self.assertEqual(
                'ak' if field == 'ak_name' else field, error.details['field']
            )
