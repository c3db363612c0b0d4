# SPDX-License-Identifier: Apache-2.0
"""What a stage is, and which there are."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from korora_tools.prove.ecosystem import stages


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a stage has found.

    :param report: becomes JSON under the stage's key.
    :param wrong: sentences; empty if all that is claimed was shown.
    """

    report: object
    wrong: Sequence[str] = ()


def found() -> Mapping[str, Any]:
    """Name -> module, in the order of names."""
    return {
        one.name.replace('_', '-'): importlib.import_module(
            f'{stages.__name__}.{one.name}'
        )
        for one in sorted(
            pkgutil.iter_modules(stages.__path__), key=lambda one: one.name
        )
    }


def key(name: str) -> str:
    """Where the report has a stage's part."""
    return name.replace('-', '_')


def too_few(report: Mapping[str, Any], **least: int) -> list[str]:
    """A sentence for each number that is lower than wanted."""
    return [
        f'{what} is {report[what]}, at least {number} are wanted.'
        for what, number in least.items()
        if report[what] < number
    ]
