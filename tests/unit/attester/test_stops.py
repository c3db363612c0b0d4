# SPDX-License-Identifier: Apache-2.0
"""A vTPM's state from the stop of its guest to its next start."""

from __future__ import annotations

import errno
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from unittest import mock

import fixtures
import testtools

from korora_nova import errors, faultpoints
from korora_nova.attester import (
    accepted,
    boot,
    files,
    libvirt_secret,
    stops,
    vault,
    vtpm_state,
)
from korora_nova.attester.vault import Record
from korora_nova.custody.words import VaultState
from tests.unit.attester import test_vault

INSTANCE = test_vault.INSTANCE
RUNNING, INCOMING, NONE = (
    libvirt_secret.RUNNING,
    libvirt_secret.INCOMING,
    libvirt_secret.NONE,
)


class _Crash(BaseException):
    """The agent is no more."""


class StopsCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.base = self.directory / 'swtpm'
        self.path = self.base / INSTANCE / 'tpm2' / 'tpm2-00.permall'
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(b'0')
        self.now = 1000.0
        patcher = mock.patch.object(boot, 'now', lambda: self.now)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.domain = NONE
        self.libvirt = mock.Mock()
        self.libvirt.domain_state.side_effect = lambda _: self.domain
        self.agent()
        self.vault.put(test_vault.record())

    def agent(self, check: str = stops.REFUSE) -> None:
        """It is started, for the first time or again."""
        self.vault = vault.Vault(self.directory / 'vault')
        host = mock.Mock(vault=self.vault, hypervisor=self.libvirt)
        self.accepted = accepted.Accepted(self.directory)
        self.stops = stops.Stops(host, check, self.accepted, self.base)

    @property
    def noted(self) -> str:
        record = self.vault.get(INSTANCE, 3)
        assert record is not None
        return record.vtpm_hash

    def change(self, **changes: object) -> None:
        self.vault.put(test_vault.record(**changes))

    # What Nova, libvirt and swtpm do

    def start(self) -> None:
        self.stops.opened(INSTANCE)
        try:
            self.stops.launch(INSTANCE)
            self.run_guest()
        finally:
            self.stops.closed(INSTANCE)

    def run_guest(self) -> None:
        self.domain = RUNNING
        self.path.write_bytes(self.path.read_bytes() + b'1')

    def stop(self) -> None:
        self.domain = NONE

    def pass_time(self, seconds: float = 60.0) -> None:
        """Looks before, meanwhile and after."""
        self.stops.look()
        self.now += seconds
        self.stops.look()

    def cycle(self) -> str:
        """A whole life of a guest; what is noted of it."""
        self.start()
        self.pass_time()
        self.stop()
        self.pass_time()
        return self.noted

    def refused(
        self, reason: str, found: str = '', **details: str
    ) -> errors.KororaError:
        error = self.assertRaises(errors.KororaError, self.start)
        self.assertEqual(reason, error.reason)
        self.assertNotEqual(RUNNING, self.domain)
        return error


