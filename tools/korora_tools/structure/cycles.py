# SPDX-License-Identifier: Apache-2.0
"""Which modules depend on each other."""

from __future__ import annotations

from collections.abc import Mapping

from korora_tools.structure.modules import Module


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
