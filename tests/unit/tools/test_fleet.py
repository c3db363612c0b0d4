# SPDX-License-Identifier: Apache-2.0
"""tools/fleet: what follows from a seed, and how answers are judged."""

from __future__ import annotations

import collections
import random
from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.rats import appraise
from korora_nova.rats.evidence import Evidence, qualify
from korora_nova.rats.tpm2 import objects
from korora_nova.tpm import keys
from korora_tools.fleet import cli, garbage, plan, soft, tally
from korora_tools.fleet.plan import Act, Kind
from korora_tools.prove.faults import fleet as faults
from tests.support import busy, service, simulator


class PlanTest(testtools.TestCase):
    def test_same_seed_same_fleet(self) -> None:
        one, other = plan.members(200, 7), plan.members(200, 7)
        self.assertEqual(one, other)
        for left, right in zip(one, other, strict=True):
            for turn in range(8):
                self.assertEqual(left.act(turn), right.act(turn))
                self.assertEqual(left.files(turn), right.files(turn))
        self.assertEqual(
            plan.lives(30, one[:20], 7), plan.lives(30, other[:20], 7)
        )

    def test_another_seed_another_fleet(self) -> None:
        self.assertNotEqual(plan.members(200, 7), plan.members(200, 8))
        hosts = plan.members(200, 7)[:20]
        self.assertNotEqual(plan.lives(9, hosts, 7), plan.lives(9, hosts, 8))

    def test_order_of_rounds_does_not_matter(self) -> None:
        """Threads come in any order."""
        one = plan.members(200, 7)[150]
        forward = [one.act(turn) for turn in range(8)]
        backward = [one.act(turn) for turn in reversed(range(8))]
        self.assertEqual(forward, backward[::-1])

    def test_shares(self) -> None:
        hosts = plan.members(1000, 3)
        self.assertEqual(1000, len({one.name for one in hosts}))
        count = collections.Counter(one.kind for one in hosts)
        for kind, share in plan.SHARES.items():
            self.assertEqual(share * 10, count[kind], kind)

    def test_smallest_fleet_has_custodians(self) -> None:
        hosts = plan.members(10, 1)
        self.assertEqual(10, len(hosts))
        calm = hosts[: plan.custodians(10)]
        self.assertEqual({Kind.STEADY}, {one.kind for one in calm})

    def test_what_is_bad_when(self) -> None:
        """A host that lies was never good, one that drifts was."""
        hosts = plan.members(200, 7)
        for one in hosts:
            if one.kind is Kind.LIES:
                self.assertEqual(Act.LIE, one.act(0))
            else:
                self.assertEqual(Act.NOTHING, one.act(0))
            if one.kind is Kind.DRIFTS:
                self.assertEqual(Act.DRIFT, one.act(1))
            if one.kind is Kind.STEADY:
                self.assertIn(one.act(5), (Act.NOTHING, Act.MEASURE))

    def test_lives(self) -> None:
        hosts = plan.members(200, 7)[:20]
        lives = plan.lives(60, hosts, 7)
        self.assertEqual(60, len({one.instance for one in lives}))
        for life in lives:
            here = life.host
            for move in life.moves:
                self.assertNotEqual(here, move.dest)
                if move.end is plan.End.COMMITTED:
                    here = move.dest


class SoftTest(testtools.TestCase):
    """The machine attests as the real agent has it attest."""

    def judged(self, machine: soft.Machine) -> appraise.Appraisal:
        qualifying = qualify(b'c' * 32, 'attest', machine.name, b'{}')
        with machine.operation() as operation:
            quote = keys.quote(operation, soft.Identity(machine), qualifying)
        logs = machine.read()
        fine = simulator.recorded_pcrs(soft.GOOD)
        return appraise.appraise(
            Evidence(quote, logs.uefi, logs.ima),
            ak=objects.parse_public(machine.tpm.ak_public),
            challenge=b'c' * 32,
            purpose='attest',
            host=machine.name,
            body=b'{}',
            policies=[busy.busy(fine[4].hex()).bind(())],
            last_clock=None,
        )

    def test_good(self) -> None:
        machine = soft.Machine('h1', service.VendorCa())
        machine.run('/usr/bin/program')
        self.assertEqual((), self.judged(machine).reasons)

    def test_hides(self) -> None:
        machine = soft.Machine('h1', service.VendorCa())
        machine.run('/usr/bin/program')
        machine.hidden = len(machine.ima_log) // 2
        self.assertNotEqual((), self.judged(machine).reasons)

    def test_reboot_forgets(self) -> None:
        machine = soft.Machine('h1', service.VendorCa())
        machine.run('/opt/dropped')
        self.assertNotEqual((), self.judged(machine).reasons)
        machine.boot(soft.GOOD)
        self.assertEqual((), self.judged(machine).reasons)
        self.assertEqual(2, machine.tpm.reset_count)

    def test_list_goes_on(self) -> None:
        machine = soft.Machine('h1', service.VendorCa())
        offset = len(machine.read().ima)
        machine.run('/usr/bin/program')
        more = machine.read(offset)
        self.assertEqual(offset, more.ima_offset)
        self.assertEqual(machine.ima_log[offset:], more.ima)
        self.assertEqual(0, machine.read(10**6).ima_offset)


