# SPDX-License-Identifier: Apache-2.0
"""Checks that are taken out of the code, and nothing else."""

from __future__ import annotations

import pathlib
import tempfile

import testtools

from korora_tools import ui
from korora_tools.prove import patches

CODE = """\
class One:
    def check(self):
        if self.wrong:
            raise ValueError
        return 1


def check():
    if wrong:
        raise ValueError
"""
TEST = """\
import code_under_test
import unittest


class Test(unittest.TestCase):
    def test(self):
        self.assertRaises(ValueError, code_under_test.check)
"""


class PatchTest(testtools.TestCase):
    def made(self, function: str, old: str = 'if ', new: str = 'if 0 and '):
        return patches.Patch('x.py', function, old, new)

    def test_function_and_method(self) -> None:
        changed = self.made('check').apply(CODE)
        self.assertIn('    if 0 and wrong:\n', changed)
        self.assertIn('        if self.wrong:\n', changed)
        changed = self.made('One.check').apply(CODE)
        self.assertIn('        if 0 and self.wrong:\n', changed)
        self.assertIn('\n    if wrong:\n', changed)

    def test_constant(self) -> None:
        patch = patches.Patch('x.py', 'LIMIT', '4', '5')
        self.assertEqual('LIMIT: int = 5\n', patch.apply('LIMIT: int = 4\n'))

    def test_code_that_is_another(self) -> None:
        for function, old in (
            ('missing', 'if '),
            ('Two.check', 'if '),
            ('check', 'unless '),
            ('check', 'r'),
        ):
            self.assertRaises(ui.Problem, self.made(function, old).apply, CODE)

    def test_patch_that_does_not_compile(self) -> None:
        self.assertRaises(
            ui.Problem, self.made('check', new='else ').apply, CODE
        )


class ScratchTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        root = pathlib.Path(scratch.name)
        self.code = root / 'code_under_test.py'
        self.code.write_text(CODE.replace('if wrong', 'if True'))
        (root / 'test_it.py').write_text(TEST)
        self.scratch = patches.Scratch(root)
        self.test = 'test_it.Test.test'

    def made(self, new: str = 'if False') -> patches.Patch:
        return patches.Patch('code_under_test.py', 'check', 'if True', new)

    def test_red_without(self) -> None:
        self.assertTrue(self.scratch.run(self.test).passed)
        self.assertTrue(self.scratch.red_without(self.made(), self.test))
        self.assertIn('if True', self.code.read_text())
        self.assertFalse(
            self.scratch.red_without(self.made('if 1'), self.test)
        )

    def test_test_that_is_not_there(self) -> None:
        for name in ('test_it.Test.gone', 'test_gone.Test.test'):
            outcome = self.scratch.run(name)
            self.assertFalse(outcome.passed)
            self.assertFalse(outcome.failed)
