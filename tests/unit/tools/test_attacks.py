# SPDX-License-Identifier: Apache-2.0
"""tools/prove faults: its rows are about code and tests that are there."""

from __future__ import annotations

import ast
import unittest

from korora_nova import faultpoints
from korora_tools import checkout
from korora_tools.prove.faults import attacks, inside
from korora_tools.prove.faults.victims import VICTIMS
from tests.faults import matrix, run


class AttacksTest(unittest.TestCase):
    def test_all_have_a_row(self) -> None:
        self.assertEqual(
            [f'A{number}' for number in range(1, 13)]
            + ['C1', 'T11']
            + [f'T{number}' for number in range(39, 47)],
            [attack.id for attack in attacks.ATTACKS],
        )

    def test_each_check_is_in_the_code(self) -> None:
        for attack in attacks.ATTACKS:
            with self.subTest(attack.id):
                path = checkout.ROOT / attack.check.file
                text = path.read_text(encoding='utf-8')
                self.assertNotEqual(text, attack.check.apply(text))

    def test_each_test_is_there(self) -> None:
        for attack in attacks.ATTACKS:
            with self.subTest(attack.id):
                *module, group, name = attack.test.split('.')
                path = checkout.ROOT.joinpath(*module).with_suffix('.py')
                tree = ast.parse(path.read_text(encoding='utf-8'))
                methods = [
                    method.name
                    for node in tree.body
                    if isinstance(node, ast.ClassDef) and node.name == group
                    for method in node.body
                    if isinstance(method, ast.FunctionDef)
                ]
                self.assertIn(name, methods)


class RoundsTest(unittest.TestCase):
    def test_each_victim_is_hit(self) -> None:
        planned = inside.plan(2 * len(VICTIMS), 1)
        self.assertEqual(
            {victim.name: 2 for victim in VICTIMS},
            {
                victim.name: sum(one.victim is victim for one in planned)
                for victim in VICTIMS
            },
        )
        self.assertEqual(planned, inside.plan(2 * len(VICTIMS), 1))
        self.assertNotEqual(planned, inside.plan(2 * len(VICTIMS), 2))


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
