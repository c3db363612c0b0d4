# SPDX-License-Identifier: Apache-2.0
import dataclasses
import unittest

from korora_nova import errors
from korora_nova.custody import permit
from korora_nova.rats.tpm2 import policy as tpm2_policy
from tests.support import documents


class PermitTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()

    def verify(self, cloud=documents.CLOUD, incarnation=None, **changes):
        token = permit.sign_permit(
            documents.a_permit(**changes), self.keys.custody
        )
        return permit.verify_permit(
            token, self.keys.ring, cloud=cloud, incarnation=incarnation
        )

    def refused(self, reason, function, **kwargs):
        with self.assertRaises(errors.CustodyError) as caught:
            function(**kwargs)
        self.assertEqual(reason, caught.exception.reason)
        return caught.exception

    def test_round_trip(self):
        verified = self.verify(incarnation=documents.INCARNATION)
        self.assertEqual(
            dataclasses.replace(
                documents.a_permit(), kid=self.keys.custody.kid
            ),
            verified.permit,
        )
        self.assertEqual(64, len(verified.hash))

    def test_forged(self):
        token = permit.sign_permit(
            documents.a_permit(), documents.Keys().custody
        )
        self.refused(
            'PERMIT_INVALID',
            permit.verify_permit,
            token=token,
            ring=self.keys.ring,
            cloud=documents.CLOUD,
        )

    def test_other_cloud_or_incarnation(self):
        self.refused('PERMIT_INVALID', self.verify, cloud=documents.OTHER)
        self.refused(
            'PERMIT_INVALID', self.verify, incarnation=documents.OTHER
        )

    def test_contradictions(self):
        self.refused('PERMIT_INVALID', self.verify, new_epoch=3)
        self.refused('PERMIT_INVALID', self.verify, dest='h1')

    def test_malformed_claims(self):
        for field, value in (
            ('migration', 'x'),
            ('instance', documents.INSTANCE + '\n'),
            ('nonce', '44' * 31),
            ('ak_dest', 'AB' * 34),
            ('epoch', 0),
            ('epoch', True),
            ('epoch', 1.5),
            ('dest', ''),
            ('dest', 'a b'),
            ('dest_deadline', -1),
            ('dest_reset_restart', '00' * 4),
            ('address', ''),
            ('tls_name', 'a\nb'),
            ('msk_name', ''),
        ):
            self.refused('PERMIT_INVALID', self.verify, **{field: value})

    def test_transit_policy(self):
        self.assertEqual(
            tpm2_policy.state_policy(
                b'\x55' * 32, bytes.fromhex('0000000700000001'), 99000, None
            ),
            self.verify().transit_policy,
        )

    def test_source_compares_every_field(self):
        good = {
            'host': 'h1',
            'ak_name': bytes.fromhex(documents.AK_1),
            'instance': documents.INSTANCE,
            'epoch': 3,
            'migration': documents.MIGRATION,
            'nonce': '44' * 32,
            'dest': 'h2',
            'msk_name': bytes.fromhex(documents.MSK),
        }
        verified = self.verify()
        verified.check_source(**good)
        self.compares(verified.check_source, good)

    def test_dest_compares_every_field(self):
        good = {
            'host': 'h2',
            'ak_name': bytes.fromhex(documents.AK_2),
            'instance': documents.INSTANCE,
            'source': 'h1',
            'migration': documents.MIGRATION,
            'msk_name': bytes.fromhex(documents.MSK),
        }
        verified = self.verify()
        verified.check_dest(**good)
        self.compares(verified.check_dest, good)

    def compares(self, check, good):
        for field, value in good.items():
            other = {str: 'x', int: 9, bytes: b'x'}[type(value)]
            self.refused('PERMIT_MISMATCH', check, **{**good, field: other})

    def test_stream(self):
        """T33: the stream goes where the permit says."""
        good = {'dest': 'h2', 'address': '192.0.2.2', 'tls_name': 'h2.example'}
        verified = self.verify()
        verified.check_stream(**good)
        for change in (
            {'dest': 'h3'},
            {'address': '192.0.2.3'},
            {'tls_name': 'h3.example'},
            {'tls_name': None},
        ):
            self.refused(
                'ADDRESS_MISMATCH', verified.check_stream, **{**good, **change}
            )
        self.verify(tls_name='').check_stream(
            dest='h2', address='192.0.2.2', tls_name=None
        )
