# SPDX-License-Identifier: Apache-2.0
"""Rows 3 to 5: challenges, evidence and results."""

import base64
import json
import uuid

import sqlalchemy as sa

from korora_nova.rats.signed import result
from korora_nova.verifier.db import models
from tests.functional.api import base

SERVER = str(uuid.UUID(int=1))
KEY = '000b' + '11' * 32
REPORT = json.dumps({'version': 1, 'known': []})


class TestChallenges(base.ApiTestCase):
    def test_used_once(self):
        """T8: an old quote is shown again."""
        host = self.host('h1')
        message = host.message('attest', REPORT, host.challenge())
        host.api.evidence('h1', message)
        with self.refused('CHALLENGE_USED'):
            host.api.evidence('h1', message)

    def test_spent_by_bad_evidence(self):
        host = self.host('h1')
        challenge = host.challenge()
        message = host.message('attest', REPORT, challenge)
        message['evidence']['pcrs']['3'] = '11' * 32
        with self.refused('QUOTE_DIGEST'):
            host.api.evidence('h1', message)
        with self.refused('CHALLENGE_USED'):
            host.say('attest', challenge, known=[])

    def test_of_another_host(self):
        """T8: an old quote is shown again."""
        one, two = self.host('h1'), self.host('h2')
        with self.refused('CHALLENGE_UNKNOWN'):
            one.say('attest', two.challenge(), known=[])

    def test_never_issued(self):
        with self.refused('CHALLENGE_UNKNOWN'):
            self.host('h1').say('attest', 'ab' * 32, known=[])

    def test_steady_does_not_serve_custody(self):
        host = self.host('h1')
        with self.refused('CHALLENGE_UNKNOWN'):
            host.say(
                'claim', host.challenge('steady'), instance=SERVER, key=KEY
            )

    def test_on_demand_expires(self):
        """T8: an old quote is shown again."""
        host = self.host('h1')
        challenge = host.challenge()
        self.korora.clock.advance(11)
        with self.refused('CHALLENGE_EXPIRED'):
            host.say('claim', challenge, instance=SERVER, key=KEY)

    def test_steady_expires(self):
        host = self.host('h1')
        challenge = host.challenge('steady')
        self.korora.clock.advance(601)
        with self.refused('CHALLENGE_EXPIRED'):
            host.say('attest', challenge, known=[])

    def test_clock_of_the_service_set_back(self):
        host = self.host('h1')
        challenge = host.challenge()
        self.korora.clock.advance(-60)
        with self.refused('CHALLENGE_EXPIRED'):
            host.say('claim', challenge, instance=SERVER, key=KEY)

    def test_age_counts_from_the_issue(self):
        host = self.host('h1')
        challenge = host.challenge('steady')
        self.korora.clock.advance(179)
        host.say('attest', challenge, known=[])
        self.assertEqual('affirming', self.tier('h1'))
        self.korora.clock.advance(2)
        self.assertEqual('none', self.tier('h1'))

    def test_steady_state_keeps_few_of_them(self):
        host = self.host('h1')
        following = host.challenge('steady')
        for _ in range(20):
            answer = host.say('attest', following, known=[])
            following = answer['next_challenge']['challenge']
            self.korora.clock.advance(120)
        table = models.Challenge
        with self.korora.service.db.read() as session:
            self.assertLess(
                session.scalar(sa.select(sa.func.count()).select_from(table)),
                20,
            )

    def test_malformed_request_spends_nothing(self):
        host = self.host('h1')
        challenge = host.challenge()
        message = host.message('attest', '{"version":1}', challenge)
        with self.refused('INVALID_REQUEST'):
            host.api.evidence('h1', message)
        host.say('attest', challenge, known=[])


