# SPDX-License-Identifier: Apache-2.0
"""What tools/bench fleet makes of its figures, without a service."""

from __future__ import annotations

import copy

import testtools

from korora_tools.bench import (
    cli,
    fleet,
    fleet_ceiling,
    fleet_costs,
    fleet_goals,
)
from korora_tools.fleet import delay

GOOD = {
    'hosts': 10000,
    'filter': {
        'ratio_all_affirming': 0.5,
        'ratio_1pct': 0.5,
        'ratio_none': 1.0,
        'passed_cold': 10000,
        'passed_after_idle': 10000,
        'passed_service_hanging': 10000,
        'cold_ms': 3000.0,
        'after_idle_ms': 3000.0,
        'service_hanging_ms': 1.0,
        'request_ms_service_dead': 50.0,
    },
    'refresh': {
        'bytes_10000': 100000,
        'bytes_1pct': 2000,
        'verify_ms_10000': 300.0,
        'verify_ms_1pct': 5.0,
    },
    'budget_ms': 3000.0,
    'runs': 7,
    'attestations_per_s_core': 200.0,
    'growth': {'1000': 220.0, '5000': 210.0, '10000': 200.0},
    'workers': {'1': 100.0, '2': 150.0, 'speedup': 1.5},
    'statements': 6,
    'transactions': 2,
    'redo_bytes': 4000,
    'body_bytes': 2000,
    'handover_service_ms': 60.0,
    'ceiling_rtt_1ms_per_s': 2000.0,
    'reference_change': {'hosts': 11, 'lists_resent': 0},
}
SERVICE = (
    'attestations_per_s_core',
    'growth',
    'statements',
    'transactions',
    'handover_service_ms',
    'ceiling_rtt_1ms_per_s',
    'reference_change',
)


class GoalsTest(testtools.TestCase):
    def test_reached(self) -> None:
        self.assertEqual(0, fleet_goals.conclude(GOOD))

    def test_missed(self) -> None:
        for part, key, value in (
            ('filter', 'ratio_all_affirming', 0.51),
            ('filter', 'ratio_1pct', 0.51),
            ('filter', 'ratio_none', 1.01),
            ('filter', 'passed_cold', 9999),
            ('filter', 'passed_after_idle', 0),
            ('filter', 'passed_service_hanging', 0),
            ('filter', 'cold_ms', 3001.0),
            ('filter', 'request_ms_service_dead', 51.0),
            ('refresh', 'verify_ms_10000', 301.0),
        ):
            report = copy.deepcopy(GOOD)
            report[part][key] = value  # type: ignore[index]
            self.assertEqual(1, fleet_goals.conclude(report), key)

    def test_missed_by_the_service(self) -> None:
        for key, value in (
            ('attestations_per_s_core', 199.0),
            ('growth', {'1000': 225.0, '5000': 210.0, '10000': 200.0}),
            ('statements', 7),
            ('transactions', 3),
            ('handover_service_ms', 60.1),
            ('ceiling_rtt_1ms_per_s', 1999.0),
            ('reference_change', {'hosts': 11, 'lists_resent': 1}),
        ):
            self.assertEqual(
                1, fleet_goals.conclude({**GOOD, key: value}), key
            )

    def test_one_part(self) -> None:
        service = {key: GOOD[key] for key in ('hosts', *SERVICE)}
        self.assertEqual(0, fleet_goals.conclude(service))
        scheduler = {
            key: value for key, value in GOOD.items() if key not in SERVICE
        }
        self.assertEqual(0, fleet_goals.conclude(scheduler))


class StatementsTest(testtools.TestCase):
    LOG = [
        (1, 'SET AUTOCOMMIT = 0'),
        (1, 'SELECT a FROM b'),
        (2, 'UPDATE c SET d = 1'),
        (1, 'ROLLBACK'),
        (1, 'ROLLBACK'),
        (2, 'SELECT e FROM f'),
        (2, 'COMMIT'),
        (3, 'SET GLOBAL general_log = 0'),
    ]

    def test_counted(self) -> None:
        self.assertEqual(
            {'statements': 3, 'transactions': 2, 'rollbacks': 2},
            fleet_costs.count(self.LOG),
        )

    def passed(self) -> list[delay.Statement]:
        return [
            delay.Statement(one, text, float(at), at + 0.5)
            for at, (one, text) in enumerate(self.LOG)
        ]

    def test_transactions(self) -> None:
        found = delay.transactions(self.passed())
        self.assertEqual(
            [
                ['SELECT a FROM b', 'ROLLBACK'],
                ['UPDATE c SET d = 1', 'SELECT e FROM f', 'COMMIT'],
            ],
            [[one.text for one in each] for each in found],
        )

    def test_locked(self) -> None:
        """From the first lock until the end, and what went on meanwhile."""
        found = delay.transactions(self.passed())
        self.assertEqual(
            [fleet_ceiling.Locked(4.5, 2)], fleet_ceiling.held(found, 'c')
        )
        self.assertEqual([], fleet_ceiling.held(found, 'f'))

    def test_locking_statements(self) -> None:
        for text, locks in (
            ('UPDATE a SET b = 1', True),
            ('insert into a values (1)', True),
            ('DELETE FROM a', True),
            ('SELECT a FROM b FOR UPDATE', True),
            ('SELECT a FROM b', False),
            ('COMMIT', False),
        ):
            self.assertEqual(locks, delay.Statement(1, text).locks, text)


class RatioTest(testtools.TestCase):
    def test_of_cpu_time(self) -> None:
        """Twice the work is twice the time, in whatever order."""

        class Works:
            spec = None

            def __init__(self, rounds: int) -> None:
                self.filter = self
                self._rounds = rounds

            def filter_all(self, hosts: list[int], spec: object) -> list[int]:
                return [sum(hosts) for _ in range(self._rounds)]

        found = fleet._ratio(
            Works(200),  # type: ignore[arg-type]
            Works(100),
            list(range(10_000)),
            7,
        )
        self.assertLess(1.6, found)
        self.assertLess(found, 2.4)


class CommandTest(testtools.TestCase):
    def test_options(self) -> None:
        options = cli.parser().parse_args(['fleet', '--json', 'f'])
        self.assertEqual(
            ('fleet', 10_000, 15), (options.what, options.hosts, options.runs)
        )
