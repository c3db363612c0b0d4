# SPDX-License-Identifier: Apache-2.0
"""One end ends, or its disk is full, at each of its durable steps.

Within one process, so that many are cheap: from the moment of a crash on
nothing more of that host reaches its disk. The fault matrix of
``tools/prove faults`` does the same to processes.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import uuid
from collections.abc import Callable, Iterator
from unittest import mock

from korora_nova import errors, faultpoints
from korora_nova.attester import observe
from tests.functional.attester.test_decisions import DecisionCase
from tests.support import hosts

SOURCE = (
    'ask.send',
    'host.outgoing',
    'host.starting',
    'ask.start',
    'host.moving',
)
DEST = (
    'host.receiving',
    'ask.receive',
    'bus.wrap',
    'host.incoming',
    'ask.sealed',
    'host.define',
)
#: Both ends pass these in a hand-over, in this order.
DOCUMENTS = ('permit at S', 'permit at D', 'start at S')


class _Crash(Exception):
    """This host's processes are no more."""


class CrashCase(DecisionCase):
    happened = False

    def new(self) -> None:
        self.instance = str(uuid.uuid4())
        self.create(self.h1)
        self.migration = self.nova_migrates(self.h1, self.h2)

    @contextlib.contextmanager
    def hooked(self, hook: faultpoints.Hook) -> Iterator[None]:
        with mock.patch.object(faultpoints, 'hook', hook):
            yield

    def crash(self, point: str, moment: str, nth: int = 1) -> Callable:
        """A hook: the end that passes this point ends there."""
        end = SOURCE if point in SOURCE else DEST
        if point == 'host.document':
            end = DEST if nth == 2 else SOURCE
        passed = 0
        dead = self.happened = False

        def hook(name: str, when: str) -> object:
            nonlocal passed, dead
            if when == faultpoints.AGAIN:
                return False
            if name == point and when == moment:
                passed += 1
                dead = self.happened = dead or passed == nth
            if dead and (
                name == point
                or name in end
                or name == 'host.word'
                and end is SOURCE
                or name == 'host.relinquished'
                and end is DEST
            ):
                raise _Crash
            return False

        return hook

    def hand_over(self) -> None:
        """As far as it goes: both drivers stop at the first error."""
        with contextlib.suppress(errors.KororaError):
            self.receive(self.h1, self.h2, self.migration)
            self.start(self.h1, self.h2, self.migration)

    def given_up(self) -> None:
        """What Nova does after an error: both ends roll back."""
        self.h2.libvirt.domains.pop(self.instance, None)
        for machine, word in (
            (self.h1, 'never_started'),
            (self.h2, 'no_domain'),
        ):
            with contextlib.suppress(errors.KororaError):
                self.said(machine, word, self.migration)
        self.later(observe.KEPT_GRACE, self.h1, self.h2)

    def assert_as_before(self) -> None:
        """S holds the key, and the next hand-over succeeds."""
        self.assert_only(self.h1)
        self.assertEqual({}, self.h2.libvirt.secrets)
        self.migrate(self.h1, self.h2)
        self.assert_only(self.h2)
        self.h1.libvirt.secrets.clear()
        self.h2.libvirt.secrets.clear()


