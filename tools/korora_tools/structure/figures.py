# SPDX-License-Identifier: Apache-2.0
"""The figures of a package, and what they count."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator, Mapping

from korora_tools.structure.cycles import cycles, graph
from korora_tools.structure.dictionaries import dict_any
from korora_tools.structure.modules import Module, load

ROOT = pathlib.Path(__file__).resolve().parents[3]
PACKAGE = 'korora_nova'
#: The most that each figure may be.
LIMITS = {'cycles': 0, 'dict_any': 60, 'function_p95': 35}
LONG_FILE = 400


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
