# SPDX-License-Identifier: Apache-2.0
"""What nova-compute's start waits for, and what it leaves refused."""

import threading

from nova import exception
from nova.compute import vm_states

from korora_nova import errors
from korora_nova.attester import socket_client
from korora_nova.relying_party import boot, refusal
from tests.unit.relying_party import compute


class Slow(socket_client.AgentClient):
    """Takes its time, by the test's clock."""

    def __init__(self, test, timeout):
        super().__init__('/nowhere', timeout)
        self.test = test

    def call(self, op, **fields):
        if self.test.answers:
            self.test.time += 1000
            return {'tier': 'affirming', 'reasons': [], 'expires': 0.0}
        self.test.waits.append(self._timeout)
        self.test.time += self._timeout
        raise errors.Unavailable('AGENT_UNAVAILABLE')


class TestBoot(compute.Base):
    def setUp(self):
        super().setUp()
        self.time, self.waits, self.answers = 0.0, [], False
        self.boot = boot.Boot(
            lambda timeout: Slow(self, timeout), 100, lambda: self.time
        )

    def ask(self):
        self.refused('AGENT_UNAVAILABLE', lambda: self.boot.agent(60).attest())

    def test_one_budget_for_all(self):
        self.boot.begin()
        for _ in range(40):
            self.ask()
        self.assertEqual([60, 40], self.waits)

    def test_what_succeeds_is_not_charged(self):
        self.boot.begin()
        self.answers = True
        for _ in range(3):
            self.boot.agent(60).attest()
        self.answers = False
        self.ask()
        self.assertEqual([60], self.waits)

    def test_others_are_not_bounded(self):
        self.boot.begin()
        for _ in range(3):
            self.ask()
        thread = threading.Thread(target=self.ask)
        thread.start()
        thread.join(10)
        self.assertEqual([60, 40, 60], self.waits)
        self.assertTrue(self.boot.here)

    def test_before_the_start(self):
        self.assertFalse(self.boot.here)
        for _ in range(3):
            self.ask()
        self.assertEqual([60] * 3, self.waits)


class TestBudgetIsUsedUp(compute.Base):
    """What Nova's start does then fails at once, or is put off."""

    def setUp(self):
        super().setUp()
        self.protect()
        self.h1.servers.standing(self.instance)
        self.h1.agent.calls.clear()
        self.h1.parts.boot.begin()
        self.h1.parts.boot._left = 0.0

    def test_start(self):
        self.refused(
            'AGENT_UNAVAILABLE',
            self.h1.starts.starting(None, self.instance).__enter__,
        )
        with self.h1.starts.starting(None, compute.Instance(uuid='another')):
            pass
        self.assertEqual([], self.h1.agent.calls)

    def test_delete(self):
        gone = compute.Instance(compute.VTPM, deleted=True)
        with self.h1.deletes.destroying(gone, whole=True):
            pass
        self.assertEqual([compute.UUID], self.h1.tombstones.list())
        self.h1.deletes.settle()
        self.assertEqual([compute.UUID], self.h1.tombstones.list())

    def test_wait_for_trust(self):
        pauses = []
        gate = self.h1.gate
        gate._boot_wait = 3
        gate._clock = lambda: float(len(pauses))
        gate._sleep = pauses.append
        gate.boot()
        self.h1.starts.await_boot(self.instance)
        self.assertEqual([1.0] * 3, pauses)


