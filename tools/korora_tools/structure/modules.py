# SPDX-License-Identifier: Apache-2.0
"""The modules of a package, and what they import."""

from __future__ import annotations

import ast
import dataclasses
import functools
import pathlib
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class Module:
    """One file of the package.

    :param name: dotted; a package's ``__init__`` has the package's name.
    :param imports: local name and dotted target of all that it imports.
    """

    name: str
    path: str
    lines: int
    tree: ast.Module
    imports: tuple[tuple[str, str], ...]

    @functools.cached_property
    def names(self) -> dict[str, str]:
        return dict(self.imports)


def load(root: pathlib.Path, package: str) -> dict[str, Module]:
    """The modules by name."""
    found = {}
    for path in sorted((root / package).rglob('*.py')):
        text = path.read_text(encoding='utf-8')
        parts = path.relative_to(root).with_suffix('').parts
        is_package = parts[-1] == '__init__'
        name = '.'.join(parts[:-1] if is_package else parts)
        tree = ast.parse(text)
        found[name] = Module(
            name,
            str(path.relative_to(root)),
            len(text.splitlines()),
            tree,
            tuple(imports(tree, '.'.join(parts[:-1]))),
        )
    return found


def imports(tree: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Local name and dotted target of whatever a module imports.

    :param package: the one that its relative imports start from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                yield alias.asname or alias.name, f'{base}.{alias.name}'


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that a statement takes something from."""
    if not node.level:
        return node.module or ''
    above = package.split('.')
    above = above[: len(above) - node.level + 1]
    return '.'.join([*above, *filter(None, [node.module])])
