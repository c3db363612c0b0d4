# SPDX-License-Identifier: Apache-2.0
"""The gate of every start, and the key for it, without Nova's driver."""

import functools
import threading
import time

from nova import exception
from nova.compute import task_states, vm_states

from korora_nova import errors
from korora_nova.relying_party import keys, refusal
from tests.unit.relying_party import compute


class Base(compute.Base):
    def setUp(self):
        super().setUp()
        self.starts = self.h1.starts

    def start(self, instance=None, **kwargs):
        """Start a server as Nova does: what it is given, and the mode."""
        instance = instance or self.instance
        with self.starts.starting(None, instance, **kwargs) as ticket:
            if ticket.standing.custody:
                return self.h1.keys.supply(None, instance, ticket)
        return None


class TestStarting(Base):
    def test_first_start(self):
        secret, mode = self.start()
        self.assertEqual(
            (compute.SECRET, keys.MODE), (secret.UUIDString(), mode)
        )
        self.assertEqual([compute.UUID], self.h1.created)
        self.assertEqual(
            ['attest', 'seal', 'open', 'close'], self.h1.agent.ops()
        )
        self.assertEqual(b'canary', self.h1.agent.vault[compute.UUID]['value'])
        self.assertEqual(
            compute.SECRET, self.instance.system_metadata['vtpm_secret_uuid']
        )
        self.assertEqual(1, self.instance.saved)
        self.assertNotIn('canary', self.log.output)
        self.assert_closed()

    def test_later_start(self):
        self.protect()
        self.start()
        self.start()
        self.assertEqual(
            ['open', 'close', 'open', 'close'], self.h1.agent.ops()
        )
        self.assertEqual(([], 1), (self.h1.created, self.instance.saved))
        self.assert_closed()

    def test_start_of_a_trusted_server(self):
        self.assertIsNone(self.start(compute.Instance(compute.TRUSTED)))
        self.assertEqual(['attest'], self.h1.agent.ops())

    def test_plain_server_and_dead_agent(self):
        self.h1.agent.alive = False
        self.assertIsNone(self.start(compute.Instance()))

    def test_key_that_another_host_holds(self):
        self.protect()
        self.starts = self.h2.starts
        self.refused('VAULT_MISSING', self.start)
        self.assertEqual([], self.h2.created)

    def test_refused_before_anything_is_done(self):
        self.protect()
        self.untrusted('h1')
        began = []

        def start():
            with self.starts.starting(None, self.instance):
                began.append(1)

        self.refused('HOST_UNTRUSTED', start)
        self.assertEqual([], began)
        self.assertEqual(0, self.instance.saved)
        self.assert_closed()

    def test_a_start_inside_a_start(self):
        self.protect()
        with self.starts.starting(None, self.instance) as outer:
            with self.starts.starting(None, self.instance) as inner:
                self.assertIs(outer, inner)
            with self.starts.defining(self.instance) as inner:
                self.assertIs(outer, inner)
            self.assertEqual({compute.UUID}, self.h1.agent.opened)
        self.assertEqual(['open', 'close'], self.h1.agent.ops())

    def test_a_start_inside_a_definition(self):
        self.protect()
        with self.starts.defining(self.instance) as outer:
            with self.starts.starting(None, self.instance) as inner:
                self.assertIsNot(outer, inner)
                self.assertIs(inner, self.starts.ticket(self.instance))
            self.assertIs(outer, self.starts.ticket(self.instance))
            self.untrusted('h1')
            self.refused('HOST_UNTRUSTED', self.start)
        self.assertEqual({}, self.starts._tickets)

    def test_starts_beside_each_other(self):
        """L4: each is judged."""
        self.protect()
        outcome = []

        def start():
            self.refused('HOST_UNTRUSTED', self.start)
            outcome.append('refused')

        for around in (
            functools.partial(self.starts.starting, None),
            self.starts.defining,
        ):
            self.cloud.untrusted.clear()
            with around(self.instance):
                self.untrusted('h1')
                thread = threading.Thread(target=start)
                thread.start()
                thread.join(10)
        self.assertEqual(['refused'] * 2, outcome)
        self.assertEqual({}, self.starts._tickets)

    def test_closed_after_a_failure(self):
        self.protect()

        def fail():
            with self.starts.starting(None, self.instance):
                raise ValueError

        self.assertRaises(ValueError, fail)
        self.assert_closed()
        self.assertEqual(['open', 'close'], self.h1.agent.ops())

    def test_agent_that_does_not_close(self):
        self.protect()
        self.h1.agent.fail['close'] = errors.Unavailable('AGENT_UNAVAILABLE')
        self.start()
        self.assertEqual({}, self.h1.libvirt.secrets)
        self.assertIn('did not close the vTPM secret', self.log.output)

    def test_failed_creation_frees_the_name(self):
        def fail(state):
            instance = compute.Instance(compute.VTPM, vm_state=state)
            with self.starts.starting(None, instance) as ticket:
                self.h1.keys.supply(None, instance, ticket)
                raise ValueError

        self.assertRaises(ValueError, fail, vm_states.BUILDING)
        self.assertEqual(
            ('forget', {'instance': compute.UUID, 'wait': 10}),
            self.h1.agent.calls[-2],
        )
        self.assertEqual({}, self.h1.agent.vault)
        # A server that ran before keeps its key.
        self.assertRaises(ValueError, fail, vm_states.STOPPED)
        self.assertIn(compute.UUID, self.h1.agent.vault)

    def test_failed_creation_of_a_server_that_was_reset(self):
        """An operator did it while Nova built it."""

        def fail():
            with self.starts.starting(None, self.instance) as ticket:
                self.h1.keys.supply(None, self.instance, ticket)
                self.instance.vm_state = vm_states.ERROR
                raise ValueError

        self.instance.vm_state = vm_states.BUILDING
        self.assertRaises(ValueError, fail)
        self.assertEqual({}, self.h1.agent.vault)

    def test_failed_creation_without_agent(self):
        def lose(**fields):
            self.h1.agent.alive = False
            raise errors.Unavailable('AGENT_UNAVAILABLE')

        self.h1.agent._seal = lose
        self.instance.vm_state = vm_states.BUILDING
        self.refused('AGENT_UNAVAILABLE', self.start)
        self.assertEqual([compute.UUID], self.h1.tombstones.list())
        self.assertIn('did not take "forget"', self.log.output)

    def test_another_image(self):
        image = compute.MigrateData(
            properties={'hw_tpm_version': '2.0', 'hw_tpm_model': 'tpm-crb'}
        )
        instance = compute.Instance({'korora:protected': 'true'})
        with self.starts.starting(None, instance, image_meta=image) as ticket:
            self.assertTrue(ticket.standing.custody)