class TestRetries(compute.Base):
    def setUp(self):
        super().setUp()
        self.retries, self.told = self.h1.retries, self.h1.told
        self.time = 0.0
        self.retries._clock = lambda: self.time
        # The loop is turned by hand.
        self.retries._loop = self
        self.stopped = False
        self.protect()
        self.h1.parts.boot.begin()
        self.h1.running = [self.instance]
        self.untrusted('h1')

    def stop(self):
        self.stopped = True

    def reboot(self, spare=True):
        with (
            self.retries.noted(self.instance, spare=spare),
            self.h1.starts.gated(refusal.REBOOT, None, self.instance),
        ):
            return True

    def turn(self):
        """One attempt; what Nova was told in it."""
        self.told.clear()
        self.assertFalse(self.retries.attempt())
        return self.told

    def assert_over(self):
        self.assertEqual([], self.turn())
        self.assertEqual({}, self.retries._refused)
        self.assertTrue(self.retries.attempt())

    def test_spared(self):
        self.assertIsNone(self.reboot())
        (fault,) = self.told
        self.assertIn('[HOST_UNTRUSTED]', fault)

    def test_not_spared(self):
        self.assertRaises(exception.NovaException, self.reboot, spare=False)
        self.assertEqual(1, len(self.told))

    def test_later_refusals_are_novas(self):
        self.h1.parts.boot._thread = None
        self.assertRaises(exception.NovaException, self.reboot)
        self.assertEqual([], self.told)

    def test_what_is_no_refusal_is_novas(self):
        def fail():
            with self.retries.noted(self.instance, spare=True):
                raise exception.NovaException('no memory')

        self.assertRaises(exception.NovaException, fail)
        self.assertEqual([], self.told)

    def test_fault_that_cannot_be_recorded(self):
        self.retries._nova = None
        self.reboot()
        self.assertIn('Cannot record the fault', self.log.output)

    def test_started_when_the_host_is_trusted(self):
        self.reboot()
        self.assertEqual([], self.turn())
        self.assertEqual(vm_states.ERROR, self.instance.vm_state)
        self.cloud.untrusted.clear()
        self.assertEqual(['reboot'], self.turn())
        # It is under way.
        self.assertEqual([], self.turn())
        self.instance.task_state = None
        self.instance.vm_state = vm_states.ACTIVE
        self.h1.libvirt.alive = True
        self.assert_over()

    def test_state_is_right_without_agent(self):
        self.h1.agent.alive = False
        self.reboot()
        self.assertEqual([], self.turn())
        self.assertEqual(vm_states.ERROR, self.instance.vm_state)

    def test_nova_is_not_done_with_the_refused_reboot(self):
        self.reboot()
        self.cloud.untrusted.clear()
        self.instance.task_state = 'reboot_started_hard'
        self.assertEqual([], self.turn())
        self.assertEqual(vm_states.ACTIVE, self.instance.vm_state)
        self.instance.task_state = None
        self.assertEqual(['reboot'], self.turn())

    def test_somebody_else_acted(self):
        def state(name):
            self.instance.vm_state = name

        for act in (
            lambda: state(vm_states.STOPPED),
            lambda: state(vm_states.ACTIVE),
            lambda: setattr(self.instance, 'host', 'h2'),
            lambda: setattr(self.h1.libvirt, 'alive', True),
            self.h1.running.clear,
        ):
            self.instance.__init__(compute.VTPM)
            self.h1.libvirt.alive = False
            self.h1.running[:] = [self.instance]
            self.reboot()
            self.turn()
            act()
            self.cloud.untrusted.clear()
            self.assert_over()
            self.retries._loop = self
            self.untrusted('h1')

    def test_bounded_by_time(self):
        self.reboot()
        self.turn()
        self.time = 101
        self.cloud.untrusted.clear()
        self.assert_over()
        self.assertIn('reboot it hard', self.log.output)

    def test_bounded_by_tries(self):
        self.reboot()
        self.cloud.untrusted.clear()
        for _ in range(3):
            self.assertEqual(['reboot'], self.turn())
            self.instance.task_state = None
        self.assert_over()

    def test_turned_off(self):
        self.h1.conf.korora.boot_retry = 0
        self.reboot()
        self.cloud.untrusted.clear()
        self.assert_over()
        self.assertEqual(vm_states.ERROR, self.instance.vm_state)

    def test_one_question_for_all(self):
        other = compute.Instance(compute.TRUSTED, uuid=compute.MIGRATION)
        self.h1.running.append(other)
        self.reboot()
        self.instance, first = other, self.instance
        self.reboot()
        self.h1.agent.calls.clear()
        self.turn()
        self.assertEqual(['attest'], self.h1.agent.ops())
        self.cloud.untrusted.clear()
        self.assertEqual(['reboot', 'reboot'], self.turn())
        self.assertIsNotNone(first.task_state)

    def test_nova_refuses(self):
        def refuse(instance):
            raise exception.UnexpectedTaskStateError(
                instance_uuid='', expected='', actual=''
            )

        self.reboot()
        self.cloud.untrusted.clear()
        self.h1.reboot = refuse
        self.assertEqual([], self.turn())
        self.assertIn('Nova does not start it', self.log.output)

    def test_the_end(self):
        self.reboot()
        self.h1.parts.end()
        self.assertTrue(self.stopped)
        self.assertTrue(self.retries.attempt())

    def test_own_loop(self):
        self.retries._loop = None
        self.reboot()
        loop = self.retries._loop
        self.assertEqual('korora-retries', loop._thread.name)
        self.retries.stop()
        loop._thread.join(10)
        self.assertFalse(loop._thread.is_alive())
