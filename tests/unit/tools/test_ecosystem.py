# SPDX-License-Identifier: Apache-2.0
"""tools/prove ecosystem runs its stages, each apart from the others."""

import argparse
import contextlib
import io
import types
import unittest
from unittest import mock

from korora_tools import ui
from korora_tools.prove import ecosystem
from korora_tools.prove.ecosystem import stage
from korora_tools.prove.ecosystem.stages import horizon_lab, openapi


def module(run):
    return types.SimpleNamespace(ABOUT='x', run=run)


def problem():
    raise ui.Problem('something is missing')


def crash():
    raise KeyError('k')


STAGES = {
    'a': module(lambda: stage.Outcome({'n': 1})),
    'b-c': module(lambda: stage.Outcome(7)),
    'bad': module(lambda: stage.Outcome(1, ['too few'])),
    'problem': module(problem),
    'crash': module(crash),
}


class EcosystemTest(unittest.TestCase):
    def prove(self, only=None, listed=False):
        err = io.StringIO()
        with (
            mock.patch.object(stage, 'found', return_value=STAGES),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(err),
        ):
            report, holds = ecosystem.prove(
                argparse.Namespace(only=only, list=listed)
            )
        return report, holds, err.getvalue()

    def test_parts_of_the_report(self):
        self.assertEqual(
            ({'a': {'n': 1}, 'b_c': 7}, True, ''), self.prove('a,b_c')
        )

    def test_a_stage_that_fails_stops_no_other(self):
        report, holds, err = self.prove('bad,problem,crash,a')
        self.assertFalse(holds)
        self.assertEqual(
            {'bad': 1, 'problem': {}, 'crash': {}, 'a': {'n': 1}}, report
        )
        for sentence in (
            'bad: too few',
            'problem: something is missing',
            "crash: KeyError: 'k'",
        ):
            self.assertIn(sentence, err)

    def test_all(self):
        self.assertEqual(
            {'a', 'b_c', 'bad', 'problem', 'crash'}, set(self.prove()[0])
        )

    def test_list_runs_nothing(self):
        report, holds, _ = self.prove(listed=True)
        self.assertEqual((dict.fromkeys(STAGES, 'x'), True), (report, holds))

    def test_a_name_that_is_none(self):
        with self.assertRaisesRegex(ui.Problem, 'no stage y; there are a, '):
            self.prove('a,y')

    def test_too_few(self):
        self.assertEqual(
            ['n is 1, at least 2 are wanted.'],
            stage.too_few({'n': 1, 'm': 5}, n=2, m=5),
        )


class StagesTest(unittest.TestCase):
    def test_each_stage_has_what_is_needed(self):
        for name, one in stage.found().items():
            with self.subTest(name):
                self.assertIsInstance(one.ABOUT, str)
                self.assertTrue(callable(one.run))


class OpenApiTest(unittest.TestCase):
    """What a report of schemathesis comes to."""

    def found(self, **changes):
        return {
            'errors': [],
            'complete': True,
            'stop_reason': 'completed',
            'phases': {one: {'status': 'success'} for one in openapi.ALONE},
            'operations': {'tested': 43},
            'test_cases': {'generated': 6000, 'unique_failures': 0},
            **changes,
        }

    def test_all_is_well(self):
        self.assertEqual(
            {'cases': 6000, 'failures': 0, 'tested': 43, 'wrong': []},
            openapi.summary(self.found(), openapi.ALONE, 43),
        )

    def test_what_was_not_done_is_wrong(self):
        for changes, sentence in (
            ({'complete': False, 'stop_reason': 'x'}, 'stopped: x'),
            ({'phases': None}, 'The phase fuzzing was not run: None.'),
            ({'operations': {'tested': 3}}, '3 of 43 operations were tested.'),
            ({'errors': [{'title': 'Broken', 'count': 2}]}, 'Broken (2)'),
        ):
            wrong = openapi.summary(self.found(**changes), openapi.ALONE, 43)[
                'wrong'
            ]
            self.assertIn(sentence, ' '.join(wrong))

    def test_failures_and_too_few(self):
        report = {
            'operations': 43,
            'routes': 42,
            'schemathesis_cases': 4999,
            'failures': 1,
            'links': 19,
        }
        self.assertEqual(4, len(openapi._missing(report)))
        good = {
            **report,
            'routes': 43,
            'schemathesis_cases': 5000,
            'failures': 0,
            'links': 20,
        }
        self.assertEqual([], openapi._missing(good))

    def test_links(self):
        said = '   API Links:    31 covered / 72 selected'
        self.assertEqual((31, 0), (openapi.links(said), openapi.links('')))


class HorizonLabTest(unittest.TestCase):
    """What the tests in the browser come to, and what becomes of the lab."""

    def test_too_few_or_failed(self):
        good = {'n': 7, 'failed': 0, 'wrong': []}
        self.assertEqual([], horizon_lab.outcome(good).wrong)
        self.assertEqual(
            {'browser_tests': 7, 'failed': 0}, horizon_lab.outcome(good).report
        )
        self.assertEqual(1, len(horizon_lab.outcome({**good, 'n': 6}).wrong))
        bad = {**good, 'failed': 1, 'wrong': ['no row h3']}
        self.assertEqual(['no row h3'], horizon_lab.outcome(bad).wrong)

    def test_the_lab_is_taken_down_whatever_happens(self):
        with (
            mock.patch.object(
                horizon_lab.subprocess, 'call', side_effect=[0, 3, 0]
            ) as call,
            self.assertRaisesRegex(ui.Problem, 'up --horizon ended with 3'),
            horizon_lab._lab(),
        ):
            self.fail('it is not up')
        self.assertEqual(
            [['down'], ['up', '--horizon'], ['down']],
            [one.args[0][1:] for one in call.call_args_list],
        )
