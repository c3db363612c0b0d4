# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import unittest

from korora_nova import errors
from korora_nova.custody import approval
from korora_nova.rats.signed import keys
from korora_nova.rats.tpm2 import policy as tpm2_policy
from tests.support import documents

REF = b'r' * 32


class ApprovalTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = documents.Keys()
        cls.good = cls.sign(cls.keys.approval)

    @staticmethod
    def sign(key, **changes):
        return approval.sign_approval(
            **{
                'instance': documents.INSTANCE,
                'epoch': 3,
                'pcr_digest': b'p' * 32,
                'reset_restart': bytes(8),
                'deadline': 99000,
                'ref': REF,
                'key': key,
                **changes,
            }
        )

    def refused(self, value, **changes):
        with self.assertRaises(errors.CustodyError) as caught:
            approval.verify_approval(
                value,
                self.keys.ring,
                **{
                    'instance': documents.INSTANCE,
                    'epoch': 3,
                    'ref': REF,
                    **changes,
                },
            )
        self.assertEqual('APPROVAL_INVALID', caught.exception.reason)

    def test_good(self):
        key = approval.verify_approval(
            self.good,
            self.keys.ring,
            instance=documents.INSTANCE,
            epoch=3,
            ref=REF,
        )
        self.assertEqual(self.keys.approval.public, key)
        self.assertEqual(
            tpm2_policy.state_policy(b'p' * 32, bytes(8), 99000, 0x15E),
            self.good.approved_policy,
        )

    def test_round_trip(self):
        document = json.loads(json.dumps(self.good.to_json()))
        self.assertEqual(self.good, approval.Approval.from_json(document))

    def test_other_server_epoch_or_host(self):
        """T12, T11, T37."""
        self.refused(self.good, instance=documents.OTHER)
        self.refused(self.good, epoch=4)
        self.refused(self.good, ref=b's' * 32)

    def test_everything_signed(self):
        for change in (
            {'pcr_digest': b'q' * 32},
            {'deadline': 99001},
            {'reset_restart': b'\1' * 8},
            {'signature_r': b'\1' * 32},
            {'signature_s': bytes(32)},
        ):
            self.refused(dataclasses.replace(self.good, **change))
        self.refused(
            dataclasses.replace(self.good, ref=b's' * 32), ref=b's' * 32
        )

    def test_keys_of_other_uses(self):
        for key in (
            self.keys.result,
            self.keys.custody,
            keys.SigningKey.generate(),
        ):
            self.refused(self.sign(key))
            self.refused(
                dataclasses.replace(
                    self.sign(key), key_kid=self.keys.approval.kid
                )
            )

    def test_malformed(self):
        document = self.good.to_json()
        for field in document:
            less = {k: v for k, v in document.items() if k != field}
            for bad in (
                less,
                {**document, field: None},
                {**document, field: 'zz'},
            ):
                with self.assertRaises(errors.CustodyError) as caught:
                    approval.Approval.from_json(bad)
                self.assertEqual('APPROVAL_INVALID', caught.exception.reason)

    def test_odd_inputs(self):
        for change in (
            {'ref': b'short'},
            {'pcr_digest': b''},
            {'reset_restart': b''},
            {'deadline': -1},
        ):
            with self.assertRaises(ValueError):
                self.sign(self.keys.approval, **change)
