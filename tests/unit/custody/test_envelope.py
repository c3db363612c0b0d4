# SPDX-License-Identifier: Apache-2.0
import unittest

from korora_nova import errors
from korora_nova.custody import envelope
from korora_nova.secret import Secret
from tests.support import documents


class EnvelopeTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.key = Secret(bytes(range(32)))
        self.sealed = envelope.seal_envelope(
            self.key, Secret(b'p' * 512), b'aad', lambda size: bytes(size)
        )

    def refused(self, key, sealed, aad):
        with self.assertRaises(errors.CustodyError) as caught:
            envelope.open_envelope(key, sealed, aad)
        self.assertEqual('TRANSFER_INVALID', caught.exception.reason)

    def test_round_trip(self):
        self.assertEqual(
            Secret(b'p' * 512),
            envelope.open_envelope(self.key, self.sealed, b'aad'),
        )
        self.assertEqual(12 + 512 + 16, len(self.sealed))
        self.assertNotIn(b'pppp', self.sealed)

    def test_nonces_are_fresh(self):
        key = envelope.new_key()
        one, two = (
            envelope.seal_envelope(key, Secret(b'x'), b'') for _ in range(2)
        )
        self.assertNotEqual(one, two)
        self.assertNotEqual(key, envelope.new_key())

    def test_every_flipped_bit_is_refused(self):
        """T4: the envelope altered on the way."""
        for at in range(len(self.sealed)):
            bad = bytearray(self.sealed)
            bad[at] ^= 0x80
            self.refused(self.key, bytes(bad), b'aad')

    def test_other_key_or_hand_over(self):
        self.refused(Secret(bytes(32)), self.sealed, b'aad')
        self.refused(Secret(bytes(16)), self.sealed, b'aad')
        self.refused(self.key, self.sealed, b'other')

    def test_sizes(self):
        for sealed in (b'', self.sealed[:27], bytes(5000)):
            self.refused(self.key, sealed, b'aad')
        with self.assertRaises(ValueError):
            envelope.seal_envelope(Secret(bytes(31)), self.key, b'')
        with self.assertRaises(ValueError):
            envelope.seal_envelope(self.key, Secret(bytes(4097)), b'')


class PayloadTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.payload = envelope.TransitPayload(
            documents.MIGRATION,
            documents.INSTANCE,
            5,
            Secret(bytes(range(32))),
        )

    def test_round_trip(self):
        packed = self.payload.pack()
        self.assertEqual(76, len(packed))
        self.assertEqual(self.payload, envelope.TransitPayload.unpack(packed))
        self.assertNotIn('0, 1, 2', repr(self.payload))

    def test_refusals(self):
        good = self.payload.pack().reveal()
        for bad in (
            good[:-1],
            good + b'\0',
            b'KOR2' + good[4:],
            b'',
            good[:36] + bytes(8) + good[44:],
            good[:36] + b'\xff' * 8 + good[44:],
        ):
            with self.assertRaises(errors.CustodyError) as caught:
                envelope.TransitPayload.unpack(Secret(bad))
            self.assertEqual('TRANSFER_INVALID', caught.exception.reason)
        for bad in (
            envelope.TransitPayload('x', 'y', 5, Secret(b'')),
            envelope.TransitPayload(
                documents.MIGRATION, documents.INSTANCE, 0, Secret(bytes(32))
            ),
        ):
            with self.assertRaises(ValueError):
                bad.pack()

    def test_check(self):
        expected = {
            'migration': documents.MIGRATION,
            'instance': documents.INSTANCE,
            'epoch': 5,
        }
        self.payload.check(**expected)
        for change in (
            {'migration': documents.OTHER},
            {'epoch': 4},
            {'instance': documents.OTHER},
        ):
            with self.assertRaises(errors.CustodyError) as caught:
                self.payload.check(**{**expected, **change})
            self.assertEqual('TRANSFER_INVALID', caught.exception.reason)
