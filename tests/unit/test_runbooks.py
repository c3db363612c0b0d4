# SPDX-License-Identifier: Apache-2.0
"""What the tests of runbooks stand on; Prometheus itself is not needed."""

from __future__ import annotations

import ast
import pathlib

import testtools

from tests.support import promtool

FOLDER = pathlib.Path(__file__).parents[1] / 'runbooks'


def tests() -> list[str]:
    """Names of all tests of runbooks, in their order."""
    return [
        node.name
        for path in sorted(FOLDER.glob('test_*.py'))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith('test_')
    ]


class EachAlertTest(testtools.TestCase):
    def test_it_has_a_test(self) -> None:
        wanted = {f'test_{alert.lower()}' for alert in promtool.rules()}
        self.assertEqual(set(), wanted - set(tests()))

    def test_no_test_is_of_another(self) -> None:
        alerts = {alert.lower() for alert in promtool.rules()}
        for name in tests():
            self.assertIn(name.split('_')[1], alerts)


class HistoryTest(testtools.TestCase):
    BEFORE = promtool.Scrape(1000.0, {'a': 1, 'b_total': 5, 'gone': 1})

    def values(self, name: str, after: promtool.Scrape) -> list[str]:
        found = {
            one['series']: one['values'].split()
            for one in promtool.history(self.BEFORE, after, 3)
        }
        return found[name]

    def test_a_state_lasts(self) -> None:
        after = promtool.Scrape(1000.0, {'a': 0, 'b_total': 7, 'new': 2})
        values = self.values('a', after)
        self.assertEqual(promtool.BEFORE + 3, len(values))
        self.assertEqual(['1.000000', '0.000000'], values[9:11])
        self.assertEqual(['_', '2.000000'], self.values('new', after)[9:11])
        self.assertEqual('stale', self.values('gone', after)[-1])

    def test_a_counter_goes_on(self) -> None:
        after = promtool.Scrape(1000.0, {'b_total': 7})
        self.assertEqual(
            ['7.000000', '9.000000', '11.000000'],
            self.values('b_total', after)[-3:],
        )

    def test_a_counter_that_went_back_stays_there(self) -> None:
        after = promtool.Scrape(1000.0, {'b_total': 2})
        self.assertEqual(['2.000000'] * 3, self.values('b_total', after)[-3:])

    def test_a_moment_is_as_old_as_it_was(self) -> None:
        """Prometheus's clock of the test begins at 0."""
        name = 'x_timestamp_seconds'
        before = promtool.Scrape(1000.0, {name: 990.0})
        after = promtool.Scrape(2000.0, {name: 990.0})
        (found,) = promtool.history(before, after, 2)
        values = found['values'].split()
        self.assertEqual(['-10.000000', '50.000000'], values[:2])
        self.assertEqual(['-410.000000'] * 2, values[-2:])
        (found,) = promtool.history(before, before, 2)
        self.assertEqual('650.000000', found['values'].split()[-1])

    def test_durations(self) -> None:
        self.assertEqual(
            [1, 5, 60], [promtool.minutes(one) for one in ('30s', '5m', '1h')]
        )
