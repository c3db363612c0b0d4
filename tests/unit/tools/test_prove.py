# SPDX-License-Identifier: Apache-2.0
"""tools/prove shows what it says, and says what it does not show."""

import argparse
import contextlib
import io
import json
import pathlib
import tempfile
import unittest
from unittest import mock

from korora_tools import checkout
from korora_tools.prove import cli, field, open_faults
from korora_tools.structure import figures
from korora_tools.test import stream, suites
from tests.field import Case, recorded
from tests.support import faults as marks


class ProveTestCase(unittest.TestCase):
    def prove(self, *argv):
        """The exit code, what is printed, and the report."""
        out = io.StringIO()
        with (
            tempfile.TemporaryDirectory() as scratch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            mock.patch('korora_tools.signals.take_over'),
        ):
            path = pathlib.Path(scratch, 'report')
            name, *rest = argv
            with mock.patch(
                'sys.argv',
                ['x', '--no-setup', name, '--json', str(path), *rest],
            ):
                code = cli.main()
            return code, out.getvalue(), json.loads(path.read_text())


class ClaimsTest(unittest.TestCase):
    def test_each_claim_has_what_is_needed(self):
        for name in cli.CLAIMS:
            claim = cli._load(name)
            self.assertIsInstance(claim.ABOUT, str)
            self.assertIsInstance(claim.NEEDS_SETUP, bool)
            claim.add_options(argparse.ArgumentParser())
            self.assertTrue(callable(claim.prove))


class FieldTest(ProveTestCase):
    def test_says_what_is_recorded_and_what_is_built(self):
        code, text, report = self.prove('field', '--without-tpm')
        self.assertEqual({}, report['wrong'])
        self.assertEqual(
            list(recorded.hosts()),
            [
                row['os']
                for row in report['hosts']
                if row['source'] == 'recorded'
            ],
        )
        for row in report['hosts']:
            self.assertTrue(row['affirming'] and row['tampered_refused'])
            if row['source'] == 'built':
                self.assertIn('was not booted', row['how'])
            else:
                self.assertIn('tools/vectors record', row['command'])
        cases, advices = report['field_cases'], report['advice']
        self.assertEqual(cases['n'], cases['right'])
        self.assertGreaterEqual(cases['n'], field.CASES)
        self.assertEqual(advices['reasons'], advices['helps'])
        # It does not hold as long as something is missing.
        self.assertEqual(1, code)
        self.assertIn('need a TPM were left out', report['not_shown'][-1])
        self.assertIn(report['not_shown'][-1], text)

    def test_a_host_that_was_not_recorded(self):
        cases = {'clauses': {str(n): {'n': 2} for n in field.CLAUSES}}
        rows = [{'os': name, 'source': 'built'} for name in field.RECORDED]
        found = field.missing(False, cases, rows)
        self.assertEqual(
            [f'No {name} was recorded.' for name in field.RECORDED], found
        )
        rows = [{**row, 'source': 'recorded'} for row in rows]
        self.assertEqual([], field.missing(False, cases, rows))

    def test_what_is_wrong_is_counted(self):
        def fails():
            raise AssertionError('want x, got y')

        case = Case('4-99', 4, 'https://example.org', 'something', fails)
        found, wrong = field.field_cases([case])
        self.assertEqual((1, 0), (found['n'], found['right']))
        self.assertIn('want x, got y', wrong['4-99'])
        self.assertFalse(
            field.holds(
                {
                    'hosts': [],
                    'field_cases': found,
                    'advice': {'reasons': 1, 'tried': 1, 'helps': 1},
                    'not_shown': [],
                }
            )
        )

    def test_a_host_that_passes_although_it_was_tampered_with(self):
        report = {
            'hosts': [{'affirming': True, 'tampered_refused': True}],
            'field_cases': {'n': 25, 'right': 25},
            'advice': {'reasons': 1, 'tried': 1, 'helps': 1},
            'not_shown': [],
        }
        self.assertTrue(field.holds(report))
        for change in (
            {'hosts': [{'affirming': True, 'tampered_refused': False}]},
            {'hosts': [{'affirming': False, 'tampered_refused': True}]},
            {'field_cases': {'n': 24, 'right': 24}},
            {'advice': {'reasons': 2, 'tried': 1, 'helps': 1}},
            {'not_shown': ['x']},
        ):
            self.assertFalse(field.holds({**report, **change}))


class StructureTest(ProveTestCase):
    def test_within_the_limits(self):
        code, text, report = self.prove('structure')
        self.assertEqual((0, report), (code, json.loads(text)))

    def test_over_a_limit(self):
        with mock.patch.dict(figures.LIMITS, function_p95=1):
            code, text, _ = self.prove('structure')
        self.assertEqual(1, code)
        self.assertIn('error: function_p95 is ', text)


class FaultsTest(ProveTestCase):
    def test_list(self):
        code, text, report = self.prove('open-faults', '--list')
        self.assertEqual(0, code)
        self.assertEqual(
            [fault.id for fault in marks.found()],
            [row['id'] for row in report],
        )
        self.assertEqual(2 * len(report), len(text.splitlines()))

    def faults(self, **changes):
        """Prove them with runners that say xfail, but for these ids."""
        ids = {fault.test: fault.id for fault in marks.found()}
        self.ran = {}

        def stestr(name, path, verbose, only):
            self.assertTrue(path.is_dir(), path)
            self.ran[name] = only
            said = {test: changes.get(ids[test], 'xfail') for test in only}
            return stream.Totals(
                statuses={test: one for test, one in said.items() if one}
            )

        with mock.patch.object(suites, 'stestr', stestr):
            return self.prove('open-faults')

    def test_all_fail_as_said(self):
        code, text, report = self.faults()
        self.assertEqual(0, code)
        self.assertEqual(
            ['open'] * len(report), [r['outcome'] for r in report]
        )
        self.assertEqual(len(marks.found()), len(report))
        self.assertTrue(
            text.endswith(f'{len(report)} open, 0 not as said\n'), text
        )
        self.assertEqual(
            sorted(fault.test for fault in marks.found()),
            sorted(test for tests in self.ran.values() for test in tests),
        )

    def test_one_does_not(self):
        if not marks.found():
            self.skipTest('no fault is open')
        one = marks.found()[0].id
        for status, outcome in (
            ('uxsuccess', 'mended, but still marked'),
            ('fail', 'its test fails otherwise'),
            ('success', 'its test fails otherwise'),
            ('skip', 'its test fails otherwise'),
            (None, 'its test did not run'),
        ):
            with self.subTest(status):
                code, text, report = self.faults(**{one: status})
                self.assertEqual(1, code)
                self.assertEqual(
                    [(outcome, one)],
                    [
                        (row['outcome'], row['id'])
                        for row in report
                        if row['outcome'] != 'open'
                    ],
                )

    def test_each_marked_test_is_there(self):
        for fault in marks.found():
            name = open_faults.directory(fault.test)
            self.assertTrue((checkout.ROOT / 'tests' / name).is_dir(), name)


class ChosenTest(unittest.TestCase):
    """stestr runs those tests only that are chosen."""

    def test_one_of_many(self):
        with contextlib.redirect_stdout(io.StringIO()):
            every = self.run_tpm2()
            name = sorted(every.statuses)[-1]
            one = self.run_tpm2(name)
        self.assertGreater(every.passed, 1)
        self.assertEqual({name: 'success'}, one.statuses, one.failures)

    def run_tpm2(self, *only):
        return suites.stestr(
            'tpm2', suites.TESTS / 'unit/rats/tpm2', False, only=only
        )
