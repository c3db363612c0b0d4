# SPDX-License-Identifier: Apache-2.0
"""The tests of open faults are what they say (tests.support.faults)."""

import collections
import pathlib
import tempfile
import textwrap
import unittest

import testtools

from korora_nova import errors
from tests.support import faults


class OpenFaultsTest(unittest.TestCase):
    def test_ids_are_unique(self):
        counted = collections.Counter(fault.id for fault in faults.found())
        self.assertEqual(
            [], [id for id, times in counted.items() if times > 1]
        )

    def test_ids_and_topics_are_known(self):
        for fault in faults.found():
            with self.subTest(fault.id, where=fault.where):
                self.assertRegex(fault.id, faults.IDS)
                self.assertIn(fault.topic, faults.TOPICS)

    def test_each_test_begins_with_its_id(self):
        for fault in faults.found():
            with self.subTest(fault.id, where=fault.where):
                self.assertTrue(
                    fault.about.startswith(f'{fault.id}: '), fault.about
                )

    def test_what_is_marked_is_found(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, 'test_it.py')
            path.write_text(
                textwrap.dedent('''
                class Test:
                    @faults.not_yet('H1', 'lifecycle', today='gone')
                    def test_it(self):
                        """H1: the key is gone.

                        More."""

                    def test_mended(self):
                        """H2: nothing is marked."""
                ''')
            )
            cases = pathlib.Path(directory, 'cases')
            cases.mkdir()
            (cases / 'them.yaml').write_text(
                textwrap.dedent("""
                cases:
                - {name: 'field 01: a', not-yet: {fault: field 01,
                   topic: field, today: x}}
                - {name: b}
                """)
            )
            self.assertEqual(
                [
                    faults.Fault(
                        'H1',
                        'lifecycle',
                        'test_it.py:4',
                        'H1: the key is gone.',
                        f'{pathlib.Path(directory).name}.test_it.Test.test_it',
                    ),
                    faults.Fault(
                        'field 01',
                        'field',
                        'cases/them.yaml',
                        'field 01: a',
                        'tests.unit.test_vectors.VectorsTest.'
                        'test_them_field_01_a',
                    ),
                ],
                faults.found(pathlib.Path(directory)),
            )


class MarkTest(unittest.TestCase):
    """Both kinds of test cases that the project has."""

    def outcome(self, kind, exc=None):
        """What comes of a marked test that raises this."""

        mark = faults.not_yet('A1', 'custody', today='LEDGER_BEHIND')

        class Marked(kind):
            @mark
            def test(self):
                if exc is not None:
                    raise exc

        result = unittest.TestResult()
        Marked('test').run(result)
        self.assertEqual(1, result.testsRun)
        return {
            name: len(getattr(result, name))
            for name in (
                'errors',
                'failures',
                'expectedFailures',
                'unexpectedSuccesses',
            )
            if getattr(result, name)
        }, result.wasSuccessful()

    def check(self, wanted, successful, exc=None):
        for kind in (unittest.TestCase, testtools.TestCase):
            with self.subTest(kind):
                self.assertEqual((wanted, successful), self.outcome(kind, exc))

    def test_it_fails_as_it_is_said_to(self):
        for exc in (
            AssertionError('1 != LEDGER_BEHIND'),
            errors.CustodyError('LEDGER_BEHIND'),
        ):
            self.check({'expectedFailures': 1}, True, exc)

    def test_it_succeeds(self):
        self.check({'unexpectedSuccesses': 1}, False)

    def test_it_fails_otherwise(self):
        self.check({'failures': 1}, False, AssertionError('1 != 2'))
        for exc in (
            errors.CustodyError('NOT_HOLDER'),
            ImportError('LEDGER_BEHIND'),
            TypeError('LEDGER_BEHIND'),
        ):
            self.check({'errors': 1}, False, exc)

    def test_marks_must_be_known(self):
        for fault, topic in (('X1', 'custody'), ('A1', 'that')):
            with self.assertRaises(ValueError):
                faults.not_yet(fault, topic, today='')