class TestLaunching(Base):
    def test_only_a_start_of_a_protected_server(self):
        self.h1.starts.launching(self.instance)
        self.protect()
        with self.h1.starts.defining(self.instance):
            self.h1.starts.launching(self.instance)
        plain = compute.Instance(compute.TRUSTED)
        plain.uuid = compute.SECRET
        with self.h1.starts.starting(None, plain):
            self.h1.starts.launching(plain)
        self.assertEqual([], self.h1.agent.launched)
        with self.h1.starts.starting(None, self.instance):
            self.h1.starts.launching(self.instance)
        self.assertEqual([compute.UUID], self.h1.agent.launched)

    def test_refused_is_closed(self):
        self.protect()
        self.h1.agent.fail['launch'] = errors.CustodyError(
            'VTPM_STATE_CHANGED'
        )

        def start():
            with self.h1.starts.starting(None, self.instance):
                self.h1.starts.launching(self.instance)

        self.refused('VTPM_STATE_CHANGED', start)
        self.assert_closed()


class TestSupply(Base):
    def test_second_attempt_finds_the_key(self):
        self.protect()
        with self.starts.starting(None, self.instance) as ticket:
            secret, _ = self.h1.keys.supply(None, self.instance, ticket)
            secret.undefine()
            self.assertEqual({compute.UUID}, set(self.h1.libvirt.secrets))
            self.h1.libvirt.secrets.clear()
            self.h1.keys.supply(None, self.instance, ticket)
            self.assertEqual({compute.UUID}, set(self.h1.libvirt.secrets))
        self.assertEqual(['open', 'open', 'close'], self.h1.agent.ops())

    def test_a_stock_key_is_used(self):
        self.h1.libvirt.stock = (compute.SECRET, b'stock key')
        self.start()
        self.assertEqual([], self.h1.created)
        self.assertEqual(
            b'stock key', self.h1.agent.vault[compute.UUID]['value']
        )

    def test_a_definition_needs_no_key(self):
        self.protect()
        self.untrusted('h1')
        with self.starts.defining(self.instance) as ticket:
            self.assertEqual(
                (None, keys.MODE),
                self.h1.keys.supply(None, self.instance, ticket),
            )
        self.assertEqual([], self.h1.agent.ops())


class TestTicket(Base):
    def test_within_a_start(self):
        with self.starts.starting(None, self.instance) as ticket:
            self.assertIs(ticket, self.starts.ticket(self.instance))

    def test_outside(self):
        self.refused('NOVA_DRIFT', self.starts.ticket, self.instance)
        plain = compute.Instance()
        self.assertFalse(self.starts.ticket(plain).standing.custody)


class TestGated(Base):
    def test_refusal_in_novas_terms(self):
        self.untrusted('h1')

        def run():
            with self.starts.gated(refusal.RESUME, None, self.instance):
                self.fail('it ran')

        error = self.assertRaises(exception.InstanceFaultRollback, run)
        self.assertIn('[HOST_UNTRUSTED]', str(error))
        self.assertNotIn('PCR', str(error))
        self.assertIn(
            'Refused to resume the server: [HOST_UNTRUSTED]', self.log.output
        )
        self.assertIn('PCR', self.log.output)

    def test_not_needed(self):
        self.untrusted('h1')
        with self.starts.gated(
            refusal.START, None, self.instance, needed=False
        ):
            pass
        self.assertEqual([], self.h1.agent.calls)


