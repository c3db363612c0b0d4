# SPDX-License-Identifier: Apache-2.0
"""A host turns bad while a guest is streamed: the source ends the stream.

Each row is a bad day. Agents, TPMs and the service are real, libvirt is not.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any
from unittest import mock

from korora_nova import errors
from korora_nova.attester import boot, libvirt_secret, watch
from korora_nova.custody import answers
from tests.support import hosts

_R = errors.Reason
RUNNING = libvirt_secret.RUNNING
LOST = _R.TRUST_LOST_IN_FLIGHT
#: Seconds from what the service knows to libvirt's call, on a busy machine;
#: ``tools/prove attack`` says how soon it is on the lab.
SOON = 10.0


class WatchTestCase(hosts.HostsTestCase):
    """A guest is on its way from h1 to h2; the agent of h1 watches."""

    def setUp(self) -> None:
        super().setUp()
        self.create(self.h1)
        self.migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, self.migration)
        self.prepare_watch()
        self.watches.start()
        self.start(self.h1, self.h2, self.migration)

    def prepare_watch(self) -> None:
        """What is to be otherwise from the stream's begin on."""

    @property
    def watches(self) -> watch.Watches:
        return self.h1.agent.watches

    def streams(self) -> None:
        """libvirt's job begins."""
        self.h1.libvirt.jobs.add(self.instance)

    def turns_bad(self, machine: hosts.Machine) -> float:
        """The service learns of it; by ``time.monotonic``."""
        machine.run_file('/tmp/rootkit', b'\x13' * 32)
        machine.agent.attestation.step()
        self.assertNotEqual(
            'affirming', self.admin.get_host(machine.name)['tier']
        )
        return time.monotonic()

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), end, 'it does not come true')
            time.sleep(0.02)

    def is_ended(self) -> bool:
        return self.h1.libvirt.aborted == [self.instance]

    def is_over(self) -> bool:
        """Nobody watches any more."""
        return not self.watches._open

    def why(self) -> answers.Ended:
        return self.h1.client.ended(self.instance, self.migration)

    def assert_goes_on(self, seconds: float = 1.0) -> None:
        time.sleep(seconds)
        self.assertEqual([], self.h1.libvirt.aborted)
        self.assertEqual('', self.why().reason)

    def rolls_back(self) -> None:
        """Nova sees that libvirt's call failed; both ends say so."""
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', self.migration)
        self.h1.agent.settler.resolve(self.instance)
        self.h2.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        self.assertEqual('none', self.h2.state(self.instance))
        shown = self.admin.get_migration(self.migration)
        self.assertEqual('aborted', shown['status'])
        self.assertEqual('h1', self.ledger()['holder'])


class EndTest(WatchTestCase):
    def test_destination(self) -> None:
        """T13: it changes in mid-stream. The guest runs on, I6."""
        self.streams()
        known = self.turns_bad(self.h2)
        self.until(self.is_ended)
        self.assertLess(time.monotonic() - known, SOON)
        self.assertEqual(
            answers.Ended(LOST, 'h2', ('IMA_UNKNOWN_FILE',)), self.why()
        )
        self.rolls_back()
        self.until(self.is_over)
        self.assertIn(LOST, self.admin.get_migration(self.migration)['taint'])
        self.open(self.h1)

    def test_source(self) -> None:
        """T13: its own host is bad; the guest stays there as the rule says."""
        self.streams()
        self.turns_bad(self.h1)
        self.until(self.is_ended)
        self.assertEqual('h1', self.why().host)
        self.assertEqual(RUNNING, self.h1.libvirt.domains[self.instance])

    def test_another_migration_succeeds_then(self) -> None:
        self.streams()
        self.turns_bad(self.h2)
        self.until(self.is_ended)
        self.rolls_back()
        self.until(self.is_over)
        third = self.machine('h3')
        migration = self.migrate(self.h1, third)
        self.assertEqual('held', third.state(self.instance))
        self.assertEqual([self.instance], self.h1.libvirt.aborted)
        self.assertEqual(
            '', self.h1.client.ended(self.instance, migration).reason
        )

    def test_only_its_streams(self) -> None:
        """I9, I15: a bad h2 ends nothing that h1 does with others."""
        other, plain = str(uuid.uuid4()), str(uuid.uuid4())
        self.streams()
        self.h1.libvirt.jobs |= {other, plain}
        self.turns_bad(self.h2)
        self.until(self.is_ended)
        self.assertEqual({other, plain}, self.h1.libvirt.jobs)

    def test_before_libvirt_is_called(self) -> None:
        """Between C7 and the job: it is ended as soon as it begins."""
        self.turns_bad(self.h2)
        time.sleep(1.0)
        self.assertEqual([], self.h1.libvirt.aborted)
        self.streams()
        self.until(self.is_ended)

    def test_called_twice(self) -> None:
        """A job that does not end at once is told again; once is enough."""
        libvirt, asked = self.h1.libvirt, []

        def abort(instance: str) -> bool:
            asked.append(instance)
            if len(asked) < 3:
                return instance in libvirt.jobs
            return hosts.FakeLibvirt.abort(libvirt, instance)

        with mock.patch.object(libvirt, 'abort', abort):
            self.streams()
            self.turns_bad(self.h2)
            self.until(self.is_ended)
            time.sleep(1.0)
        self.assertEqual([self.instance], self.h1.libvirt.aborted)
        self.rolls_back()

    def test_libvirtd_restarts(self) -> None:
        self.streams()
        self.h1.libvirt.down = True
        self.turns_bad(self.h2)
        time.sleep(1.0)
        self.assertEqual([], self.h1.libvirt.aborted)
        self.h1.libvirt.down = False
        self.until(self.is_ended)

    def test_operator_keeps_the_key_here(self) -> None:
        """While it is streamed: the receipt may come first."""
        self.streams()
        self.admin.resolve_migration(self.migration, 'source', 'enough')
        self.h1.settle()
        self.until(self.is_ended)
        self.assertEqual(_R.MIGRATION_SPENT, self.why().reason)