class LifeTest(StopsCase):
    def test_noted_at_a_stop_and_gone_at_a_start(self) -> None:
        first = self.cycle()
        self.assertNotEqual('', first)
        with mock.patch.object(
            self, 'run_guest', lambda: self.assertEqual('', self.noted)
        ):
            self.start()
        second = self.cycle()
        self.assertNotEqual(first, second)
        self.assertNotEqual('', second)

    def test_not_while_it_runs_or_just_after(self) -> None:
        self.start()
        for self.domain in (RUNNING, INCOMING):
            self.pass_time()
            self.assertEqual('', self.noted)
        self.stop()
        self.pass_time(stops.SETTLED - 0.1)
        self.assertEqual('', self.noted)
        self.pass_time(0.2)
        self.assertNotEqual('', self.noted)

    def test_called_twice(self) -> None:
        self.cycle()
        self.stops.launch(INSTANCE)
        self.stops.launch(INSTANCE)
        self.assertEqual('', self.noted)
        self.stops.closed(INSTANCE)
        self.stops.closed(INSTANCE)

    def test_another_state(self) -> None:
        """Put back, or made anew: not started, and not forgotten."""
        old = self.path.read_bytes()
        noted = self.cycle()
        last = self.path.read_bytes()
        for content in (old, b'', last + b'2'):
            self.path.write_bytes(content)
            for _ in range(2):
                error = self.refused('VTPM_STATE_CHANGED')
                self.assertEqual({'found': 'another'}, error.details)
            self.pass_time()
            self.assertEqual(noted, self.noted)
        self.path.write_bytes(last)
        self.start()

    def test_no_state(self) -> None:
        noted = self.cycle()
        shutil.rmtree(self.base / INSTANCE)
        error = self.refused('VTPM_STATE_CHANGED')
        self.assertEqual({'found': 'none'}, error.details)
        self.pass_time()
        self.assertEqual(noted, self.noted)

    def accept(self) -> None:
        """An operator does, of what there is now."""
        self.accepted.accept(INSTANCE, self.measured())

    def measured(self) -> str:
        return vtpm_state.measure(INSTANCE, self.base)

    def test_accepted_by_an_operator(self) -> None:
        for change in (
            lambda: self.path.write_bytes(b'older'),
            lambda: self.path.unlink(),
        ):
            self.cycle()
            change()
            self.refused('VTPM_STATE_CHANGED')
            self.accept()
            with mock.patch.object(self, 'run_guest'):
                self.start()
            self.assertEqual('', self.noted)
            self.path.write_bytes(b'0')

    def test_accepted_once_and_nothing_else(self) -> None:
        self.cycle()
        self.path.write_bytes(b'older')
        self.accept()
        self.path.write_bytes(b'oldest')
        self.refused('VTPM_STATE_CHANGED')
        self.path.write_bytes(b'older')
        self.start()
        self.stop()
        self.pass_time()
        self.assertNotEqual('', self.noted)
        self.path.write_bytes(b'older')
        self.refused('VTPM_STATE_CHANGED')

    def test_accepted_for_nothing(self) -> None:
        """What needed no acceptance takes it away."""
        self.cycle()
        self.accept()
        self.cycle()
        self.assertFalse(any((self.directory / 'accepted').iterdir()))

    def test_accepted_and_deleted(self) -> None:
        self.cycle()
        self.accept()
        self.stops.look()
        self.assertTrue(self.accepted.has(INSTANCE, self.measured()))
        self.vault.erase(self.vault.all()[0])
        self.stops.look()
        self.assertFalse(self.accepted.has(INSTANCE, self.measured()))

    def test_acceptance_is_damaged(self) -> None:
        self.cycle()
        self.path.write_bytes(b'older')
        self.accept()
        for content in (b'', b'\xff', b'none'):
            (self.directory / 'accepted' / INSTANCE).write_bytes(content)
            self.refused('VTPM_STATE_CHANGED')

    def test_unreadable(self) -> None:
        """It is no statement about the state."""
        self.cycle()
        self.path.rename(self.path.with_name('aside'))
        self.path.symlink_to('aside')
        self.refused('VTPM_STATE_UNREADABLE')
        self.assertNotEqual('', self.noted)

    def test_unreadable_at_the_stop(self) -> None:
        """Nothing is noted, and the log says why, once."""
        self.start()
        self.pass_time()
        self.stop()
        with mock.patch.object(stops.vtpm_state, 'MAX_SIZE', 0):
            for _ in range(9):
                self.pass_time()
        self.assertEqual('', self.noted)
        self.assertEqual(1, self.log.output.count('is not noted'))
        self.pass_time()
        self.assertNotEqual('', self.noted)

    def test_nova_has_moved_it(self) -> None:
        self.start()
        self.pass_time()
        self.stop()
        aside = self.base / 'aside'
        (self.base / INSTANCE).rename(aside)
        self.pass_time()
        self.assertEqual('', self.noted)
        aside.rename(self.base / INSTANCE)
        self.pass_time()
        self.assertNotEqual('', self.noted)

    def test_only_of_a_key_that_is_held(self) -> None:
        for state in VaultState:
            if state == VaultState.HELD:
                continue
            self.start()
            self.change(state=state)
            self.pass_time()
            self.stop()
            self.pass_time()
            self.assertEqual('', self.noted)
            self.change()

    def test_record_that_goes(self) -> None:
        """What was seen of a server goes with its key."""
        self.start()
        self.pass_time()
        self.vault.erase(test_vault.record())
        self.stop()
        self.pass_time()
        self.change(epoch=3)
        self.pass_time()
        self.assertEqual('', self.noted)
        self.stops.launch(test_vault.OTHER)

    def test_start_that_fails(self) -> None:
        """It is a stop, too."""
        noted = self.cycle()
        with mock.patch.object(self, 'run_guest', side_effect=_Crash):
            self.assertRaises(_Crash, self.start)
        self.assertEqual('', self.noted)
        self.pass_time()
        self.assertEqual(noted, self.noted)

    def test_not_while_it_starts(self) -> None:
        """A reboot takes the guest down and starts it again."""
        self.start()
        self.pass_time()
        self.stops.opened(INSTANCE)
        self.stop()
        self.pass_time()
        self.pass_time()
        self.assertEqual('', self.noted)

    def test_launch_between_look_and_note(self) -> None:
        self.start()
        self.pass_time()
        self.stop()
        self.stops.look()
        self.now += 60
        measure = stops.vtpm_state.measure

        def launch(*args: object) -> str:
            self.stops.launch(INSTANCE)
            return measure(*args)  # type: ignore[arg-type]

        with mock.patch.object(stops.vtpm_state, 'measure', launch):
            self.stops.look()
        self.assertEqual('', self.noted)

    def test_key_in_use(self) -> None:
        """Whoever has read the record finds it as it was."""
        self.start()
        self.pass_time()
        self.stop()
        with self.vault.busy(INSTANCE):
            self.pass_time()
            self.assertEqual('', self.noted)
        self.pass_time()
        self.assertNotEqual('', self.noted)

    def test_record_that_is_changed_while_it_is_compared(self) -> None:
        self.cycle()
        measure = stops.vtpm_state.measure
        changed: list[Record] = []

        def change(*args: object) -> str:
            if not changed:
                record = self.vault.get(INSTANCE, 3)
                assert record is not None
                changed.append(self.vault.put(record.moved(record.state)))
            return measure(*args)  # type: ignore[arg-type]

        with mock.patch.object(stops.vtpm_state, 'measure', change):
            self.start()
        self.assertEqual('', self.noted)

    def test_nova_compute_that_does_not_ask(self) -> None:
        """It is older: the hash goes when the guest is seen."""
        self.cycle()
        self.run_guest()
        self.pass_time()
        self.assertEqual('', self.noted)
        self.stop()
        self.pass_time()
        self.start()

    def test_libvirt_is_down(self) -> None:
        self.start()
        self.pass_time()
        self.stop()
        down = errors.Unavailable(errors.Reason.LIBVIRT_UNAVAILABLE)
        for each in (test_vault.OTHER, INSTANCE):
            self.vault.put(test_vault.record(instance=each))
        self.libvirt.domain_state.side_effect = down
        self.libvirt.domain_state.reset_mock()
        self.stops.look()
        self.assertEqual(1, self.libvirt.domain_state.call_count)
        self.assertEqual('', self.noted)


