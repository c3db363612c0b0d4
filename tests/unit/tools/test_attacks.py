# SPDX-License-Identifier: Apache-2.0
"""Attacks and faults: their rows are about code and tests that are there."""

from __future__ import annotations

import ast
import unittest

from korora_nova import faultpoints
from korora_tools import checkout
from korora_tools.prove.attack import catalogue, custody, inside
from korora_tools.prove.faults import inside as rounds
from korora_tools.prove.faults.victims import VICTIMS
from tests.faults import matrix, run

LIST = [
    *(f'A{number}' for number in range(1, 13)),
    'C1',
    *(f'O{number}' for number in range(1, 13)),
    *(f'S{number}' for number in range(1, 7)),
    *(f'T{number}' for number in range(1, 53)),
]


def _docstrings(test: str) -> str:
    """All that says what a test is about.

    :raises AssertionError: there is no such test.
    """
    *module, group, name = test.split('.')
    path = checkout.ROOT.joinpath(*module).with_suffix('.py')
    inside: list[ast.Module | ast.ClassDef | ast.FunctionDef] = [
        ast.parse(path.read_text(encoding='utf-8'))
    ]
    for wanted in (group, name):
        inside += [
            node
            for node in inside[-1].body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
            and node.name == wanted
        ]
    if len(inside) != 3:
        raise AssertionError(f'there is no {test}')
    return ' '.join(filter(None, map(ast.get_docstring, inside)))


class CatalogueTest(unittest.TestCase):
    def test_all_have_a_row(self) -> None:
        self.assertEqual(
            LIST,
            [attack.id for attack in catalogue.ATTACKS],
        )

    def test_each_check_is_in_the_code(self) -> None:
        for attack in catalogue.ATTACKS:
            with self.subTest(attack.id):
                path = checkout.ROOT / attack.check.file
                text = path.read_text(encoding='utf-8')
                self.assertNotEqual(text, attack.check.apply(text))

    def test_each_test_is_there_and_names_it(self) -> None:
        for attack in catalogue.ATTACKS:
            for test in attack.tests:
                with self.subTest(f'{attack.id} {test}'):
                    self.assertRegex(_docstrings(test), rf'\b{attack.id}\b')

    def test_those_on_the_lab(self) -> None:
        tried = [id for one in inside.chosen(False, []) for id in one.ids]
        self.assertEqual(len(tried), len(set(tried)))
        self.assertEqual(catalogue.ON_LAB, set(tried))
        self.assertLess(
            {id for one in inside.chosen(True, []) for id in one.ids},
            catalogue.ON_LAB,
        )

    def test_faults_has_no_table_of_its_own(self) -> None:
        self.assertLess(
            {attack.id for attack in custody.ATTACKS}, set(catalogue.BY_ID)
        )


class RoundsTest(unittest.TestCase):
    def test_each_victim_is_hit(self) -> None:
        planned = rounds.plan(2 * len(VICTIMS), 1)
        self.assertEqual(
            {victim.name: 2 for victim in VICTIMS},
            {
                victim.name: sum(one.victim is victim for one in planned)
                for victim in VICTIMS
            },
        )
        self.assertEqual(planned, rounds.plan(2 * len(VICTIMS), 1))
        self.assertNotEqual(planned, rounds.plan(2 * len(VICTIMS), 2))


class MatrixTest(unittest.TestCase):
    def faults(self, actor: str, *names: str) -> list[run.Fault]:
        return matrix.faults('moved', [(actor, name, 0) for name in names])

    def test_each_kind_is_possible_somewhere(self) -> None:
        every = [
            *self.faults('v', 'v.permit', 'v.anchor'),
            *self.faults('h1', 'host.outgoing', 'ask.send', 'bus.wrap'),
        ]
        self.assertEqual(set(run.KINDS), {fault.kind for fault in every})
        for fault in every:
            self.assertIn(fault.point, faultpoints.POINTS)

    def test_sample(self) -> None:
        every = self.faults('h1', 'host.outgoing', 'host.moving', 'ask.send')
        sample = matrix.chosen(every, 20, 1)
        self.assertEqual(20, len(set(sample)))
        self.assertEqual(sample, matrix.chosen(every, 20, 1))
        self.assertNotEqual(sample, matrix.chosen(every, 20, 2))
