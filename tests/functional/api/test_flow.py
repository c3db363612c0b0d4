# SPDX-License-Identifier: Apache-2.0
"""The whole life of a protected server, through the API."""

import uuid

from korora_nova.custody import chain
from korora_nova.rats.signed import result
from korora_nova.verifier.custody import log
from tests.functional.api import base

SERVER = str(uuid.UUID(int=1))


class TestFlow(base.ApiTestCase):
    def test_life(self):
        one, two = self.host('h1'), self.host('h2')
        ring = self.korora.ring
        answer = one.attest_now()
        self.assert_affirming(answer['result'], 'h1')
        # The answer carries the next challenge: one request per interval.
        one.say('attest', answer['next_challenge']['challenge'], known=[])

        grant = one.claim(SERVER)
        self.assertEqual(('h1', 1), (grant.row.holder, grant.row.epoch))
        (approval,) = one.approve((SERVER, 1))
        self.assertEqual(SERVER, approval['instance'])

        migration, answer = self.handed_over(one, two, SERVER)
        permit = one.read(answer['permit'])
        self.assertEqual(2, permit.content.new_epoch)
        with self.refused('CUSTODY_PENDING'):
            one.approve((SERVER, 1))
        with self.refused('NOT_SEALED'):
            one.start(permit)
        two.sealed(permit)
        started = one.start(permit)
        self.assert_affirming(started['peer'], 'h2')
        signed = two.state(migration, 'activated')
        self.assertEqual(signed, one.state(migration, 'stream_completed'))
        decided = one.read(signed)
        self.assertEqual('committed', decided.content.outcome)
        self.assertEqual(permit.hash, decided.content.permit_hash)
        with self.refused('NOT_HOLDER'):
            one.approve((SERVER, 1))
        two.approve((SERVER, 2))
        answer = two.heal()
        self.assertEqual(([], []), (answer['wanted'], answer['news']))
        gone = two.delete(SERVER)
        self.assertEqual(gone, two.delete(SERVER))
        with self.refused('NOT_HOLDER'):
            two.approve((SERVER, 2))
        self.assertEqual([signed, gone], self.admin.list_receipts())
        documents = chain.verify_chain(
            [grant.token, permit.token, started['start'], signed, gone], ring
        )
        self.assertEqual(6, one.claim(SERVER).content.version)
        self.assertEqual(5, len(documents))
        report = log.verify(
            self.korora.service.db, ring, self.korora.service.anchor
        )
        report.check()
        self.assertEqual((6, []), (report.documents, report.holes))

    def assert_affirming(self, token: str, host: str) -> None:
        ring, now = self.korora.ring, self.korora.clock()
        verified = result.verify_result(
            token, ring, host=host, cloud=ring.cloud, now=now
        )
        verified.require_affirming(now)
