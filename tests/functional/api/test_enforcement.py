# SPDX-License-Identifier: Apache-2.0
"""Whether nova-compute enforces is attested, and required (H3, T47)."""

import json
import uuid

from korora_nova.rats.signed import result
from tests.functional.api import base
from tests.support import agent

DRIFT = agent.ENFORCER._replace(drift='[NOVA_DRIFT] differs in: spawn.')


class Base(base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.h1, self.h2 = self.host('h1'), self.host('h2')

    def says(self, host, enforcer) -> None:
        host.enforcer = enforcer
        host.attest_now()

    def missing(self, host) -> str:
        """What the signed result says, and what operators see."""
        verified = result.verify_result(
            self.admin.get_result(host.name)['token'],
            self.korora.service.ring,
            host=host.name,
            cloud=self.korora.service.cloud,
            now=self.korora.clock(),
        )
        self.assertEqual(
            not verified.result.enforcer,
            self.admin.get_host(host.name)['enforcing'],
        )
        return verified.result.enforcer


class TestResult(Base):
    def test_life(self) -> None:
        self.assertEqual('', self.missing(self.h1))
        shown = self.admin.get_host('h1')['enforcer']
        self.assertEqual(agent.ENFORCER.driver, shown['driver'])
        self.says(self.h1, None)
        self.assertEqual('ENFORCER_ABSENT', self.missing(self.h1))
        self.assertIsNone(self.admin.get_host('h1')['enforcer'])
        self.says(self.h1, DRIFT)
        self.assertEqual('ENFORCER_DRIFT', self.missing(self.h1))
        self.assertEqual(
            DRIFT.drift, self.admin.get_host('h1')['enforcer']['drift']
        )
        self.says(self.h1, agent.ENFORCER)
        self.assertEqual('', self.missing(self.h1))

    def test_the_host_is_trusted_all_the_same(self) -> None:
        """What it is, and what runs on it, are two statements."""
        self.says(self.h1, None)
        self.assertEqual('affirming', self.tier('h1'))
        instance = str(uuid.uuid4())
        self.h1.claim(instance)

    def test_other_purposes_repeat_it(self) -> None:
        self.h1.claim(str(uuid.uuid4()))
        self.assertEqual('', self.missing(self.h1))
        self.says(self.h1, None)
        self.h1.claim(str(uuid.uuid4()))
        self.assertEqual('ENFORCER_ABSENT', self.missing(self.h1))

    def test_it_ends_by_itself(self) -> None:
        """The agent that reports nothing more may still do all else."""
        self.korora.clock.advance(170)
        self.h1.claim(str(uuid.uuid4()))
        self.assertEqual('', self.missing(self.h1))
        self.korora.clock.advance(20)
        self.h1.claim(str(uuid.uuid4()))
        self.assertEqual('ENFORCER_ABSENT', self.missing(self.h1))

    def test_what_was_heard_long_ago(self) -> None:
        self.says(self.h1, agent.ENFORCER._replace(seen=181))
        self.assertEqual('ENFORCER_ABSENT', self.missing(self.h1))

    def test_nobody_else_can_say_it(self) -> None:
        """It is in the body that the quote is over."""
        challenge = self.h1.challenge('steady')
        text = json.dumps({'version': 1, 'known': []})
        message = self.h1.message('attest', text, challenge)
        message['body'] = json.dumps(
            {
                'version': 1,
                'known': [],
                'enforcer': agent.ENFORCER._asdict(),
            }
        )
        with self.refused('QUOTE_NONCE'):
            self.h1.api.evidence('h1', message)

    def test_malformed(self) -> None:
        for changed in ({'seen': -1}, {'drift': 'a\nb'}, {'driver': ''}):
            fields = {**agent.ENFORCER._asdict(), **changed}
            with self.refused('INVALID_REQUEST'):
                self.h1.attest_now(enforcer=fields)

    def test_evicted(self) -> None:
        self.admin.evict_host('h1', 'burnt', dry_run=False, after='')
        self.assertEqual('ENFORCER_ABSENT', self.missing(self.h1))


class TestHandover(Base):
    def setUp(self) -> None:
        super().setUp()
        self.instance = str(uuid.uuid4())
        self.h1.claim(self.instance)

    def test_source_without(self) -> None:
        for said, reason in ((None, 'ABSENT'), (DRIFT, 'DRIFT')):
            self.says(self.h1, said)
            with self.refused(f'ENFORCER_{reason}'):
                self.h2.receive(str(uuid.uuid4()), self.instance, 'h1')
        self.says(self.h1, agent.ENFORCER)
        self.moved(self.h1, self.h2, self.instance)

    def test_destination_without(self) -> None:
        self.says(self.h2, None)
        with self.refused('ENFORCER_ABSENT'):
            self.handed_over(self.h1, self.h2, self.instance)
        self.says(self.h2, agent.ENFORCER)
        self.moved(self.h1, self.h2, self.instance)

    def test_destination_that_loses_it(self) -> None:
        """Between the permit and the stream."""
        _, permit = self.sealed_over(self.h1, self.h2, self.instance)
        self.says(self.h2, DRIFT)
        with self.refused('ENFORCER_DRIFT'):
            self.h1.start(permit)
        self.says(self.h2, agent.ENFORCER)
        self.h1.start(permit)


class TestTransition(Base):
    """Agents that do not tell it count, until the option goes."""

    SETTINGS = {'require_enforcer': False}

    def test_silence_counts(self) -> None:
        self.says(self.h1, None)
        self.says(self.h2, None)
        self.assertEqual('', self.missing(self.h1))
        instance = str(uuid.uuid4())
        self.h1.claim(instance)
        self.moved(self.h1, self.h2, instance)

    def test_drift_counts_too(self) -> None:
        self.says(self.h1, DRIFT)
        self.assertEqual('ENFORCER_DRIFT', self.missing(self.h1))
