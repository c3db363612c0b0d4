# SPDX-License-Identifier: Apache-2.0
import unittest

import jwt

from korora_nova import errors
from korora_nova.custody import documents as sealed
from korora_nova.custody import ledger, moves, permit
from korora_nova.rats.tpm2 import policy as tpm2_policy
from tests.support import documents


class PermitTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()

    def verify(self, incarnation=None, ring=None, **changes):
        token = sealed.sign(documents.a_permit(**changes), self.keys.custody)
        return permit.verify_permit(
            token, ring or self.keys.ring, incarnation=incarnation
        )

    def refused(self, reason, function, **kwargs):
        with self.assertRaises(errors.CustodyError) as caught:
            function(**kwargs)
        self.assertEqual(reason, caught.exception.reason)
        return caught.exception

    def test_round_trip(self):
        verified = self.verify(incarnation=documents.INCARNATION)
        self.assertEqual(documents.a_permit(), verified.content)
        self.assertEqual(64, len(verified.hash))

    def test_kind(self):
        """That of a live migration is read by older agents."""
        for kind in moves.Move:
            verified = self.verify(kind=kind)
            self.assertIs(kind, verified.content.kind)
            claims = jwt.decode(
                verified.token, options={'verify_signature': False}
            )
            self.assertEqual(kind != moves.Move.LIVE, 'kind' in claims)
        self.refused('PERMIT_INVALID', self.verify, kind='warm')

    def test_row(self):
        """Who holds the key stays; its version is the new epoch."""
        verified = self.verify()
        self.assertEqual(
            ledger.LedgerRow(
                instance=documents.INSTANCE,
                holder='h1',
                epoch=3,
                version=5,
                head=verified.hash,
                pending=documents.MIGRATION,
            ),
            verified.row,
        )
        self.assertEqual(5, verified.content.new_epoch)

    def test_forged(self):
        self.refused('PERMIT_INVALID', self.verify, ring=documents.Keys().ring)

    def test_other_incarnation(self):
        self.refused(
            'PERMIT_INVALID', self.verify, incarnation=documents.OTHER
        )

    def test_contradictions(self):
        for change in (
            {'version': 3},
            {'dest': 'h1'},
            {'version': 1},
            {'prev': '0' * 64},
        ):
            self.refused('PERMIT_INVALID', self.verify, **change)

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
            ('source_reset_restart', ''),
            ('version', 0),
            ('prev', ''),
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
