# SPDX-License-Identifier: Apache-2.0
"""Cold migration between two agents: no stream, and no clock decides."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

import oslo_messaging

from korora_nova import errors
from korora_nova.attester import boot, libvirt_secret, rpc, starts
from korora_nova.custody.moves import Move
from korora_nova.custody.transfer import PrepareRequest
from tests.support import hosts

_R = errors.Reason
RUNNING = libvirt_secret.RUNNING


class ColdCase(hosts.HostsTestCase):
    def setUp(self) -> None:
        super().setUp()
        # Its worker, that would look meanwhile, does not run here.
        patcher = mock.patch.object(starts, 'COLD_WAIT', 0.0)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.create(self.h1)

    def off(self, machine: hosts.Machine) -> None:
        """The guest is powered off, its start's secret long gone."""
        machine.libvirt.domains.pop(self.instance, None)
        machine.client.close(self.instance)

    def moving(self) -> str:
        """S's guest is off and being copied."""
        handover = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, handover)
        self.off(self.h1)
        return handover

    def moved(self) -> str:
        """Nova has finished the move, and the server runs on h2."""
        handover = self.moving()
        self.said(self.h2, 'activated', handover)
        self.assert_held_by(self.h2)
        return handover

    def later(self, seconds: float) -> None:
        """What both hosts see in so many seconds, and say."""
        for now in (boot.now(), boot.now() + seconds):
            with mock.patch.object(boot, 'now', return_value=now):
                for machine in (self.h1, self.h2):
                    machine.settle()

    def idle(self, machine: hosts.Machine) -> None:
        """Wait until nothing is under way."""
        while machine.agent.vault.is_busy(self.instance):
            time.sleep(0.1)

    def words(self, handover: str) -> tuple[str | None, str | None, str]:
        shown = self.admin.get_migration(handover)
        return shown['source_word'], shown['dest_word'], shown['status']

    def states(self) -> tuple[str, str]:
        return self.h1.state(self.instance), self.h2.state(self.instance)

    def assert_nobody_opens(self, *machines: hosts.Machine) -> None:
        for machine in machines or (self.h1, self.h2):
            error = self.assertRaises(
                errors.KororaError, machine.client.open, self.instance
            )
            self.assertIn(
                error.reason,
                (_R.CUSTODY_PENDING, _R.VAULT_MISSING, _R.CUSTODY_DISPUTED),
            )

    def assert_held_by(self, holder: hosts.Machine) -> None:
        """One host can open the key, the other has nothing left."""
        for machine in (self.h1, self.h2, self.h1, self.h2):
            machine.settle()
        other = self.h1 if holder is self.h2 else self.h2
        row = self.ledger()
        self.assertEqual(
            (holder.name, None, None),
            (row['holder'], row['pending'], row['disputed']),
        )
        self.assertEqual('held', holder.state(self.instance))
        self.assertEqual('none', other.state(self.instance))
        self.assert_nobody_opens(other)
        self.open(holder)

    def assert_untouched(self, reason: str, call: Any, *args: Any) -> None:
        """Refused, and the server runs on where it was."""
        self.refused(reason, call, *args)
        self.assertEqual(RUNNING, self.h1.libvirt.domains[self.instance])
        self.assert_held_by(self.h1)

    @contextlib.contextmanager
    def service_down(self) -> Iterator[None]:
        self.korora.transport.down = True
        try:
            yield
        finally:
            self.korora.transport.down = False


