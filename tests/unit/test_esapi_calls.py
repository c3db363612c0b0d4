# SPDX-License-Identifier: Apache-2.0
"""ESAPI calls name their arguments.

tpm2-pytss 3.0 put those of three commands into another order, and both
orders are in the field: a call by position works with one of them only.
"""

import ast
import pathlib

import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: What the project calls an ESAPI.
NAMES = frozenset({'esys', 'esapi'})


def by_position(source: str) -> list[int]:
    """Lines of calls with an argument by position beside another one."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and _name(node.func.value) in NAMES
        and node.args
        and len(node.args) + len(node.keywords) > 1
    ]


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ''


class TestEsapiCalls(testtools.TestCase):
    def test_arguments_are_named(self) -> None:
        paths = [
            path
            for tree in ('korora_nova', 'tests', 'tools')
            for path in (ROOT / tree).rglob('*.py')
        ]
        self.assertTrue(any('esys.' in path.read_text() for path in paths))
        found = [
            f'{path.relative_to(ROOT)}:{line}'
            for path in paths
            for line in by_position(path.read_text())
        ]
        self.assertEqual([], found)

    def test_a_call_by_position_is_found(self) -> None:
        self.assertEqual([1], by_position('self.esys.load(a, b)'))
        self.assertEqual([1], by_position('esapi.unseal(a, session1=b)'))
        self.assertEqual([], by_position('esys.load(a=1, b=2)'))
        self.assertEqual([], by_position('esys.flush_context(a)'))