class CrashTest(CrashCase):
    def check(self, point: str, nth: int = 1) -> None:
        for moment in (faultpoints.BEFORE, faultpoints.AFTER):
            with self.subTest(point=point, nth=nth, moment=moment):
                self.new()
                with self.hooked(self.crash(point, moment, nth)):
                    self.hand_over()
                source = (
                    point in SOURCE
                    or nth in (1, 3)
                    and (point == 'host.document')
                )
                (self.h1 if source else self.h2).restart_agent()
                self.given_up()
                self.assert_as_before()

    def test_source(self) -> None:
        for point in SOURCE:
            self.check(point)

    def test_destination(self) -> None:
        for point in DEST:
            self.check(point)

    def test_documents(self) -> None:
        for nth in range(1, 1 + len(DOCUMENTS)):
            self.check('host.document', nth)

    def test_starting_before_the_service_signed(self) -> None:
        """Of itself S says that it never started; its word is enough."""
        self.new()
        with self.hooked(self.crash('ask.start', faultpoints.BEFORE)):
            self.hand_over()
        self.assertEqual('starting', self.h1.state(self.instance))
        self.h1.restart_agent()
        self.h1.settle()
        self.assertEqual('aborted', self.shown()['status'])
        self.h2.libvirt.domains.pop(self.instance)
        self.assert_only(self.h1)

    def test_starting_after_the_service_signed(self) -> None:
        """D has to say that it has no domain."""
        self.new()
        with self.hooked(self.crash('ask.start', faultpoints.AFTER)):
            self.hand_over()
        self.assertEqual('starting', self.h1.state(self.instance))
        self.h1.restart_agent()
        self.h1.settle()
        self.assertEqual('moving', self.shown()['status'])
        self.assertEqual(('never_started', ''), self.words())
        self.h2.libvirt.domains.pop(self.instance)
        self.said(self.h2, 'no_domain', self.migration)
        self.assert_only(self.h1)

    def test_between_incoming_and_sealed(self) -> None:
        """S cannot start; D's copy goes when nobody comes for it."""
        self.new()
        with self.hooked(self.crash('ask.sealed', faultpoints.BEFORE)):
            self.assertRaises(
                errors.KororaError,
                self.receive,
                self.h1,
                self.h2,
                self.migration,
            )
        self.assertEqual('incoming', self.h2.state(self.instance))
        self.h2.restart_agent()
        self.assertEqual('incoming', self.h2.state(self.instance))
        self.assertEqual({}, self.h2.libvirt.secrets)
        self.refused(
            errors.Reason.NOT_SEALED,
            self.start,
            self.h1,
            self.h2,
            self.migration,
        )
        self.assertEqual('starting', self.h1.state(self.instance))
        self.later(observe.INCOMING_EXPIRY + 1, self.h2)
        self.h1.settle()
        self.assert_as_before()

    def test_between_the_two_files_of_an_epoch(self) -> None:
        """D's record has got its epoch, and the old file is still there."""
        self.new()
        with mock.patch(
            'korora_nova.attester.vault.files.remove', side_effect=_Crash
        ):
            with self.hooked(self.crash('host.relinquished', 'before')):
                self.assertRaises(
                    errors.KororaError,
                    self.receive,
                    self.h1,
                    self.h2,
                    self.migration,
                )
        self.assertEqual(2, len(self.h2.agent.vault.of(self.instance)))
        self.h2.restart_agent()
        self.given_up()
        self.assert_as_before()


class RebootTest(CrashCase):
    """A host is booted in each state of its record."""

    def in_state(self, state: str) -> hosts.Machine:
        """A hand-over in which a host has got that far."""
        point = {
            'outgoing': 'host.starting',
            'starting': 'ask.start',
            'receiving': 'ask.receive',
            'incoming': 'ask.sealed',
            'relinquished': 'ask.receive',
        }.get(state)
        self.new()
        if point is None:
            self.hand_over()
            return self.h1
        with self.hooked(self.crash(point, faultpoints.BEFORE)):
            self.hand_over()
        machine = self.h1 if point in SOURCE else self.h2
        if state == 'relinquished':
            machine.restart_agent()
            self.korora.transport.down = True
            machine.settle()
            self.korora.transport.down = False
        self.assertEqual(state, machine.state(self.instance))
        return machine

    def test_each_state(self) -> None:
        for state in (
            'outgoing',
            'starting',
            'moving',
            'receiving',
            'incoming',
            'relinquished',
        ):
            with self.subTest(state=state):
                machine = self.in_state(state)
                with mock.patch(
                    'korora_nova.attester.boot.boot_id', return_value=state
                ):
                    machine.reboot()
                    machine.agent.attestation.step()
                    machine.settle()
                    self.given_up()
                    self.assert_as_before()

    def test_both_in_the_stream(self) -> None:
        """Both lose the guest: the key stays where it was."""
        self.new()
        self.hand_over()
        with mock.patch(
            'korora_nova.attester.boot.boot_id', return_value='both'
        ):
            for machine in (self.h1, self.h2):
                machine.reboot()
                machine.agent.attestation.step()
                machine.settle()
            self.h1.settle()
            self.assert_only(self.h1)