class TestChecks(Base):
    def test_suspend(self):
        self.starts.check_suspend(self.instance)
        self.untrusted('h1')
        self.refused(
            'HOST_UNTRUSTED', self.starts.check_suspend, self.instance
        )
        self.starts.check_suspend(compute.Instance())

    def test_power_off(self):
        """M6: Nova's way to a start, and nothing else."""
        check = self.starts.check_power_off
        trusted = compute.Instance(compute.TRUSTED)
        self.untrusted('h1')
        self.h1.agent.calls.clear()
        for task in (None, task_states.POWERING_OFF, task_states.SHELVING):
            trusted.task_state = task
            check(trusted)
        trusted.unset.add('task_state')
        trusted.task_state = task_states.RESCUING
        check(trusted)
        self.assertEqual([], self.h1.agent.calls)
        trusted.unset.clear()
        self.refused('HOST_UNTRUSTED', check, trusted)
        plain = compute.Instance(
            uuid=compute.MIGRATION, task_state=task_states.RESCUING
        )
        self.h1.agent.alive = False
        check(plain)

    def test_rebuild(self):
        trusted = compute.Instance(compute.TRUSTED)
        self.starts.check_rebuild(trusted, None)
        self.refused(
            'VAULT_STATE', self.starts.check_rebuild, self.instance, None
        )
        self.untrusted('h1')
        self.refused(
            'HOST_UNTRUSTED', self.starts.check_rebuild, trusted, None
        )

    def test_await_boot(self):
        waits = []
        self.h1.gate.wait_for_trust = lambda: waits.append(1)
        self.starts.await_boot(self.instance)
        self.h1.gate._boot_wait = 100
        self.h1.gate.boot()
        self.starts.await_boot(compute.Instance())
        self.assertEqual([], waits)
        self.starts.await_boot(self.instance)
        # Who cannot be asked about might be gated.
        self.h1.agent.alive = False
        self.starts.await_boot(self.instance)
        self.assertEqual([1, 1], waits)


class TestOnboarding(Base):
    def setUp(self):
        super().setUp()
        self.onboarding = self.h1.onboarding
        self.h1.libvirt.stock = (compute.SECRET, b'stock key')

    def assert_taken(self):
        record = self.h1.agent.vault[compute.UUID]
        self.assertEqual(
            (compute.SECRET, b'stock key'),
            (record['secret_uuid'], record['value']),
        )
        self.assert_closed()

    def test_taken_once(self):
        self.assertTrue(self.onboarding.take(self.instance))
        self.assert_taken()
        self.h1.libvirt.stock = (compute.SECRET, b'another')
        self.assertTrue(self.onboarding.take(self.instance))
        self.assert_taken()

    def test_not_wanted(self):
        self.assertTrue(self.onboarding.take(compute.Instance()))
        self.h1.libvirt.stock = None
        self.assertTrue(self.onboarding.take(self.instance))
        self.assertEqual([], self.h1.agent.ops())

    def test_beside_a_start(self):
        with self.starts.starting(None, self.instance):
            self.assertFalse(self.onboarding.take(self.instance))

    def test_a_start_waits_for_it(self):
        entered, leave = threading.Event(), threading.Event()
        seal = self.h1.agent._seal

        def slowly(**fields):
            entered.set()
            leave.wait(10)
            return seal(**fields)

        self.h1.agent._seal = slowly
        thread = threading.Thread(
            target=self.onboarding.take, args=(self.instance,)
        )
        thread.start()
        self.assertTrue(entered.wait(10))
        threading.Timer(0.2, leave.set).start()
        began = time.monotonic()
        with self.starts.starting(None, self.instance) as ticket:
            self.assertGreater(time.monotonic() - began, 0.1)
            self.assertEqual(compute.SECRET, ticket.secret_uuid)
        thread.join(10)
        self.assert_taken()

    def test_all(self):
        busy = compute.Instance(compute.VTPM, task_state='rebooting')
        self.assertFalse(self.onboarding.take_all([busy]))
        self.assertTrue(
            self.onboarding.take_all([compute.Instance(), self.instance])
        )
        self.assert_taken()

    def test_untrusted_host_is_told_once(self):
        self.untrusted('h1')
        for _ in range(2):
            self.assertFalse(
                self.onboarding.take_all([self.instance, self.instance])
            )
        self.assertEqual(['attest', 'attest'], self.h1.agent.ops())
        self.assertEqual(1, self.log.output.count('all servers here'))

    def test_one_that_is_refused_keeps_nobody_waiting(self):
        bad = compute.Instance({**compute.VTPM, 'korora:max_result_age': 'x'})
        for _ in range(2):
            self.assertFalse(self.onboarding.take_all([bad, self.instance]))
        self.assert_taken()
        self.assertEqual(1, self.log.output.count('not in custody yet'))
