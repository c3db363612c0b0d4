# SPDX-License-Identifier: Apache-2.0
"""Odd ends of live migrations from h1 to h2, without Nova's driver."""

import contextlib
import threading
from types import SimpleNamespace

import fixtures

from korora_nova import errors
from korora_nova.relying_party import outgoing
from tests.unit.relying_party import compute, test_streams

EARLIER = '9ab6bd4c-6a49-4f8a-96a2-7e1b4f3c5d10'
LATER = '9ab6bd4c-6a49-4f8a-96a2-7e1b4f3c5d12'


class TestGuestIsGone(test_streams.Base):
    """Nova's monitor says that the stream is complete (M5b)."""

    def setUp(self):
        super().setUp()
        self.prepare()
        self.h2.agent.runs = lambda instance: False
        self.useFixture(fixtures.MockPatchObject(outgoing, 'RETURN', 5.0))

    def operate(self, stock):
        self.stock = stock
        self.send()
        self.assertNotIn('stream_completed', self.h1.agent.ops())
        self.assert_holder_undecided()
        self.assertIn('the key of the vTPM stays', self.log.output)

    def assert_holder_undecided(self):
        row = self.cloud.ledger[compute.UUID]
        self.assertEqual(
            ('h1', compute.MIGRATION), (row['holder'], row['pending'])
        )

    def test_the_call_failed(self):
        def stock(context, instance, dest, post, recover, block, data):
            with contextlib.suppress(ValueError):
                with self.source.operation(instance):
                    raise ValueError('no such domain')
            post(context, instance, dest, block, data)

        self.operate(stock)

    def test_the_call_fails_later(self):
        """The monitor may see it before the call is back."""
        posting = threading.Event()

        def call():
            with contextlib.suppress(ValueError):
                with self.source.operation(self.instance):
                    posting.wait(10)
                    raise ValueError('no such domain')

        def stock(context, instance, dest, post, recover, block, data):
            thread = threading.Thread(target=call)
            thread.start()
            timer = threading.Timer(0.2, posting.set)
            timer.start()
            post(context, instance, dest, block, data)
            thread.join()

        self.operate(stock)

    def test_the_call_does_not_return(self):
        self.useFixture(fixtures.MockPatchObject(outgoing, 'RETURN', 0.1))

        def stock(context, instance, dest, post, recover, block, data):
            with self.source.operation(instance):
                post(context, instance, dest, block, data)

        self.operate(stock)

    def test_never_called(self):
        self.useFixture(fixtures.MockPatchObject(outgoing, 'RETURN', 0.1))

        def stock(context, instance, dest, post, recover, block, data):
            post(context, instance, dest, block, data)

        self.operate(stock)

    def test_the_call_succeeds_later(self):
        self.h2.agent.runs = lambda instance: True
        self.dest.arrived = lambda instance: None
        posting = threading.Event()

        def call():
            with self.source.operation(self.instance):
                posting.wait(10)

        def stock(context, instance, dest, post, recover, block, data):
            thread = threading.Thread(target=call)
            thread.start()
            threading.Timer(0.2, posting.set).start()
            post(context, instance, dest, block, data)
            thread.join()

        self.stock = stock
        self.send()
        self.assertIn('stream_completed', self.h1.agent.ops())
        self.assert_holder('h2')


class TestTrustIsLost(test_streams.Base):
    """T13: the agent has ended the stream, Nova recovers."""

    def setUp(self):
        super().setUp()
        self.prepare()
        self.h1.agent.endings[compute.MIGRATION] = ('PCR_NOT_GOLDEN',)

    def stock(self, context, instance, dest, post, recover, block, data):
        """As Nova: it recovers, and then says what libvirt said."""
        with contextlib.suppress(ValueError):
            with self.source.operation(instance):
                raise ValueError('cancelled')
        recover(context, instance, dest, data)
        raise ValueError('cancelled')

    def test_reason(self):
        self.send()
        self.assertIn('recovered', self.said)
        (told,) = self.h1.told
        self.assertTrue(told.startswith('[TRUST_LOST_IN_FLIGHT] '), told)
        for text in ('h2', 'PCR_NOT_GOLDEN'):
            self.assertNotIn(text, told)
            self.assertIn(text, self.log.output)

    def test_stream_that_broke_by_itself(self):
        self.h1.agent.endings.clear()
        self.send()
        self.assertIn('recovered', self.said)
        self.assertEqual([], self.h1.told)

    def test_agent_that_cannot_say(self):
        """An older one, or a dead one: Nova recovers all the same."""
        self.h1.agent.fail['ended'] = errors.Invalid('INVALID_REQUEST')
        self.send()
        self.assertIn('recovered', self.said)
        self.assertEqual([], self.h1.told)


class TestRollback(test_streams.Base):
    """At the destination, where Nova says it when it comes to it (L5)."""

    def rolled_back(self, migration):
        self.h2.agent.calls.clear()
        self.dest.rolled_back(
            self.instance,
            compute.MigrateData(
                migration=SimpleNamespace(uuid=migration),
                vtpm_secret_uuid=None,
            ),
        )
        return self.h2.agent.ops()

    def test_rollback_of_an_earlier_migration(self):
        """Late, twice, and after a restart of nova-compute."""
        self.prepare()
        for forget in (False, False, True):
            if forget:
                self.dest._migrations.clear()
            self.assertEqual(['no_domain'], self.rolled_back(EARLIER))
            self.assertEqual(EARLIER, self.h2.agent.calls[-1][1]['migration'])
        self.assertEqual({compute.UUID}, self.h2.agent.opened)
        # What is under way goes on.
        self.send()
        self.assert_holder('h2')
        self.assert_closed()

    def test_rollback_of_an_earlier_migration_that_left_its_key(self):
        """The next one was only checked yet."""
        self.prepare()
        later = SimpleNamespace(uuid=LATER)
        self.dest.learn(self.instance, test_streams.ARRIVED, later)
        self.rolled_back(compute.MIGRATION)
        self.assertEqual({}, self.h2.agent.vault)
        self.assert_holder('h1')
        self.assertEqual(LATER, self.dest._migrations[compute.UUID])

    def test_rollback_twice(self):
        self.prepare()
        self.assertEqual(
            ['no_domain', 'close'], self.rolled_back(compute.MIGRATION)
        )
        self.assert_holder('h1')
        self.rolled_back(compute.MIGRATION)
        self.assert_holder('h1')
        self.assert_closed()

    def test_a_hand_over_that_fails_late(self):
        self.prepare()
        self.h2.agent.fail['receive'] = errors.Untrusted('HOST_UNTRUSTED')
        self.refused('HOST_UNTRUSTED', self.receive, EARLIER)
        self.assertEqual({compute.UUID}, self.h2.agent.opened)
        self.assertEqual(
            compute.MIGRATION, self.dest._migrations[compute.UUID]
        )