class RaceTest(WatchTestCase):
    """The stream completes: from then on the words decide, as ever."""

    def test_completed_before(self) -> None:
        self.streams()
        self.h1.libvirt.jobs.clear()
        self.stream(self.h1, self.h2)
        self.h1.client.stream_completed(self.instance, self.migration)
        self.turns_bad(self.h2)
        time.sleep(1.0)
        self.assertEqual([], self.h1.libvirt.aborted)
        self.h1.settle()
        self.until(self.is_over)
        shown = self.admin.get_migration(self.migration)
        self.assertEqual('committed', shown['status'])
        self.assertEqual('none', self.h1.state(self.instance))

    def test_completed_as_the_answer_comes(self) -> None:
        """The guest is there, and S has not said it yet: no job, no end."""
        self.streams()
        self.h1.libvirt.jobs.clear()
        self.stream(self.h1, self.h2)
        self.turns_bad(self.h2)
        time.sleep(1.0)
        self.assertEqual([], self.h1.libvirt.aborted)
        self.said(self.h1, 'stream_completed', self.migration)
        self.until(self.is_over)
        self.assertEqual('none', self.h1.state(self.instance))
        self.assertEqual('h2', self.ledger()['holder'])

    def test_ended_before(self) -> None:
        """The other side: the end comes first, and the copy there is dead."""
        self.streams()
        self.turns_bad(self.h2)
        self.until(self.is_ended)
        self.rolls_back()
        self.refused(
            _R.VAULT_MISSING,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )

    def test_liar(self) -> None:
        """D says early that it has the guest, to be watched no more."""
        self.streams()
        self.h2.libvirt.domains[self.instance] = RUNNING
        self.said(self.h2, 'activated', self.migration)
        shown = self.admin.get_migration(self.migration)
        self.assertEqual('committed', shown['status'])
        self.h1.libvirt.domains[self.instance] = RUNNING
        self.h1.settle()
        self.assertEqual('moving', self.h1.state(self.instance))
        self.turns_bad(self.h2)
        self.until(self.is_ended)
        self.assertEqual(RUNNING, self.h1.libvirt.domains[self.instance])
        self.assertNotEqual('none', self.h1.state(self.instance))


class CrashTest(WatchTestCase):
    def test_agent_is_started_again(self) -> None:
        """It takes the watch up from the vault, as the stream goes on."""
        self.streams()
        self.watches.stop()
        self.h1.restart_agent()
        self.turns_bad(self.h2)
        self.assertEqual([], self.h1.libvirt.aborted)
        self.watches.start()
        self.until(self.is_ended)

    def test_host_is_booted(self) -> None:
        self.watches.stop()
        with mock.patch.object(boot, 'boot_id', return_value='another'):
            self.h1.reboot()
            self.watches.start()
            self.assertTrue(self.is_over())

    def test_no_thread_is_to_be_had(self) -> None:
        """The start goes on; the watch begins with the next sweep."""
        self.watches.stop()
        self.h1.restart_agent()
        with mock.patch.object(
            threading.Thread, 'start', side_effect=RuntimeError('no')
        ):
            self.watches.start()
        self.assertTrue(self.is_over())
        self.streams()
        self.turns_bad(self.h2)
        self.h1.settle()
        self.until(self.is_ended)

    def test_guest_was_seen_to_stay_before_the_job_began(self) -> None:
        self.h1.libvirt.domains[self.instance] = RUNNING
        self.h1.agent.settler.look(
            self.h1.agent.vault.of_migration(self.instance, self.migration)
        )
        with mock.patch.object(watch, 'SELDOM', 0.2):
            self.streams()
            self.turns_bad(self.h2)
            self.until(self.is_ended)