class TestEvidence(base.ApiTestCase):
    def test_body_is_bound_exactly(self):
        host = self.host('h1')
        message = host.message('attest', REPORT, host.challenge())
        message['body'] = REPORT.replace(' ', '')
        with self.refused('QUOTE_NONCE'):
            host.api.evidence('h1', message)

    def test_purpose_is_bound(self):
        host = self.host('h1')
        body = json.dumps(
            {'version': 1, 'migration': SERVER, 'statement': 'activated'}
        )
        message = host.message('start', body, host.challenge())
        message['purpose'] = 'tell'
        with self.refused('QUOTE_NONCE'):
            host.api.evidence('h1', message)

    def test_relayed_quote_of_another_host(self):
        """T15: another machine's TPM answers."""
        one, two = self.host('h1'), self.host('h2')
        challenge = one.challenge()
        two.name = 'h1'
        message = two.message('attest', REPORT, challenge)
        with self.refused('QUOTE_SIGNATURE'):
            one.api.evidence('h1', message)
        self.assertEqual('affirming', self.tier('h1'))

    def test_older_quote_loses_the_race(self):
        host = self.host('h1')
        slow = host.message('attest', REPORT, host.challenge())
        host.attest_now()
        before = self.admin.get_result('h1')
        with self.refused('RETRY'):
            host.api.evidence('h1', slow)
        self.assertEqual(before, self.admin.get_result('h1'))
        host.attest_now()

    def test_quote_of_an_earlier_boot(self):
        """T34: a quote is held back over a reboot."""
        host = self.host('h1')
        stale = host.message('attest', REPORT, host.challenge('steady'))
        host.reboot()
        host.attest_now()
        with self.refused('CLOCK_WENT_BACK'):
            host.api.evidence('h1', stale)
        self.assertEqual('affirming', self.tier('h1'))

    def test_run_time_tampering(self):
        """T17."""
        host = self.host('h1')
        host.claim(SERVER)
        host.approve((SERVER, 1))
        host.measure('/tmp/rootkit')
        with self.refused('HOST_UNTRUSTED'):
            host.approve((SERVER, 1))
        shown = self.admin.get_host('h1')
        self.assertEqual(
            ('contraindicated', ['IMA_UNKNOWN_FILE']),
            (shown['tier'], shown['reasons']),
        )

    def test_pcr_10_extended_by_what_is_not_in_the_log(self):
        host = self.host('h1')
        host.tpm.extend(10, b'\1' * 32)
        host.attest_now()
        self.assertIn('IMA_LOG_REPLAY', self.admin.get_host('h1')['reasons'])

    def test_truncated_list(self):
        """T14: measurements are left out of the list."""
        host = self.host('h1')
        whole = host.ima_log
        host.measure('/tmp/rootkit')
        host.ima_log = whole
        host.attest_now()
        self.assertEqual('contraindicated', self.tier('h1'))

    def test_other_boot(self):
        host = self.host('h1')
        host.tpm.extend(4, b'\1' * 32)
        host.attest_now()
        shown = self.admin.get_host('h1')
        self.assertEqual('contraindicated', shown['tier'])
        self.assertIn('UEFI_LOG_REPLAY', shown['reasons'])

    def test_no_reference(self):
        host = self.stranger('h1')
        host.join(self.admin)
        host.attest_now()
        self.assertEqual(
            ['NO_REFERENCE'], self.admin.get_host('h1')['reasons']
        )

    def test_contraindicated_result_is_signed_and_refused(self):
        host = self.host('h1')
        host.measure('/tmp/rootkit')
        token = host.attest_now()['result']
        ring = self.korora.ring
        verified = result.verify_result(
            token, ring, host='h1', cloud=ring.cloud, now=self.korora.clock()
        )
        self.assertEqual('contraindicated', verified.tier)

    def test_trusted_again_after_a_reboot(self):
        host = self.host('h1')
        host.measure('/tmp/rootkit')
        host.attest_now()
        host.reboot()
        host.attest_now()
        self.assertEqual('affirming', self.tier('h1'))