class GarbageTest(testtools.TestCase):
    def test_same_dice_same_bytes(self) -> None:
        for name, make in garbage.KINDS.items():
            self.assertEqual(
                make(random.Random(1)), make(random.Random(1)), name
            )


class TallyTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.tally = tally.Tally()

    def test_right(self) -> None:
        self.tally.judge('h1', good=True, tier='affirming')
        self.tally.judge('h2', good=False, tier='contraindicated')
        found = self.tally.summary()
        self.assertEqual((0, 0), self.wrong(found))

    def test_wrong(self) -> None:
        self.tally.judge('h1', good=False, tier='affirming')
        self.tally.judge('h2', good=True, tier='contraindicated')
        found = self.tally.summary()
        self.assertEqual((1, 1), self.wrong(found))
        self.assertEqual(
            ['h1: affirming', 'h2: contraindicated'], found['details']
        )

    def wrong(self, found: dict) -> tuple[int, int]:
        return found['false_trusted'], found['false_untrusted']

    def test_refusals(self) -> None:
        """Only what speaks of the evidence of a good host is wrong."""
        reason = errors.Reason
        for good, error, wrong in (
            (True, errors.EvidenceError(reason.QUOTE_SIGNATURE), 1),
            (False, errors.EvidenceError(reason.QUOTE_SIGNATURE), 0),
            (True, errors.EvidenceError(reason.CHALLENGE_EXPIRED), 0),
            (True, errors.Retry(), 0),
            (True, errors.Unavailable(reason.DATABASE_UNAVAILABLE), 0),
        ):
            one = tally.Tally()
            one.judge_refusal('h1', good=good, error=error)
            self.assertEqual(wrong, len(one.false_untrusted), error)

    def test_internal_error_is_wrong(self) -> None:
        error = errors.Unavailable(errors.Reason.INTERNAL)
        self.tally.refused('attest', 0.0, error)
        self.assertEqual(1, self.tally.summary()['wrong'])

    def said(
        self, at: float, available: bool, took: float = 0.1
    ) -> tally.Said:
        return tally.Said(at, took, 'attest', 'x', available)

    def test_recovery(self) -> None:
        found = [
            self.said(9, False),
            self.said(11, False),
            self.said(12, True),
        ]
        self.assertEqual(1.0, tally.recovery(found, 10, 20))
        self.assertEqual(0.0, tally.recovery(found, 12, 20))

    def test_failure_belongs_to_when_it_was_asked(self) -> None:
        """A call that hung until the fault was over, and one that hung."""
        found = [self.said(25, False, took=10)]
        self.assertEqual(15.0, tally.recovery(found, 10, 20))
        self.assertEqual(0.0, tally.recovery(found, 20, 30))
        found = [self.said(50, True, took=35)]
        self.assertEqual(40.0, tally.recovery(found, 10, 20))

    def test_when_a_scheduler_must_know(self) -> None:
        for now, turned, told, told_bad, must in (
            (100, 90, 94, True, True),
            (100, 90, 96, True, False),
            (100, 96, 90, True, False),
            (300, 100, 90, False, True),
            (300, 120, 90, False, False),
            (300, 90, 120, False, False),
        ):
            found = tally.overdue(now, turned, told, told_bad=told_bad)
            self.assertEqual(must, found, (now, turned, told, told_bad))


class FaultsTest(testtools.TestCase):
    GOOD = {
        'lost': 0,
        'false_trusted': 0,
        'false_untrusted': 3,
        'custody_double': 0,
        'wrong': 0,
    }

    def test_holds(self) -> None:
        """Hosts may be without a result while the service is away."""
        self.assertEqual([], faults.wrong(self.GOOD))

    def test_does_not_hold(self) -> None:
        for key in ('lost', 'false_trusted', 'custody_double', 'wrong'):
            found = faults.wrong({**self.GOOD, key: 1})
            self.assertEqual([f'the fleet: {key} is 1'], found)

    def test_who_fails(self) -> None:
        """Each part that the service rests on, and each once."""
        cluster = mock.MagicMock()
        cluster.galera.nodes = [mock.MagicMock() for _ in range(3)]
        self.assertEqual(
            [
                'worker',
                'database_node',
                'memcached',
                'broker',
                'keystone',
                'database_partitioned',
                'database_stopped',
            ],
            [one.name for one in faults.faults(cluster)],
        )

    def test_killed_comes_back(self) -> None:
        process = mock.MagicMock()
        fault = faults._killed('worker', process)
        with fault.away():
            process.kill.assert_called_once_with()
            process.start.assert_not_called()
        process.start.assert_called_once_with()
        fault.heal()
        process.wait.assert_called_once_with()


class CommandTest(testtools.TestCase):
    def test_defaults(self) -> None:
        options = cli.parser().parse_args([])
        self.assertEqual((100, 6, 1), (options.hosts, options.rounds, 1))