class MoveTest(ColdCase):
    def test_there_and_back(self) -> None:
        handover = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, handover)
        self.assertEqual(('moving', 'incoming'), self.states())
        # It is the start on h2 that needs the key.
        self.assertEqual({}, self.h2.libvirt.secrets)
        self.off(self.h1)
        self.said(self.h2, 'activated', handover)
        self.assertEqual(
            (None, 'activated', 'committed'), self.words(handover)
        )
        self.assert_held_by(self.h2)
        back = self.nova_moves(self.h2, self.h1, handover)
        self.prepare(self.h2, self.h1, back, 'revert')
        self.assertEqual(('incoming', 'moving'), self.states())
        self.off(self.h2)
        self.said(self.h1, 'activated', back)
        self.assert_held_by(self.h1)
        self.assertEqual(5, self.ledger()['epoch'])

    def test_the_start_is_enough(self) -> None:
        """Nova's word was lost, or nova-compute crashed as it finished."""
        self.moving()
        self.open(self.h2)
        self.assert_held_by(self.h2)

    def test_copy_of_many_hours(self) -> None:
        handover = self.moving()
        self.later(3 * 86400)
        self.assertEqual(('moving', 'incoming'), self.states())
        self.assertEqual((None, None, 'moving'), self.words(handover))
        self.said(self.h2, 'activated', handover)
        self.assert_held_by(self.h2)

    def test_guest_that_takes_its_time_to_stop(self) -> None:
        handover = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, handover)
        self.later(7200)
        self.assertEqual((None, None, 'moving'), self.words(handover))

    def test_asked_twice(self) -> None:
        handover = self.nova_moves(self.h1, self.h2)
        for _ in range(2):
            self.prepare(self.h1, self.h2, handover)
        self.assertEqual((None, None, 'moving'), self.words(handover))

    def test_finished_twice(self) -> None:
        handover = self.moving()
        for _ in range(3):
            self.said(self.h2, 'activated', handover)
        self.assert_held_by(self.h2)

    def test_back_before_the_source_has_heard(self) -> None:
        """h1 still has its copy of the first hand-over."""
        handover = self.moving()
        self.said(self.h2, 'activated', handover)
        self.open(self.h2)
        self.assertEqual(('moving', 'held'), self.states())
        back = self.nova_moves(self.h2, self.h1, handover)
        self.prepare(self.h2, self.h1, back, 'revert')
        self.off(self.h2)
        self.said(self.h1, 'activated', back)
        self.assert_held_by(self.h1)

    def test_service_down_when_it_finishes(self) -> None:
        """A server that was stopped is not started there, either."""
        handover = self.moving()
        with self.service_down():
            self.said(self.h2, 'activated', handover)
            self.assertEqual('incoming', self.h2.state(self.instance))
        self.assert_held_by(self.h2)

    def test_a_running_guest_is_no_condition(self) -> None:
        """But it is one where memory was to be streamed."""
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.h2.libvirt.domains.clear()
        self.refused(
            _R.STATEMENT_NOT_ALLOWED,
            self.h2.client.activated,
            self.instance,
            migration,
        )


class StaysTest(ColdCase):
    def test_copy_failed(self) -> None:
        handover = self.moving()
        self.h1.client.stays(self.instance, handover)
        self.assert_nobody_opens(self.h1)
        self.assert_held_by(self.h1)
        self.assertEqual(
            ('ended_here', 'no_domain', 'aborted'), self.words(handover)
        )
        self.open(self.h1)

    def test_failed_before_the_power_off(self) -> None:
        handover = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, handover)
        self.h1.client.stays(self.instance, handover)
        self.assert_held_by(self.h1)
        self.assertEqual('kept', self.words(handover)[0])

    def test_a_start_at_the_source(self) -> None:
        """Nova reverts after a crash, and nobody said that it failed."""
        handover = self.moving()
        self.assert_nobody_opens(self.h1)
        self.assertEqual('ended_here', self.words(handover)[0])
        self.assert_held_by(self.h1)

    def test_a_start_waits_for_the_other_end(self) -> None:
        handover = self.moving()
        self.h1.agent.settler.start()
        self.addCleanup(self.h1.agent.settler.stop)

        def other_end() -> None:
            while not self.words(handover)[0]:
                pass
            self.h2.settle()

        thread = threading.Thread(target=other_end)
        thread.start()
        self.addCleanup(thread.join)
        with mock.patch.object(starts, 'COLD_WAIT', 20.0):
            self.open(self.h1)

    def test_the_next_migration(self) -> None:
        """The answer of prepare was lost, and the tell after it."""
        for begin in (
            lambda: self.h1.client.announce(self.instance),
            lambda: self.assertRaises(
                errors.KororaError,
                self.prepare,
                self.h1,
                self.h2,
                self.nova_moves(self.h1, self.h2),
            ),
        ):
            self.prepare(self.h1, self.h2, self.nova_moves(self.h1, self.h2))
            begin()
            self.assert_held_by(self.h1)

    def test_the_reboot_of_both_hosts(self) -> None:
        """Nova's own revert starts it, not the boot."""
        handover = self.moving()
        for machine in (self.h1, self.h2):
            machine.reboot()
            machine.agent.attestation.step()
        self.later(3600)
        self.assertEqual((None, None, 'moving'), self.words(handover))
        self.assert_nobody_opens(self.h1)
        self.assert_held_by(self.h1)

    def test_reboot_of_a_destination_that_got_it(self) -> None:
        handover = self.moving()
        for machine in (self.h1, self.h2):
            machine.reboot()
            machine.agent.attestation.step()
        self.said(self.h2, 'activated', handover)
        self.assert_held_by(self.h2)

    def test_said_of_something_else(self) -> None:
        handover = self.moving()
        noted = self.h1.client.stays(self.instance, str(uuid.uuid4()))
        self.assertFalse(noted.queued)
        self.refused(
            _R.STATEMENT_NOT_ALLOWED,
            self.h2.client.stays,
            self.instance,
            handover,
        )

    def test_not_of_a_stream(self) -> None:
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        for _ in range(2):
            self.refused(
                _R.STATEMENT_NOT_ALLOWED,
                self.h1.client.stays,
                self.instance,
                migration,
            )
            if self.h1.state(self.instance) == 'outgoing':
                self.start(self.h1, self.h2, migration)

    def test_deleted_while_it_moves(self) -> None:
        self.moving()
        self.h1.client.forget(self.instance)
        for machine in (self.h1, self.h2, self.h1, self.h2, self.h1):
            machine.settle()
        self.assertEqual(('none', 'none'), self.states())
        self.assertIsNone(self.ledger()['holder'])


