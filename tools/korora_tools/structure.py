# SPDX-License-Identifier: Apache-2.0
"""Four figures of the package's structure, as one line of JSON.

``python3 -m korora_tools.structure`` in the root of a checkout prints them;
``--details`` lists what they count. Only the standard library is needed, and
nothing of the package is imported.

cycles
    Import cycles: strongly connected groups of two or more modules. Every
    import statement counts, also one inside a function or below
    TYPE_CHECKING. ``import a.b.c`` depends on the module a.b.c, and ``from
    a.b import c`` on a.b.c if that is a module, else on a.b. A package's
    ``__init__`` is a module like any other: others depend on it if they take
    something from it, not because Python runs it on the way to its modules.
dict_any
    How often ``dict[str, Any]`` is written, or the same with Dict, Mapping or
    MutableMapping, plus every use of an alias of one (of ``one | None``,
    too). The alias may stand in another module; an import is not a use.
files_over_400
    Files of more than 400 lines.
function_p95
    The length that 95 of 100 functions do not exceed, in lines from ``def``
    to the last one; methods and nested functions count, too.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Iterator, Mapping

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = 'korora_nova'
#: The most that each figure may be.
LIMITS = {'cycles': 3, 'dict_any': 352, 'function_p95': 35}

LONG_FILE = 400
DICTS = frozenset({'dict', 'Dict', 'Mapping', 'MutableMapping'})


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


@dataclasses.dataclass(frozen=True)
class Structure:
    """What is found, of which the figures are counts."""

    cycles: list[list[str]]
    dict_any: Mapping[str, int]
    long_files: Mapping[str, int]
    functions: Mapping[str, int]

    @property
    def figures(self) -> dict[str, int]:
        return {
            'cycles': len(self.cycles),
            'dict_any': sum(self.dict_any.values()),
            'files_over_400': len(self.long_files),
            'function_p95': percentile(list(self.functions.values()), 95),
        }

    def __str__(self) -> str:
        return json.dumps(self.figures)

    @property
    def over_limit(self) -> list[str]:
        """A sentence for each figure that is too high."""
        return [
            f'{name} is {self.figures[name]}, at most {limit} are allowed'
            for name, limit in LIMITS.items()
            if self.figures[name] > limit
        ]

    def details(self) -> Iterator[str]:
        """A line for each cycle, file and function that is counted."""
        for cycle in self.cycles:
            yield 'cycle: ' + ' '.join(cycle)
        for title, counts, least in (
            ('dict_any', self.dict_any, 0),
            ('lines', self.long_files, LONG_FILE),
            ('lines', self.functions, LIMITS['function_p95']),
        ):
            most = sorted(counts.items(), key=lambda item: -item[1])
            for place, count in most:
                if count > least:
                    yield f'{title}: {count:4} {place}'


def measure(root: pathlib.Path = ROOT, package: str = PACKAGE) -> Structure:
    """Read all modules of a package below a directory."""
    modules = load(root, package)
    return Structure(
        cycles=cycles(graph(modules)),
        dict_any=dict_any(modules),
        long_files={
            module.path: module.lines
            for module in modules.values()
            if module.lines > LONG_FILE
        },
        functions=dict(functions(modules)),
    )


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


# -- Imports --------------------------------------------------------------


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


def graph(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Each module with those that it depends on."""
    return {
        name: {
            other
            for _, target in module.imports
            if (other := owner(target, modules)) and other != name
        }
        for name, module in modules.items()
    }


def owner(target: str, modules: Mapping[str, Module]) -> str | None:
    """The module that is imported, or that holds the imported name."""
    if target in modules:
        return target
    parent = target.rpartition('.')[0]
    return parent if parent in modules else None


