# SPDX-License-Identifier: Apache-2.0
"""The architecture page says what the code says: its map and its walks.

Nothing is imported: names are looked up in the syntax trees.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import re
import typing
from collections.abc import Iterator

import testtools

from tests.unit import test_layering as layering

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / 'doc' / 'source' / 'contributor' / 'architecture.rst'
PACKAGE = 'korora_nova'

NAME = re.compile(r'((?:sent|called) by )?``([a-z]\w*(?:\.\w+)+)``')
UNDERLINE = re.compile(r'={3,}|-{3,}')
#: A directory, or a module, with its explanation on the right.
ENTRY = re.compile(r'( +)([\w./]+/|\w+\.py)(?: .*)?')
BOUNDARY = re.compile(r"Over (HTTP|the socket|the bus|a channel|Nova's \w+)\b")


def section(title: str) -> str:
    """The text below a title, up to the next one of any level."""
    lines = PAGE.read_text().splitlines()
    titles = [
        number
        for number, line in enumerate(lines[1:])
        if UNDERLINE.fullmatch(line) and lines[number].strip()
    ]
    for number, after in zip(titles, [*titles[1:], len(lines)], strict=True):
        if lines[number] == title:
            return '\n'.join(lines[number + 2 : after]) + '\n'
    raise AssertionError(f'{PAGE.name} has no section {title!r}')


# -- The map --------------------------------------------------------------


def mapped(text: str) -> set[str]:
    """Directories of the map, as paths from the root of the tree."""
    found, above = set(), [(-1, '')]
    for entry in filter(None, map(ENTRY.fullmatch, text.splitlines())):
        indent = len(entry[1])
        while above[-1][0] >= indent:
            above.pop()
        path = above[-1][1] + entry[2]
        found.add(path)
        above.append((indent, path))
    return found


def packages() -> set[str]:
    return {
        f'{path.parent.relative_to(ROOT)}/'
        for path in (ROOT / PACKAGE).rglob('__init__.py')
    }


class TestMap(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mapped = mapped(section('Where things are'))

    def test_every_package_is_there(self) -> None:
        self.assertEqual(
            [],
            sorted(packages() - self.mapped),
            'packages that the map lacks',
        )

    def test_nothing_is_there_that_does_not_exist(self) -> None:
        self.assertGreater(len(self.mapped), 30)
        self.assertEqual(
            [],
            [one for one in sorted(self.mapped) if not (ROOT / one).exists()],
            'on the map, but not in the tree',
        )

    def test_a_map_is_read_by_its_indentation(self) -> None:
        self.assertEqual(
            {'a/', 'a/b/', 'a/b/c/', 'a/d.py', 'e/f/'},
            mapped(
                '::\n\n  a/\n    b/    text\n      c/  more\n'
                '                        of it\n'
                '    d.py  text\n  e/f/    text\n'
            ),
        )


# -- The walks ------------------------------------------------------------


class Step(typing.NamedTuple):
    """One step of a walk.

    :param names: dotted, below the package; the first is where it happens.
    :param callers: those that it is reached from, and does not import.
    """

    text: str
    names: tuple[str, ...]
    callers: frozenset[str]
    boundary: bool


def steps(text: str) -> Iterator[Step]:
    for item in re.split(r'^#\. ', text, flags=re.MULTILINE)[1:]:
        joined = ' '.join(item.split('\n\n')[0].split())
        found = NAME.findall(joined)
        yield Step(
            joined,
            tuple(name for _, name in found),
            frozenset(name for sent, name in found if sent),
            BOUNDARY.match(joined) is not None,
        )


@functools.cache
def tree(module: str) -> ast.Module | None:
    """Syntax of a module below the package; None if there is none."""
    path = ROOT / PACKAGE / module.replace('.', '/')
    for file in (path.with_suffix('.py'), path / '__init__.py'):
        if file.is_file():
            return ast.parse(file.read_text())
    return None


def module_of(name: str) -> str:
    """The longest part of a dotted name that is a module, or ''."""
    parts = name.split('.')
    for size in range(len(parts), 0, -1):
        if tree('.'.join(parts[:size])) is not None:
            return '.'.join(parts[:size])
    return ''


def is_defined(name: str) -> bool:
    """Whether a module defines it: a function, class, method or constant."""
    module = module_of(name)
    body: list[ast.stmt] = []
    if module:
        body = getattr(tree(module), 'body', [])
    for part in name.removeprefix(module).lstrip('.').split('.'):
        inner = [one for one in body if part in _bound(one)]
        if not module or not inner:
            return False
        body = getattr(inner[0], 'body', [])
    return True


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target]
        )
        return {one.id for one in targets if isinstance(one, ast.Name)}
    return set()


def imports(module: str) -> set[str]:
    """Modules below the package that a module imports from."""
    name = f'{PACKAGE}.{module}'
    source = ast.unparse(tree(module) or ast.Module([], []))
    return {
        module_of(one.target.removeprefix(f'{PACKAGE}.'))
        for one in layering.imports(source, name)
        if layering.within(one.target, PACKAGE)
    }


def knows(module: str, other: str) -> bool:
    """Whether a module imports another, or the package that shows it."""
    return module == other or any(
        layering.within(other, one) for one in imports(module) if one
    )


def faults(walk: list[Step]) -> Iterator[str]:
    """Where a walk does not follow the code."""
    passed: list[str] = []
    for number, step in enumerate(walk, 1):
        place = f'step {number} ({step.text[:40]}...)'
        if not step.names:
            yield f'{place} names no function'
            continue
        for name in step.names:
            if not is_defined(name):
                yield f'{place}: there is no {PACKAGE}.{name}'
        here = module_of(step.names[0])
        if step.boundary:
            passed = []
        elif passed and here not in passed and not knows(passed[-1], here):
            yield f'{place}: {passed[-1]} does not import {here}'
        passed.append(here)
        for name in step.names[1:]:
            called = module_of(name)
            if name not in step.callers and not knows(here, called):
                yield f'{place}: {here} does not import {called}'


class TestWalks(testtools.TestCase):
    def follow(self, title: str, least: int) -> None:
        text = section(title)
        walk = list(steps(text))
        self.assertGreaterEqual(len(walk), least)
        self.assertLessEqual(len(text.splitlines()), 60, 'more than a screen')
        self.assertEqual([], list(faults(walk)), title)
        introduction = text.split('#. ')[0]
        for _, name in NAME.findall(introduction):
            self.assertTrue(is_defined(name), f'there is no {name}')

    def test_evidence(self) -> None:
        self.follow('Evidence, from the agent to the filter', 8)

    def test_key(self) -> None:
        self.follow('A key, from source to destination', 10)


class TestFaults(testtools.TestCase):
    """What the test of a walk would find."""

    START = '#. Over HTTP: ``verifier.attest.attest`` begins.\n'

    def found(self, more: str) -> list[str]:
        return list(faults(list(steps(self.START + more))))

    def test_none(self) -> None:
        self.assertEqual(
            [],
            self.found(
                '#. ``rats.appraise.appraise`` (``rats.evidence.qualify``)\n'
                '   follows.\n#. ``verifier.attest.attest`` goes on.\n'
                '#. Over the bus: ``attester.source.Source.wrap``, sent by\n'
                '   ``attester.rpc.Bus.ask``.\n'
            ),
        )

    def test_some(self) -> None:
        for more, expected in (
            ('#. ``rats.appraise.appraised``', 'there is no korora_nova.rats'),
            ('#. ``rats.nothing.there``', 'there is no korora_nova.rats'),
            ('#. ``osc.host.ListHost``', 'verifier.attest does not import'),
            (
                '#. ``rats.appraise.appraise`` (``rats.x509.path.walk``)',
                'does not import rats.x509.path',
            ),
            ('#. Nothing.', 'names no function'),
        ):
            self.assertIn(expected, ' '.join(self.found(more)), more)