class ServiceTest(WatchTestCase):
    """Whatever the service does, only its news end a stream."""

    def prepare_watch(self) -> None:
        self.calls: list[str] = []
        self.answer: Any = None
        client = self.h1.agent.attester.client
        genuine = client.watch_migration

        def ask(migration: str, **more: Any) -> Any:
            self.calls.append(migration)
            if self.answer is None:
                return genuine(migration, **more)
            return self.answer(lambda: genuine(migration, **more))

        client.watch_migration = ask
        self.answer = self.gone
        for name, value in (('AGAIN', 0.05), ('SELDOM', 0.1)):
            patch = mock.patch.object(watch, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def gone(self, _: Any) -> Any:
        raise errors.Unavailable(_R.SERVICE_UNAVAILABLE)

    def test_down(self) -> None:
        """Nothing is known, nothing ends; then it is there again."""
        self.streams()
        self.turns_bad(self.h2)
        self.assert_goes_on()
        self.assertGreater(len(self.calls), 5)
        self.answer = None
        self.until(self.is_ended)

    def test_older(self) -> None:
        """It does not know the request: as before, it is not watched."""

        def unknown(_: Any) -> Any:
            raise errors.NotFound(_R.NOT_FOUND)

        self.answer = unknown
        self.streams()
        self.turns_bad(self.h2)
        self.assert_goes_on()
        self.answer = None  # it was updated
        self.until(self.is_ended)

    def test_answers_that_are_none(self) -> None:
        self.streams()
        for answer in (
            {},
            {'reason': None, 'host': '', 'reasons': [], 'retry_after': 0},
            {'reason': 'X', 'host': '', 'reasons': 'X', 'retry_after': 0},
            {'reason': 'X', 'host': '', 'reasons': [], 'retry_after': 1e9},
        ):
            self.answer = lambda _, answer=answer: answer
            self.assert_goes_on(0.3)

    def test_late(self) -> None:
        """The answer comes when all is over."""
        asked, answer = threading.Event(), threading.Event()

        def late(genuine: Any) -> Any:
            asked.set()
            answer.wait(20)
            return genuine()

        self.answer = late
        self.assertTrue(asked.wait(10))
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', self.migration)
        self.said(self.h2, 'activated', self.migration)
        self.turns_bad(self.h2)
        # A later migration of Nova's, or a backup, has a job of its own.
        self.streams()
        answer.set()
        self.until(self.is_over)
        self.assert_goes_on(0.5)

    def test_silence(self) -> None:
        """All results are too old after the service was down for long."""
        self.streams()
        self.korora.clock = lambda: time.time() + 1000
        self.korora.restart()
        self.answer = None
        self.assert_goes_on()
        self.h2.agent.attestation.step()  # its challenge is too old
        self.turns_bad(self.h2)
        self.until(self.is_ended)


class OlderDriverTest(WatchTestCase):
    def test_nobody_asks_why(self) -> None:
        """nova-compute of before sees a stream that failed."""
        self.streams()
        self.turns_bad(self.h2)
        self.until(self.is_ended)
        self.rolls_back()


class HandoverTest(hosts.HostsTestCase):
    """Before the stream the gates refuse, and nothing is watched."""

    def test_turned_bad_before_the_hand_over(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.h2.run_file('/tmp/rootkit', b'\x13' * 32)
        self.h1.agent.watches.start()
        self.refused(
            _R.HOST_UNTRUSTED, self.receive, self.h1, self.h2, migration
        )
        self.assertEqual('held', self.h1.state(self.instance))
        self.assertEqual({}, self.h1.agent.watches._open)

    def test_turned_bad_before_the_stream(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.h2.run_file('/tmp/rootkit', b'\x13' * 32)
        self.h2.agent.attestation.step()
        self.h1.agent.watches.start()
        self.refused(
            _R.HOST_UNTRUSTED, self.start, self.h1, self.h2, migration
        )
        self.assertEqual({}, self.h1.agent.watches._open)

    def test_cold_migrations_have_no_stream(self) -> None:
        self.create(self.h1)
        handover = self.nova_moves(self.h1, self.h2)
        self.h1.agent.watches.start()
        self.prepare(self.h1, self.h2, handover)
        self.assertEqual('moving', self.h1.state(self.instance))
        self.assertEqual({}, self.h1.agent.watches._open)