class TestResults(base.ApiTestCase):
    def test_unchanged(self):
        host = self.host('h1')
        relying = self.korora.client_as('service')
        first = relying.results()
        self.assertIsNone(relying.results(etag=first.etag))
        host.attest_now()
        second = relying.results(etag=first.etag)
        self.assertGreater(second.seq, first.seq)
        self.assertNotEqual(first.etag, second.etag)

    def test_deletion_is_a_change(self):
        self.host('h1')
        first = self.admin.results()
        self.admin.delete_host('h1')
        self.assertEqual((), self.admin.results(etag=first.etag).results)

    def test_changes_since(self):
        one = self.host('h1')
        self.host('h2')
        seq = self.admin.results().seq
        self.assertEqual((), self.admin.results(changes_since=seq).results)
        one.attest_now()
        self.assertEqual(
            ['h1'],
            [
                row['host']
                for row in self.admin.results(changes_since=seq).results
            ],
        )

    def test_changes_since_a_time(self):
        one = self.host('h1')
        self.host('h2')
        self.korora.clock.advance(3600)
        one.attest_now()
        self.assertEqual(
            ['h1'],
            [
                row['host']
                for row in self.admin.results(
                    changes_since='2026-01-01T00:30:00Z'
                ).results
            ],
        )

    def test_stale_result_is_none(self):
        """T19: a good result outlives the service that gave it."""
        self.host('h1')
        self.korora.clock.advance(181)
        (row,) = self.admin.list_results()
        self.assertEqual(
            ('none', ['RESULT_EXPIRED']), (row['tier'], row['reasons'])
        )
        self.assertEqual(
            {**row, 'findings': [], 'sources': []},
            self.admin.get_result('h1'),
        )

    def test_findings_say_what_is_wrong(self):
        host = self.host('h1')
        host.measure('/tmp/rootkit')
        host.attest_now()
        shown = self.admin.get_result('h1')
        (finding,) = shown['findings']
        self.assertEqual('IMA_UNKNOWN_FILE', finding['reason'])
        self.assertIn('/tmp/rootkit', finding['message'])
        self.assertNotIn('findings', self.admin.list_results()[0])
        claims = shown['token'].split('.')[1]
        self.assertNotIn(b'rootkit', base64.urlsafe_b64decode(claims + '=='))

    def test_findings_are_bounded(self):
        host = self.host('h1')
        self.admin.delete_reference('golden')
        for number in range(100):
            host.measure('/tmp/' + str(number) * 900)
            host.attest_now()
        self.assertLess(
            len(json.dumps(self.admin.get_result('h1')['findings'])), 200_000
        )


class TestReferences(base.ApiTestCase):
    def test_learned_is_what_was_attested(self):
        host = self.host('h1')
        learned = self.admin.get_reference('golden')
        self.assertEqual([host.tpm.pcrs[4].hex()], learned['pcrs']['4'])
        self.assertEqual(2, len(learned['ima_digests']))
        (listed,) = self.admin.list_references()
        self.assertEqual(
            ('golden', 'h1', 2),
            (listed['name'], listed['host'], listed['ima_digest_count']),
        )

    def test_delete_takes_trust_away(self):
        host = self.host('h1')
        self.admin.delete_reference('golden')
        host.attest_now()
        self.assertEqual(
            ['NO_REFERENCE'], self.admin.get_host('h1')['reasons']
        )

    def test_name_is_taken(self):
        self.host('h1')
        with self.refused('INVALID_REQUEST'):
            self.admin.create_reference('golden', 'h1')

    def test_other_worker_sees_a_new_one(self):
        host = self.host('h1')
        host.measure('/usr/bin/new')
        host.attest_now()
        old = host.api
        self.korora.restart()
        self.korora.client_as('admin').create_reference('newer', 'h1')
        host.api = old
        host.attest_now()
        self.assertEqual('affirming', self.tier('h1'))

    def test_nothing_to_learn_from(self):
        with self.refused('HOST_UNKNOWN'):
            self.admin.create_reference('x', 'h9')
        self.stranger('h1').join(self.admin)
        with self.refused('RESULT_MISSING'):
            self.admin.create_reference('x', 'h1')
        for call in (self.admin.get_reference, self.admin.delete_reference):
            with self.refused('NOT_FOUND'):
                call('x')
