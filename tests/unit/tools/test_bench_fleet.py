# SPDX-License-Identifier: Apache-2.0
"""What tools/bench fleet makes of its figures, without a service."""

from __future__ import annotations

import copy

import testtools

from korora_tools.bench import cli, fleet

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
}


class GoalsTest(testtools.TestCase):
    def test_reached(self) -> None:
        self.assertEqual(0, fleet.conclude(GOOD))

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
            self.assertEqual(1, fleet.conclude(report), key)


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
