# SPDX-License-Identifier: Apache-2.0
"""The model of custody: what spin says of it, and what its mutations name."""

from __future__ import annotations

import ast
import re

import testtools

from korora_tools import checkout, ui
from korora_tools.prove import model, mutations

FOUND = """\
pan:1: assertion violated (ndocs<(8-1)) (at depth 692)
pan: wrote custody.pml.trail

(Spin Version 6.5.2 -- 6 December 2019)
Warning: Search not completed
\t+ Partial Order Reduction

State-vector 284 byte, depth reached 712, errors: 1
     1815 states, stored
       12 states, matched
"""
CLEAN = """\

(Spin Version 6.5.2 -- 6 December 2019)
\t+ Partial Order Reduction

State-vector 284 byte, depth reached 342, errors: 0
   114735 states, stored
    90000 states, matched

pan: elapsed time 0.7 seconds
"""


class ParseTest(testtools.TestCase):
    def test_without_violation(self) -> None:
        self.assertEqual(model.Result(114735, 0, True), model.parse(CLEAN))

    def test_violation(self) -> None:
        self.assertEqual(
            model.Result(1815, 1, True, 'assertion violated (ndocs<(8-1))'),
            model.parse(FOUND),
        )

    def test_search_that_was_cut(self) -> None:
        for line in (
            'error: max search depth too small\n',
            'pan: out of memory\n',
            'Warning: Search not completed\n',
        ):
            self.assertFalse(model.parse(line + CLEAN).complete)

    def test_no_result(self) -> None:
        for output in ('', 'pan: caught signal 9\n', 'errors: 0\n'):
            self.assertRaises(ui.Problem, model.parse, output)


class MutationTest(testtools.TestCase):
    def test_each_is_in_the_model(self) -> None:
        """And each of the model is in the table."""
        text = model.MODEL.read_text()
        names = [one.name for one in mutations.MUTATIONS]
        self.assertEqual(sorted(set(names)), sorted(names))
        self.assertGreaterEqual(len(names), 12)
        self.assertEqual(
            set(names),
            set(re.findall(r'\bMUTATE_(\w+)', text)),
        )

    def test_configurations(self) -> None:
        self.assertLessEqual(
            {one.configuration for one in mutations.MUTATIONS},
            set(model.CONFIGURATIONS),
        )
        text = model.MODEL.read_text()
        for bounds in model.CONFIGURATIONS.values():
            for name in bounds:
                self.assertRegex(text, rf'\b{name}\b')

    def test_code_is_there(self) -> None:
        for one in mutations.MUTATIONS:
            with self.subTest(one.name):
                path = checkout.ROOT / one.patch.file
                self.assertNotEqual(
                    path.read_text(), one.patch.apply(path.read_text())
                )

    def test_tests_are_there(self) -> None:
        for one in mutations.MUTATIONS:
            *module, case, name = one.test.split('.')
            path = checkout.ROOT.joinpath(*module).with_suffix('.py')
            self.assertIn(
                (case, name),
                {
                    (outer.name, inner.name)
                    for outer in ast.parse(path.read_text()).body
                    if isinstance(outer, ast.ClassDef)
                    for inner in outer.body
                    if isinstance(inner, ast.FunctionDef)
                },
                one.test,
            )