class FullDiskTest(CrashCase):
    """ENOSPC at each point: nothing is lost, and a retry succeeds."""

    def full(self, point: str, nth: int) -> Callable:
        passed = 0
        self.happened = False

        def hook(name: str, when: str) -> object:
            nonlocal passed
            if name == point and when == faultpoints.BEFORE:
                passed += 1
                if passed == nth:
                    self.happened = True
                    raise OSError(errno.ENOSPC, 'No space left on device')
            return False

        return hook

    def test_in_a_hand_over(self) -> None:
        for point, nth in (
            ('host.receiving', 1),
            ('host.outgoing', 1),
            ('host.incoming', 1),
            ('host.starting', 1),
            ('host.moving', 1),
            *(('host.document', nth) for nth in (1, 2, 3)),
        ):
            with self.subTest(point=point, nth=nth):
                self.new()
                with self.hooked(self.full(point, nth)):
                    self.hand_over()
                self.assertTrue(self.happened, 'not passed')
                self.given_up()
                self.assert_as_before()

    def test_at_its_end(self) -> None:
        for point, nth in (
            ('host.word', 1),
            ('host.word', 2),
            ('host.document', 1),
            ('host.document', 2),
            ('host.erase', 1),
            ('host.held', 1),
        ):
            with self.subTest(point=point, nth=nth):
                self.new()
                self.hand_over()
                self.stream(self.h1, self.h2)
                with self.hooked(self.full(point, nth)):
                    for machine, word in (
                        (self.h1, 'stream_completed'),
                        (self.h2, 'activated'),
                    ):
                        with contextlib.suppress(errors.KororaError):
                            self.said(machine, word, self.migration)
                self.assertTrue(self.happened, 'not passed')
                self.later(observe.ENDED_GRACE, self.h1)
                self.later(observe.ARRIVAL_GRACE, self.h2)
                self.assert_only(self.h2)
                self.h2.libvirt.domains.pop(self.instance)

    def test_at_a_first_start(self) -> None:
        for point in ('host.claiming', 'host.document', 'host.held'):
            with self.subTest(point=point):
                self.instance = str(uuid.uuid4())
                with self.hooked(self.full(point, 1)):
                    self.refused(errors.Reason.INTERNAL, self.create, self.h1)
                self.create(self.h1)
                self.assertEqual(1, self.ledger()['epoch'])


class TwiceTest(CrashCase):
    def test_each_message(self) -> None:
        """T46: what lies between sends every request twice.

        Those that change nothing are refused then, and said once more.
        """
        seen: collections.Counter[str] = collections.Counter()

        def again(name: str, when: str) -> object:
            if when != faultpoints.AGAIN or name == 'bus.wrap':
                return False
            seen[name] += 1
            harmless = name in ('ask.approve', 'ask.attest', 'ask.present')
            return not harmless or seen[name] % 2

        self.instance = str(uuid.uuid4())
        with self.hooked(again):
            self.create(self.h1)
            self.migrate(self.h1, self.h2)
            self.migrate(self.h2, self.h1)
            self.h1.libvirt.domains.clear()
            self.h1.client.call('forget', instance=self.instance)
            for machine in (self.h1, self.h2):
                machine.agent.attestation.step()
                machine.settle()
        self.assertEqual('none', self.h1.state(self.instance))
        self.assertIsNone(self.ledger()['holder'])
        self.assertLessEqual(
            {
                f'ask.{what}'
                for what in (
                    'challenge',
                    'claim',
                    'approve',
                    'receive',
                    'send',
                    'sealed',
                    'start',
                    'tell',
                    'delete',
                    'attest',
                )
            },
            set(seen),
        )

    def test_transfer(self) -> None:
        """The bus delivers the request to wrap twice."""
        self.new()

        def again(name: str, when: str) -> object:
            return when == faultpoints.AGAIN and name == 'bus.wrap'

        with self.hooked(again):
            self.hand_over()
        self.given_up()
        self.assert_as_before()
