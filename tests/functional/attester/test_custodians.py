# SPDX-License-Identifier: Apache-2.0
"""Bad days of custodians: they and their zygote die, hang, are too many."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import pathlib
import signal
import socket
import struct
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

from korora_nova import errors, faultpoints
from korora_nova.attester import socket_client
from korora_nova.attester.custodian import custodians, jobs
from tests.functional.attester.test_crashes import CrashCase
from tests.support import custodian, hosts
from tests.support.custodian import children

_R = errors.Reason
#: Seconds for a process to end.
PATIENCE = 10.0


class CustodianCase(CrashCase):
    def arm(
        self, machine: hosts.Machine, op: str, moment: str, what: str
    ) -> None:
        custodian.arm(machine.door_path, op, moment, what)

    def assert_happened(self, machine: hosts.Machine) -> None:
        self.assertFalse(custodian.armed(machine.door_path))

    def fails(self, reason: str = _R.CUSTODIAN_FAILED) -> None:
        """The start does, and says so."""
        call = self.h1.client.call
        self.refused(reason, call, 'open', instance=self.instance)

    @property
    def zygote(self) -> int:
        pid = custodian.shared().pid
        assert pid is not None
        return pid

    def assert_none_left(self) -> None:
        """Nobody has a key in his memory."""
        self.until(lambda: not children(self.zygote))

    def until(self, done: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def impatient(self, machine: hosts.Machine, **seconds: float) -> None:
        """Its custodians get this long."""
        owner = machine.agent.custodians
        owner.spec = dataclasses.replace(owner.spec, **seconds)


class KilledTest(CustodianCase):
    """As if the agent had crashed there; only that it goes on at once."""

    def check(self, end: str, job: str) -> None:
        machine = self.machines[end]
        for moment in (custodian.BEFORE, custodian.AFTER):
            with self.subTest(job=job, moment=moment):
                self.new()
                self.arm(machine, job, moment, custodian.KILL)
                self.refused(
                    _R.CUSTODIAN_FAILED,
                    self.receive,
                    self.h1,
                    self.h2,
                    self.migration,
                )
                self.assert_happened(machine)
                self.assert_none_left()
                self.given_up()
                self.assert_as_before()

    def test_source(self) -> None:
        for job in ('unseal', 'wrap'):
            self.check('h1', job)

    def test_destination(self) -> None:
        for job in ('import', 'seal', 'define'):
            self.check('h2', job)

    def test_first_seal(self) -> None:
        for job in ('take', 'seal'):
            for moment in (custodian.BEFORE, custodian.AFTER):
                self.instance = str(uuid.uuid4())
                self.arm(self.h1, job, moment, custodian.KILL)
                self.refused(_R.CUSTODIAN_FAILED, self.create, self.h1)
                self.assert_happened(self.h1)
                self.create(self.h1)
                self.assert_only(self.h1)

    def test_start(self) -> None:
        self.create(self.h1)
        for job in ('unseal', 'define'):
            for moment in (custodian.BEFORE, custodian.AFTER):
                self.arm(self.h1, job, moment, custodian.KILL)
                self.fails()
                self.assert_happened(self.h1)
                self.open(self.h1)

    def test_between_commands_of_the_tpm(self) -> None:
        """What it had loaded goes; there is no resource manager here."""
        self.create(self.h1)
        for command in range(1, 13):
            self.arm(self.h1, 'unseal', str(command), custodian.KILL)
            self.fails()
            self.assert_happened(self.h1)
            self.assertEqual(0, self.h1.hardware.transient_objects())
        self.open(self.h1)

    def test_sealing_anew(self) -> None:
        """The old record stays until there is another."""
        self.create(self.h1)
        agent = self.h1.agent
        kid = agent._parts.approval_kid()
        for job in ('unseal', 'seal'):
            for moment in (custodian.BEFORE, custodian.AFTER):
                record = agent.vault.current(self.instance)
                assert record is not None
                self.arm(self.h1, job, moment, custodian.KILL)
                self.refused(
                    _R.CUSTODIAN_FAILED, agent.rest._reseal, record, kid
                )
                self.assert_happened(self.h1)
                self.assertEqual(record, agent.vault.current(self.instance))
                agent.rest._reseal(record, kid)
                self.assertNotEqual(record, agent.vault.current(self.instance))
        self.open(self.h1)

    def test_unexpected_error(self) -> None:
        self.create(self.h1)
        self.arm(self.h1, 'unseal', custodian.AFTER, custodian.FAIL)
        self.fails(_R.INTERNAL)
        self.open(self.h1)


class LateTest(CustodianCase):
    def setUp(self) -> None:
        super().setUp()
        self.create(self.h1)

    def test_hangs(self) -> None:
        """The kernel ends it, and the TPM is free again."""
        self.impatient(self.h1, step=1.0)
        began = time.monotonic()
        self.arm(self.h1, 'unseal', '3', custodian.HANG)
        self.fails()
        self.assertLess(time.monotonic() - began, PATIENCE)
        self.assert_none_left()
        self.assertEqual(0, self.h1.hardware.transient_objects())
        self.open(self.h1)

    def test_is_stopped(self) -> None:
        """No timer of its own ends it: the agent does."""
        self.impatient(self.h1, step=0.5)
        self.arm(self.h1, 'unseal', custodian.BEFORE, custodian.STOP)
        with mock.patch.object(custodians, '_GRACE', 0.5):
            self.fails()
        self.assert_none_left()
        self.open(self.h1)

    def test_request_to_seal_that_does_not_end(self) -> None:
        """nova-compute dies in the middle of it, or hangs."""
        self.impatient(self.h1, step=2.0)
        head = b'{"version": 1, "op": "seal", "instance": "'
        for hangs in (False, True):
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(PATIENCE)
                caller.connect(self.h1.socket)
                caller.sendall(struct.pack('>I', 500) + head)
                if not hangs:
                    caller.shutdown(socket.SHUT_WR)
                (size,) = struct.unpack('>I', caller.recv(4))
                said = socket_client.receive(caller, size)
            self.assertIn(_R.INVALID_REQUEST, said.decode())
        self.assert_none_left()
        self.open(self.h1)

    def test_is_forgotten(self) -> None:
        """Nobody comes with the next job."""
        self.impatient(self.h1, idle=0.5)
        with self.h1.agent.custodians.begin() as forgotten:
            forgotten.ready()
            self.assert_none_left()
            self.assertRaises(
                errors.Unavailable,
                forgotten.do,
                jobs.Define('', self.instance),
                jobs.Done,
            )


class ZygoteTest(CustodianCase):
    def setUp(self) -> None:
        super().setUp()
        self.create(self.h1)

    @contextlib.contextmanager
    def hanging(self) -> Iterator[list[Exception]]:
        """A start whose custodian hangs; its error."""
        found: list[Exception] = []

        def start() -> None:
            try:
                self.h1.client.call('open', instance=self.instance)
            except errors.KororaError as exc:
                found.append(exc)

        self.arm(self.h1, 'unseal', custodian.AFTER, custodian.HANG)
        thread = threading.Thread(target=start)
        thread.start()
        self.until(lambda: not custodian.armed(self.h1.door_path))
        yield found
        thread.join(PATIENCE)
        self.assertFalse(thread.is_alive())

    def test_dies_between_jobs(self) -> None:
        for number in (signal.SIGKILL, signal.SIGABRT):
            before = self.zygote
            os.kill(before, number)
            self.open(self.h1)
            self.assertNotEqual(before, self.zygote)

    def test_dies_in_a_job(self) -> None:
        """Custodians end with it, whatever they do."""
        with self.hanging() as found:
            (child,) = children(self.zygote)
            os.kill(self.zygote, signal.SIGKILL)
            self.until(lambda: not os.path.exists(f'/proc/{child}'))
        self.assertEqual([_R.CUSTODIAN_FAILED], [exc.reason for exc in found])
        self.open(self.h1)

    def test_hangs(self) -> None:
        before = self.zygote
        os.kill(before, signal.SIGSTOP)
        # The next one, too, has to be ready within these.
        with mock.patch.object(custodians, '_READY', 5.0):
            self.h1.client.call('open', instance=self.instance)
        self.assertNotEqual(before, self.zygote)

    def test_signals_to_the_group_are_the_agents(self) -> None:
        """systemd sends SIGTERM to all; an operation may end first."""
        before = self.zygote
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(before, number)
        self.open(self.h1)
        self.assertEqual(before, self.zygote)

    def test_cannot_be_started(self) -> None:
        custodian.shared().stop()
        with mock.patch.object(
            custodians.subprocess, 'Popen', side_effect=OSError(errno.EAGAIN)
        ):
            self.fails()
        self.open(self.h1)

    def test_is_of_another_release(self) -> None:
        """The package was replaced under an agent that runs on."""
        self.arm(self.h1, custodian.BEGIN, custodian.BEFORE, custodian.OTHER)
        call = self.h1.client.call
        error = self.refused(
            _R.CUSTODIAN_FAILED, call, 'open', instance=self.instance
        )
        self.assertIn('start it again', error.message)

    def test_has_no_descriptor_of_others(self) -> None:
        with self.hanging():
            (child,) = children(self.zygote)
            names = {
                path.readlink().name
                for path in pathlib.Path(f'/proc/{child}/fd').glob('*')
            }
            sockets = [name for name in names if name.startswith('socket:')]
            self.assertEqual(1, len(sockets), names)
            os.kill(child, signal.SIGKILL)


class ManyTest(CustodianCase):
    def test_too_many(self) -> None:
        self.create(self.h1)
        owner = self.h1.agent.custodians
        with (
            contextlib.ExitStack() as all_of_them,
            mock.patch.object(custodians, 'PATIENCE', 0.1),
        ):
            for _ in range(custodians.AT_ONCE):
                all_of_them.enter_context(owner.begin())
            self.fails(_R.BUSY)
        self.assert_none_left()
        self.open(self.h1)

    def test_all_at_once(self) -> None:
        """One zygote, many threads, one TPM: each gets its own key."""
        owner = self.h1.agent.custodians
        self.create(self.h1)
        values: list[int] = []

        def begin() -> None:
            with owner.begin() as one:
                one.ready()
                values.append(one._process)

        threads = [threading.Thread(target=begin) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.assertEqual(12, len(values))
        self.assert_none_left()


class CostTest(CustodianCase):
    def count(self, call: Any) -> int:
        """Commands that the TPMs of both hosts get."""
        tpms = [one.agent.attester.tpm for one in (self.h1, self.h2)]
        before = sum(tpm.count.total() for tpm in tpms)
        call()
        return sum(tpm.count.total() for tpm in tpms) - before

    def test_no_command_more(self) -> None:
        """The TPM gets what it got when agents did all by themselves."""
        self.create(self.h1)
        found = []
        for kind in (custodians.Custodian, custodian.Inside):
            with mock.patch.object(custodians, 'Custodian', kind):
                found.append(
                    (
                        self.count(lambda: self.open(self.h1)),
                        self.count(lambda: self.migrate(self.h1, self.h2)),
                    )
                )
                self.migrate(self.h2, self.h1)
        self.assertEqual(found[1], found[0])


class FullDiskTest(CustodianCase):
    def test_no_custodian_is_left(self) -> None:
        """The disk of the destination is full when the key was opened."""
        self.new()

        def hook(name: str, when: str) -> object:
            if (name, when) == ('host.incoming', faultpoints.BEFORE):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return False

        with self.hooked(hook):
            self.refused(
                _R.INTERNAL, self.receive, self.h1, self.h2, self.migration
            )
        self.assert_none_left()
        self.given_up()
        self.assert_as_before()


class LockedTest(CustodianCase):
    def setUp(self) -> None:
        super().setUp()
        self.create(self.h1)
        self.h1.agent.custodians.locked = True

    def test_memory_that_cannot_be_locked(self) -> None:
        """No key gets into it; and the agent does not start."""
        unlocked = custodian.BEGIN, custodian.BEFORE, custodian.UNLOCKED
        self.arm(self.h1, *unlocked)
        self.fails(_R.MEMORY_NOT_LOCKED)
        self.arm(self.h1, *unlocked)
        self.refused(_R.MEMORY_NOT_LOCKED, self.h1.agent.custodians.start)

    def test_refused_one_gets_no_key_later(self) -> None:
        self.arm(
            self.h1, custodian.BEGIN, custodian.BEFORE, custodian.UNLOCKED
        )
        job = jobs.Define('', self.instance)
        with self.h1.agent.custodians.begin() as unfit:
            for reason in (_R.MEMORY_NOT_LOCKED, _R.CUSTODIAN_FAILED):
                self.refused(reason, unfit.do, job, jobs.Done)

    def test_operator_may_do_without(self) -> None:
        self.h1.agent.custodians.locked = False
        self.arm(
            self.h1, custodian.BEGIN, custodian.BEFORE, custodian.UNLOCKED
        )
        self.h1.agent.custodians.start()
        self.open(self.h1)

    def test_start_goes_on_without_a_zygote(self) -> None:
        """It may be there later; what needs no key works meanwhile."""
        custodian.shared().stop()
        with mock.patch.object(
            custodians.subprocess, 'Popen', side_effect=OSError(errno.EAGAIN)
        ):
            self.h1.agent.custodians.start()