class AgentTest(StopsCase):
    """The agent is started again."""

    def test_it_has_noted(self) -> None:
        noted = self.cycle()
        self.agent()
        self.pass_time()
        self.assertEqual(noted, self.noted)
        self.path.write_bytes(b'0')
        self.refused('VTPM_STATE_CHANGED')

    def test_while_the_guest_was_off(self) -> None:
        """It may be about to start: nothing is noted, or refused."""
        self.start()
        self.pass_time()
        self.stop()
        self.agent()
        self.pass_time()
        self.assertEqual('', self.noted)
        self.cycle()

    def test_while_the_guest_runs(self) -> None:
        self.start()
        self.agent()
        self.pass_time()
        self.stop()
        self.pass_time()
        self.assertNotEqual('', self.noted)

    def test_loss_of_power_while_the_guest_ran(self) -> None:
        """Newer than whatever was noted, and started."""
        self.cycle()
        self.start()
        self.path.write_bytes(b'newer')
        self.stop()
        self.agent()
        self.start()

    def test_off(self) -> None:
        """What was noted goes: an older agent could not read it."""
        self.cycle()
        self.path.write_bytes(b'0')
        self.agent(stops.OFF)
        self.start()
        self.pass_time()
        self.assertEqual('', self.noted)
        self.assertNotIn('vtpm_hash', test_vault.record().to_json())
        self.stop()
        self.pass_time()
        self.assertEqual('', self.noted)
        self.stops._run()  # ends by itself

    def test_warn(self) -> None:
        self.agent(stops.WARN)
        changes: tuple[Callable[[], object], ...] = (
            lambda: self.path.write_bytes(b'0'),
            lambda: self.path.unlink(),
            lambda: (
                self.path.rename(self.path.with_name('aside')),
                self.path.symlink_to('aside'),
            ),
        )
        for change in changes:
            self.cycle()
            change()
            with mock.patch.object(self, 'run_guest'):
                self.start()
            self.assertIn('started all the same', self.log.output)
            self.assertEqual('', self.noted)
            self.path.unlink(missing_ok=True)
            self.path.write_bytes(b'0')

    def test_thread(self) -> None:
        with mock.patch.object(self.stops, 'look', side_effect=ValueError):
            self.stops.start()
            self.stops.stop()
        self.assertFalse(self.stops._thread.is_alive())


