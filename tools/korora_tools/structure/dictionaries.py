# SPDX-License-Identifier: Apache-2.0
"""Where a dictionary of anything stands for a type."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from korora_tools.structure.modules import Module

DICTS = frozenset({'dict', 'Dict', 'Mapping', 'MutableMapping'})


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