class CrashTest(ColdCase):
    """The agents, between any two steps."""

    def crash(self, machine: hosts.Machine, point: str, moment: str) -> None:
        """The agent ends there; nothing but the disk survives."""

        class Ended(BaseException):
            pass

        def hook(name: str, when: str) -> None:
            if (name, when) == (point, moment):
                raise Ended

        handover = self.nova_moves(self.h1, self.h2)
        with (
            mock.patch('korora_nova.faultpoints.hook', hook),
            mock.patch.object(machine.agent.source, '_never_sent'),
            mock.patch.object(machine.agent.destination, '_relinquish'),
            mock.patch.object(self.h1.agent.bus, '_timeout', 1.5),
            mock.patch.object(self.h2.agent.bus, '_timeout', 1.5),
        ):
            self.assertRaises(
                errors.KororaError, self.prepare, self.h1, self.h2, handover
            )
            self.idle(self.h2)

    def test_source(self) -> None:
        for point in (
            'bus.prepare',
            'ask.send',
            'host.outgoing',
            'host.starting',
            'ask.start',
            'host.moving',
        ):
            for moment in ('before', 'after'):
                with self.subTest(point=point, moment=moment):
                    self.crash(self.h1, point, moment)
                    self.h1.restart_agent()
                    self.h1.agent.attestation.step()
                    # Nova starts nothing, but announces again some day.
                    self.h1.client.announce(self.instance)
                    self.assert_held_by(self.h1)

    def test_destination(self) -> None:
        for point in (
            'host.receiving',
            'ask.receive',
            'bus.wrap',
            'host.incoming',
            'ask.sealed',
        ):
            for moment in ('before', 'after'):
                with self.subTest(point=point, moment=moment):
                    self.crash(self.h2, point, moment)
                    self.h2.restart_agent()
                    self.h2.agent.attestation.step()
                    self.assert_held_by(self.h1)

    def test_both_while_it_is_copied(self) -> None:
        handover = self.moving()
        for machine in (self.h1, self.h2):
            machine.restart_agent()
            machine.agent.attestation.step()
        self.later(3600)
        self.assertEqual((None, None, 'moving'), self.words(handover))
        self.said(self.h2, 'activated', handover)
        self.assert_held_by(self.h2)


