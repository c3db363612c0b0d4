# SPDX-License-Identifier: Apache-2.0
"""The whole life of a protected server, through the API."""

import uuid

from korora_nova.custody import permit, receipt
from korora_nova.rats.signed import result
from tests.functional.api import base

SERVER = str(uuid.UUID(int=1))


class TestFlow(base.ApiTestCase):
    def test_life(self):
        one, two = self.host('h1'), self.host('h2')
        ring = self.korora.ring
        answer = one.attest_now()
        verified = result.verify_result(
            answer['result'],
            ring,
            host='h1',
            cloud=ring.cloud,
            now=self.korora.clock(),
        )
        verified.require_affirming(self.korora.clock())
        # The answer carries the next challenge: one request per interval.
        one.say(
            'attest',
            answer['next_challenge']['challenge'],
            receipt_head='',
            held=[],
        )

        self.assertEqual(1, one.claim(SERVER)['epoch'])
        (approval,) = one.approve((SERVER, 1))
        self.assertEqual(SERVER, approval['instance'])

        migration, answer = self.handed_over(one, two, SERVER)
        allowed = permit.verify_permit(
            answer['permit'], ring, cloud=ring.cloud
        )
        self.assertEqual(2, allowed.permit.new_epoch)
        with self.refused('CUSTODY_PENDING'):
            one.approve((SERVER, 1))
        signed = two.state(migration, 'activated')
        self.assertEqual(signed, one.state(migration, 'stream_completed'))
        decided = receipt.verify_receipt(signed, ring, cloud=ring.cloud)
        self.assertEqual('committed', decided.receipt.outcome)
        self.assertEqual(allowed.hash, decided.receipt.permit_hash)
        with self.refused('NOT_HOLDER'):
            one.approve((SERVER, 1))
        two.approve((SERVER, 2))
        two.attest_now(head=decided.token, held=((SERVER, 2),))
        gone = two.delete(SERVER)
        self.assertEqual(gone, two.delete(SERVER))
        with self.refused('NOT_HOLDER'):
            two.approve((SERVER, 2))
        tokens = self.admin.list_receipts()
        self.assertEqual(2, len(receipt.verify_chain(tokens, ring)))
        self.assertEqual(3, one.claim(SERVER)['epoch'])