def cycles(depends: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that depend on each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(depends.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            start = stack.index(name)
            group = sorted(stack[start:])
            del stack[start:]
            if len(group) > 1:
                found.append(group)

    for name in sorted(depends):
        if name not in index:
            visit(name)
    return sorted(found)


# -- Dictionaries of anything ---------------------------------------------


def dict_any(modules: Mapping[str, Module]) -> dict[str, int]:
    """Path -> how many it has, for those files that have some."""
    aliases = _aliases(modules)
    found = {}
    for module in modules.values():
        count = 0
        for node in _nodes(module.tree):
            if isinstance(getattr(node, 'ctx', None), ast.Store):
                continue  # the alias itself
            if (
                _is_dict_any(node)
                or _resolved(node, module, modules) in aliases
            ):
                count += 1
        if count:
            found[module.path] = count
    return found


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, and those of the types that are given as strings."""
    for node in ast.walk(tree):
        yield node
        for written in _written(node):
            for part in ast.walk(written):
                if isinstance(part, ast.Constant) and isinstance(
                    part.value, str
                ):
                    yield from _parsed(part.value)


def _written(node: ast.AST) -> list[ast.expr]:
    """The types that stand directly at a node."""
    if isinstance(node, ast.arg | ast.AnnAssign):
        return [node.annotation] if node.annotation else []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.returns] if node.returns else []
    if isinstance(node, ast.Call) and node.args:
        if ast.unparse(node.func).rpartition('.')[2] == 'cast':
            return [node.args[0]]
    return []


def _parsed(text: str) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(ast.parse(text, mode='eval'))
    except SyntaxError:
        return


def _is_dict_any(node: ast.AST) -> bool:
    if not isinstance(node, ast.Subscript):
        return False
    if not isinstance(node.slice, ast.Tuple) or len(node.slice.elts) != 2:
        return False
    key, value = node.slice.elts
    return (
        _last(node.value) in DICTS
        and _last(key) == 'str'
        and _last(value) == 'Any'
    )


def _last(node: ast.AST) -> str:
    """The name that a type goes by: ``typing.Any`` -> Any."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ''


def _aliases(modules: Mapping[str, Module]) -> set[str]:
    """Dotted names of all aliases, those of other aliases included."""
    candidates = [
        (f'{module.name}.{name}', part, module)
        for module in modules.values()
        for name, value in _assigned(module.tree)
        for part in _alternatives(value)
    ]
    found: set[str] = set()
    while True:
        new = {
            name
            for name, value, module in candidates
            if _is_dict_any(value)
            or _resolved(value, module, modules) in found
        }
        if new <= found:
            return found
        found |= new


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """What a module assigns to names of its own."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and node.value is not None:
                yield target.id, node.value


def _alternatives(node: ast.expr) -> list[ast.expr]:
    """``a | b`` -> a and b."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _resolved(
    node: ast.AST, module: Module, modules: Mapping[str, Module]
) -> str | None:
    """Where the thing is defined that a name or an attribute names."""
    if not isinstance(node, ast.Name | ast.Attribute):
        return None
    written = ast.unparse(node)
    head, _, rest = written.partition('.')
    if isinstance(node, ast.Name) and head not in module.names:
        return f'{module.name}.{head}'
    target = written
    if head in module.names:
        target = '.'.join(filter(None, [module.names[head], rest]))
    # A name may be taken from a module that itself has imported it.
    seen = set()
    while target not in seen:
        seen.add(target)
        holder, _, name = target.rpartition('.')
        if holder in modules and name in modules[holder].names:
            target = modules[holder].names[name]
    return target


# -- Functions ------------------------------------------------------------


def functions(modules: Mapping[str, Module]) -> Iterator[tuple[str, int]]:
    """Place and length of every function."""
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield (
                    f'{module.path}:{node.lineno} {node.name}',
                    node.end_lineno - node.lineno + 1,
                )


def percentile(values: list[int], percent: int) -> int:
    """The smallest value that so many percent do not exceed; 0 of none."""
    if not values:
        return 0
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[rank - 1]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python3 -m korora_tools.structure',
        description='Print four figures of the structure of '
        f'{PACKAGE} as one line of JSON.',
    )
    parser.add_argument(
        '--details',
        action='store_true',
        help='list what the figures count, too',
    )
    options = parser.parse_args()
    found = measure()
    print(found)
    if options.details:
        for line in found.details():
            print(line)


if __name__ == '__main__':
    main()