class RefusedTest(ColdCase):
    """Before the power-off: the server runs on."""

    def test_untrusted(self) -> None:
        for machine in (self.h1, self.h2):
            handover = self.nova_moves(self.h1, self.h2)
            with (
                mock.patch.object(
                    machine.agent.attester,
                    'attest_for',
                    side_effect=errors.Untrusted(_R.HOST_UNTRUSTED),
                ),
                mock.patch.object(
                    machine.agent.attester,
                    'continuing',
                    side_effect=errors.Untrusted(_R.HOST_UNTRUSTED),
                ),
            ):
                self.refused(
                    _R.HOST_UNTRUSTED, self.prepare, self.h1, self.h2, handover
                )
            self.assert_held_by(self.h1)

    def test_destination_does_not_enforce(self) -> None:
        self.h2.enforce('drift')
        self.h2.agent.attestation.step()
        self.assert_untouched(
            _R.ENFORCER_DRIFT,
            self.prepare,
            self.h1,
            self.h2,
            self.nova_moves(self.h1, self.h2),
        )

    def test_service_down(self) -> None:
        handover = self.nova_moves(self.h1, self.h2)
        with self.service_down():
            self.refused(
                _R.SERVICE_UNAVAILABLE,
                self.prepare,
                self.h1,
                self.h2,
                handover,
            )
        self.assert_held_by(self.h1)

    def test_not_in_nova(self) -> None:
        self.assert_untouched(
            _R.MIGRATION_NOT_IN_NOVA,
            self.prepare,
            self.h1,
            self.h2,
            str(uuid.uuid4()),
        )

    def test_destination_away(self) -> None:
        self.h1.agent.bus._timeout = 0.2
        self.h2.stop_agent()
        self.refused(
            _R.BUS_UNAVAILABLE,
            self.prepare,
            self.h1,
            self.h2,
            self.nova_moves(self.h1, self.h2),
        )
        self.h2.power_agent()
        self.h2.agent.attestation.step()
        # This bus keeps what nobody waits for any more; it is not announced.
        time.sleep(0.2)
        self.idle(self.h2)
        self.assert_held_by(self.h1)

    def test_destination_of_an_older_version(self) -> None:
        class Older(rpc.Endpoint):
            target = oslo_messaging.Target(version='1.0')

        self.h2.agent.bus.stop()
        self.h2.agent.bus.start(Older(self.h2.agent.source.wrap, None))
        self.assert_untouched(
            _R.PEER_TOO_OLD,
            self.prepare,
            self.h1,
            self.h2,
            self.nova_moves(self.h1, self.h2),
        )

    def test_nothing_stays_announced(self) -> None:
        self.refused(
            _R.MIGRATION_NOT_IN_NOVA,
            self.prepare,
            self.h1,
            self.h2,
            str(uuid.uuid4()),
        )
        migration = self.nova_migrates(self.h1, self.h2, announce=False)
        self.refused(
            _R.NOT_ANNOUNCED, self.receive, self.h1, self.h2, migration
        )

    def test_no_stream_for_it(self) -> None:
        """Who forges live_migration on the bus gets no start for it."""
        handover = self.nova_moves(self.h1, self.h2)
        source = self.h1.agent.source
        with (
            mock.patch.object(
                source, '_begin', side_effect=errors.Unavailable(_R.INTERNAL)
            ),
            mock.patch.object(source, '_never_sent'),
        ):
            self.refused(_R.INTERNAL, self.prepare, self.h1, self.h2, handover)
        self.assertEqual(('outgoing', 'incoming'), self.states())
        self.refused(
            _R.PERMIT_MISMATCH, self.start, self.h1, self.h2, handover
        )


class LiarTest(ColdCase):
    """Whoever writes on the bus can ask, and moves nothing."""

    def ask(self, source: str, handover: str, instance: str = '') -> None:
        self.h1.agent.bus.prepare(
            'h2',
            PrepareRequest(
                handover, instance or self.instance, source, Move.COLD
            ),
        )

    def test_not_announced(self) -> None:
        self.assert_untouched(
            _R.NOT_ANNOUNCED,
            self.ask,
            'h1',
            self.nova_moves(self.h1, self.h2),
        )

    def test_of_a_host_without_the_key(self) -> None:
        """The destination's TPM does not work for that."""
        count = self.h2.agent.attester.tpm.count.total()
        for source in ('h2', 'h3'):
            self.refused(_R.NOT_HOLDER, self.ask, source, str(uuid.uuid4()))
        self.refused(
            _R.NOT_FOUND, self.ask, 'h1', str(uuid.uuid4()), str(uuid.uuid4())
        )
        self.assertEqual(count, self.h2.agent.attester.tpm.count.total())

    def test_flood(self) -> None:
        slots = self.h2.agent.destination._slots
        for _ in range(8):
            self.assertTrue(slots.acquire(blocking=False))
        self.refused(_R.BUSY, self.ask, 'h1', str(uuid.uuid4()))
        for _ in range(8):
            slots.release()

    def test_another_destination_asks(self) -> None:
        """For the very migration that was announced to h2."""
        self.h1.agent.source._announcements.add(
            self.instance, Move.COLD, (str(uuid.uuid4()), 'h2')
        )
        self.assert_untouched(
            _R.NOT_ANNOUNCED,
            self.ask,
            'h1',
            self.nova_moves(self.h1, self.h2),
        )

    def assert_disputed(self, handover: str) -> None:
        self.assertEqual(handover, self.ledger()['disputed'])
        self.assert_nobody_opens(self.h1)
        self.refused(_R.CUSTODY_DISPUTED, self.h2.client.open, self.instance)
        self.assertEqual(RUNNING, self.h1.libvirt.domains[self.instance])
        self.assertEqual('moving', self.h1.state(self.instance))

    def test_destination_that_cannot_wait(self) -> None:
        """It says activated while the guest still runs: nobody opens."""
        handover = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, handover)
        self.said(self.h2, 'activated', handover)
        self.assertEqual('committed', self.words(handover)[2])
        self.h1.settle()
        self.assert_disputed(handover)
        # Nova powers it off: then it is as it should be.
        self.off(self.h1)
        self.assert_held_by(self.h2)

    def test_after_the_source_has_spoken(self) -> None:
        handover = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, handover)
        self.said(self.h1, 'stays', handover)
        self.h2.client.activated(self.instance, handover)
        self.h2.settle()
        self.assertEqual(handover, self.ledger()['disputed'])
        self.assert_nobody_opens(self.h1)