class CrashTest(StopsCase):
    """The agent ends, or its disk is full, at each durable step."""

    def crash(self, moment: str) -> object:
        def hook(name: str, when: str) -> object:
            if (name, when) == ('host.vtpm', moment):
                raise _Crash
            return False

        return mock.patch.object(faultpoints, 'hook', hook)

    def test_while_it_is_noted(self) -> None:
        for moment in (faultpoints.BEFORE, faultpoints.AFTER):
            with self.subTest(moment):
                self.start()
                self.pass_time()
                self.stop()
                with self.crash(moment):
                    self.assertRaises(_Crash, self.pass_time)
                self.agent()
                self.assertEqual(moment == faultpoints.AFTER, self.noted != '')
                self.pass_time()
                self.start()
                self.stop()

    def test_before_a_start(self) -> None:
        """The guest is not started: compared again, or noted no more."""
        for moment in (faultpoints.BEFORE, faultpoints.AFTER):
            with self.subTest(moment):
                self.cycle()
                with self.crash(moment):
                    self.assertRaises(_Crash, self.start)
                self.assertEqual(NONE, self.domain)
                self.agent()
                self.pass_time()
                self.assertEqual(
                    moment == faultpoints.BEFORE, self.noted != ''
                )
                self.start()
                self.stop()

    def test_disk_is_full(self) -> None:
        full = OSError(errno.ENOSPC, 'full')
        noted = self.cycle()
        with mock.patch.object(files, 'write', side_effect=full):
            self.assertRaises(OSError, self.start)
            self.assertEqual((noted, NONE), (self.noted, self.domain))
        self.start()
        self.pass_time()
        self.stop()
        with mock.patch.object(files, 'write', side_effect=full):
            self.pass_time()
        self.assertEqual('', self.noted)
        self.pass_time()
        self.assertNotEqual('', self.noted)

    def test_disk_is_full_and_it_only_warns(self) -> None:
        self.agent(stops.WARN)
        self.cycle()
        full = OSError(errno.ENOSPC, 'full')
        with mock.patch.object(files, 'write', side_effect=full):
            self.start()
        self.pass_time()
        self.assertEqual('', self.noted)
