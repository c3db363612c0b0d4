# SPDX-License-Identifier: Apache-2.0
"""Faults that are known and not yet mended, as tests that must fail.

Each was shown by an attack or by a host in the field and has an id. Its test
says what is right; :func:`not_yet` says that it is not so today, and how that
looks. Who mends a fault takes the marker away; a test that succeeds with its
marker fails the run. ``python -m tests.support.faults`` lists what is open.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import yaml

from korora_nova import errors
from tests.support import vectors

TESTS = pathlib.Path(__file__).parents[1]
#: What the work is called that mends it.
TOPICS = {
    'custody': 'a ledger that heals itself, decisions that need both ends',
    'lifecycle': "a protected server's whole life in Nova",
    'field': 'hypervisors as they are',
    'fleet': 'ten thousand hosts',
}
#: The class that has a test for each case of tests/vectors/cases.
CASES = 'tests.unit.test_vectors.VectorsTest'
IDS = re.compile(r'([ACHLM]\d+|field \d\d)[a-z]?')

_Test = TypeVar('_Test', bound=Callable[..., None])


def not_yet(fault: str, topic: str, *, today: str) -> Callable[[_Test], _Test]:
    """Mark a test of a fault that is not yet mended: a strict failure.

    :param fault: its id. More tests of one fault end in a, b, c...
    :param topic: a key of :data:`TOPICS`.
    :param today: pattern that the failure's text matches. It must be an
        assertion of the test, or a refusal with a reason id; the test fails
        with anything else, as it does if it succeeds.
    """
    if not IDS.fullmatch(fault) or topic not in TOPICS:
        raise ValueError(f'no such fault: {fault}, {topic}')
    pattern = re.compile(today)

    def mark(test: _Test) -> _Test:
        @functools.wraps(test)
        def strict(self: Any, *args: Any, **kwargs: Any) -> None:
            try:
                test(self, *args, **kwargs)
            except (AssertionError, errors.KororaError) as exc:
                if pattern.search(str(exc)):
                    raise
                self.addCleanup(_fail, exc)
            except Exception as exc:  # noqa: BLE001 told by the cleanup
                # Whatever a marked test raises itself counts as expected.
                self.addCleanup(_fail, exc)

        # What unittest.expectedFailure sets; testtools knows it, too.
        strict.__unittest_expecting_failure__ = True  # type: ignore
        return strict  # type: ignore

    return mark


def _fail(exc: Exception) -> None:
    raise exc


@dataclasses.dataclass(frozen=True)
class Fault:
    """One marked test.

    :param about: first line of its docstring, or the name of its case.
    :param test: what a runner of tests calls it.
    """

    id: str
    topic: str
    where: str
    about: str
    test: str

    def __str__(self) -> str:
        return f'{self.about}\n    {self.where} ({TOPICS[self.topic]})'


def found(root: pathlib.Path = TESTS) -> list[Fault]:
    """All marked tests below a directory, by id; nothing is imported."""
    marked = [
        fault
        for path in sorted(root.rglob('*.py'))
        for fault in _functions(path, root)
    ]
    marked += [
        fault
        for path in sorted(root.rglob('cases/*.yaml'))
        for fault in _cases(path, root)
    ]
    return sorted(marked, key=lambda fault: _order(fault.id))


def _order(fault: str) -> tuple[str, int, str]:
    kind, number, letter = re.fullmatch(r'(\D+)(\d+)(\D*)', fault).groups()  # type: ignore
    return kind, int(number), letter


def _functions(path: pathlib.Path, root: pathlib.Path) -> Iterator[Fault]:
    source = path.read_text(encoding='utf-8')
    if '@faults.not_yet(' not in source:
        return
    inside = path.relative_to(root)
    module = '.'.join((root.name, *inside.with_suffix('').parts))
    for group in ast.parse(source).body:
        if not isinstance(group, ast.ClassDef):
            continue
        for node, fault, topic in _marked(group):
            yield Fault(
                fault,
                topic,
                f'{inside}:{node.lineno}',
                (ast.get_docstring(node) or '').partition('\n')[0],
                f'{module}.{group.name}.{node.name}',
            )


def _marked(
    group: ast.ClassDef,
) -> Iterator[tuple[ast.FunctionDef, str, str]]:
    """The marked methods of a class, with id and topic."""
    for node in group.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if (
                isinstance(mark, ast.Call)
                and ast.unparse(mark.func) == 'faults.not_yet'
            ):
                fault, topic = map(ast.literal_eval, mark.args)
                yield node, fault, topic


def _cases(path: pathlib.Path, root: pathlib.Path) -> Iterator[Fault]:
    text = path.read_text(encoding='utf-8')
    if 'not-yet:' not in text:
        return
    for case in yaml.safe_load(text)['cases']:
        if 'not-yet' in case:
            mark = case['not-yet']
            yield Fault(
                mark['fault'],
                mark['topic'],
                str(path.relative_to(root)),
                case['name'],
                f'{CASES}.{vectors.test_name(path.stem, case["name"])}',
            )


def main() -> None:
    for fault in found():
        print(fault)


if __name__ == '__main__':
    main()
