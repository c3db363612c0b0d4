# SPDX-License-Identifier: Apache-2.0
"""The table of operations: complete, each row with a test that exists."""

from __future__ import annotations

import ast
import collections
import pathlib
import unittest

from korora_nova.rats import policy
from korora_tools.prove import life
from korora_tools.prove.life import groups, guest, responses, table

ROOT = pathlib.Path(__file__).resolve().parents[3]


def _tests(module: str) -> set[str]:
    path = ROOT / (module.replace('.', '/') + '.py')
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


class TableTest(unittest.TestCase):
    def test_enough_and_different(self) -> None:
        names = [one.op for one in table.chosen(None)]
        self.assertGreaterEqual(len(names), life.LEAST)
        self.assertEqual(len(names), len(set(names)))

    def test_each_is_in_the_guide(self) -> None:
        """And no row of the guide without an operation."""
        found = collections.Counter(
            groups.group_of(one.op).name for one in table.chosen(None)
        )
        self.assertEqual({one.name for one in groups.GROUPS}, set(found))

    def test_tests_exist(self) -> None:
        for one in table.chosen(None):
            module, _, name = one.test.rpartition('.')
            if not (ROOT / (module.replace('.', '/') + '.py')).exists():
                module, name = one.test, ''
            with self.subTest(one.op):
                found = _tests(module)
                self.assertTrue(not name or name in found, one.test)


class MistakeTest(unittest.TestCase):
    def test_the_service_would_take_it(self) -> None:
        found = policy.load(responses.MISTAKE)
        self.assertEqual(('mistake', ('*',)), (found.name, found.hosts))


class RowTest(unittest.TestCase):
    """What makes a row wrong."""

    def row(self, **changes: dict[str, str]) -> bool:
        one = table.chosen('stop and start')[0]
        good = {
            'seen': one.expected,
            'after': '',
            'guest_secret': 'kept',
            'seconds': 1,
        }
        here = {
            kind: {**good, **changes.get(kind, {})}
            for kind in ('vtpm', 'plain')
        }
        there = {'plain': {**good, **changes.get('stock', {})}}
        return bool(life._row(one, '34', here, there)['ok'])

    def test_good(self) -> None:
        self.assertTrue(self.row())

    def test_protected_is_not_as_its_row_says(self) -> None:
        self.assertFalse(self.row(vtpm={'seen': 'ERROR same'}))

    def test_secret_lost(self) -> None:
        self.assertFalse(self.row(vtpm={'guest_secret': 'lost'}))

    def test_plain_is_not_as_in_stock_nova(self) -> None:
        self.assertFalse(self.row(stock={'seen': 'ACTIVE other'}))

    def test_anything_wrong_afterwards(self) -> None:
        for kind in ('vtpm', 'plain', 'stock'):
            with self.subTest(kind):
                self.assertFalse(self.row(**{kind: {'after': 'keys: {}'}}))


class WordsTest(unittest.TestCase):
    """What counts of a guest's console."""

    def test_of_all_guests(self) -> None:
        for words, said in (
            ('sealed=a', guest.Words(sealed='a')),
            ('once=b nv=c sealed=FAIL', guest.Words(sealed='FAIL')),
            ('secure=on var=d', guest.Words('on', 'd')),
            ('secure=off var= sealed=a', guest.Words('off', '', 'a')),
        ):
            with self.subTest(words):
                line = f'TICK n=7 up=1.0 boot=x ext=ok pcr16=00 {words}\r\n'
                self.assertEqual([said], guest.heard(line))

    def test_not_what_is_still_being_written(self) -> None:
        self.assertEqual(
            [], guest.heard('TICK n=1 up=1\nTICK n=2 up=2 sealed=ab')
        )
