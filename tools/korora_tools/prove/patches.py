# SPDX-License-Identifier: Apache-2.0
"""Take one check out of a copy of the code, and see a test fail.

A test that stays green without the check that it is about shows nothing.
"""

from __future__ import annotations

import ast
import contextlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from korora_tools import checkout, ui

#: What a test needs, copied for each :class:`Scratch`.
PARTS = (
    'doc',
    'etc',
    'korora_nova',
    'korora_nova.egg-info',
    'korora_tempest_plugin',
    'nova',
    'pyproject.toml',
    'setup.cfg',
    'tests',
    'tools',
)
#: Seconds for one test.
TIMEOUT = 900.0

_RAN = re.compile(r'^Ran (\d+) tests?', re.MULTILINE)


@dataclass(frozen=True)
class Patch:
    """One check less.

    :param file: of the code, relative to the checkout.
    :param function: ``name`` or ``Class.name`` in it, or a constant's name.
    :param old: text that is in the function exactly once.
    :param new: what stands there instead.
    """

    file: str
    function: str
    old: str
    new: str

    @property
    def code(self) -> str:
        """``file:function``."""
        return f'{self.file}:{self.function}'

    def apply(self, text: str) -> str:
        """The file's text without the check.

        :raises Problem: the code is not what the patch is about.
        """
        first, last = self._lines(text)
        lines = text.splitlines(keepends=True)
        body = ''.join(lines[first:last])
        if body.count(self.old) != 1:
            raise ui.Problem(
                f'{self.code} has this text {body.count(self.old)} times, '
                f'not once: {self.old!r}'
            )
        body = body.replace(self.old, self.new)
        changed = ''.join([*lines[:first], body, *lines[last:]])
        try:
            ast.parse(changed)
        except SyntaxError as exc:
            raise ui.Problem(f'{self.code}: patched, {exc}') from None
        return changed

    def _lines(self, text: str) -> tuple[int, int]:
        """Where the function is: first line, and the one after its last."""
        inside: list[ast.stmt] = ast.parse(text).body
        *around, name = self.function.split('.')
        for outer in around:
            inside = [
                inner
                for node in inside
                if isinstance(node, ast.ClassDef) and node.name == outer
                for inner in node.body
            ]
        for node in inside:
            if _name(node) == name:
                return node.lineno - 1, node.end_lineno or node.lineno
        raise ui.Problem(f'there is no {self.code}')


def _name(node: ast.stmt) -> str | None:
    """What a function, or a constant with a type, is called."""
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return None


@dataclass(frozen=True)
class Outcome:
    """Of one test: whether it ran and passed, ran and failed, or neither."""

    passed: bool
    failed: bool
    output: str


class Scratch:
    """A copy of the checkout, of which one patch at a time is a part."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root

    @classmethod
    @contextlib.contextmanager
    def of(cls, source: pathlib.Path = checkout.ROOT) -> Iterator[Scratch]:
        """Copy what is there now; gone at the end."""
        with tempfile.TemporaryDirectory(prefix='korora-patched-') as name:
            root = pathlib.Path(name)
            for part in PARTS:
                path = source / part
                if path.is_dir():
                    shutil.copytree(
                        path,
                        root / part,
                        symlinks=True,
                        ignore=shutil.ignore_patterns('__pycache__'),
                    )
                elif path.exists():
                    shutil.copy(path, root / part)
            yield cls(root)

    @contextlib.contextmanager
    def without(self, patch: Patch) -> Iterator[None]:
        """The check is not there meanwhile.

        :raises Problem: as :meth:`Patch.apply`.
        """
        path = self.root / patch.file
        if not path.exists():
            raise ui.Problem(f'there is no {patch.file}')
        text = path.read_text(encoding='utf-8')
        path.write_text(patch.apply(text), encoding='utf-8')
        try:
            yield
        finally:
            path.write_text(text, encoding='utf-8')

    def run(self, test: str) -> Outcome:
        """Run one test by its dotted name."""
        try:
            done = subprocess.run(
                [sys.executable, '-m', 'unittest', test],
                cwd=self.root,
                env=_environment(self.root),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return Outcome(False, True, f'not done after {TIMEOUT:.0f} s')
        ran = _RAN.search(done.stdout)
        valid = (
            ran is not None
            and int(ran[1]) > 0
            and '_FailedTest' not in done.stdout
        )
        return Outcome(
            valid and done.returncode == 0,
            valid and done.returncode != 0,
            done.stdout,
        )

    def red_without(self, patch: Patch, test: str) -> bool:
        """Whether the test runs, and fails, without the check."""
        with self.without(patch):
            return self.run(test).failed


def _environment(root: pathlib.Path) -> dict[str, str]:
    # Only the virtual environment has what this imports.
    from korora_tools.test import suites

    return {
        **suites.environment(),
        'PYTHONPATH': f'{root}:{root / "tools"}',
    }
