# SPDX-License-Identifier: Apache-2.0
"""Situations of real hosts, from public reports, with the right answer."""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Case:
    """One situation.

    :param clause: of the requirement that it belongs to.
    :param source: where it was reported or is specified, public.
    :param what: in a sentence.
    :param check: raises AssertionError if the answer is wrong.
    """

    id: str
    clause: int
    source: str
    what: str
    check: Callable[[], None]


def cases() -> list[Case]:
    """Those of all modules ``clauseN`` beside this one, which need no TPM."""
    names = sorted(
        path.stem for path in pathlib.Path(__file__).parent.glob('clause*.py')
    )
    return [
        case
        for name in names
        for case in importlib.import_module(f'{__name__}.{name}').CASES
    ]
