# SPDX-License-Identifier: Apache-2.0
"""Each known fault that is not yet mended is shown by a test.

Runs these tests, which are strict expected failures: each must fail, and as
its mark says. tests/support/faults.py has the marks.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from korora_tools import ui

if TYPE_CHECKING:
    from tests.support.faults import Fault

ABOUT = 'each known fault that is not yet mended is shown by a test'
NEEDS_SETUP = True

#: What becomes of the tests, by what subunit says of them.
OUTCOMES = {
    'xfail': 'open',
    'uxsuccess': 'mended, but still marked',
}
NOT_RUN = 'its test did not run'
OTHERWISE = 'its test fails otherwise'


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--list', action='store_true', help='list them, and run nothing'
    )


def prove(options: argparse.Namespace) -> tuple[Any, bool]:
    # Only the virtual environment has what this imports.
    from tests.support import faults

    open_faults = faults.found()
    if options.list:
        for fault in open_faults:
            ui.note(str(fault))
        return [dataclasses.asdict(fault) for fault in open_faults], True
    statuses = _run(open_faults)
    rows = [
        {**dataclasses.asdict(fault), 'outcome': outcome(fault, statuses)}
        for fault in open_faults
    ]
    for row in rows:
        ui.note(f'{row["outcome"]:5} {row["about"]}')
    wrong = [row for row in rows if row['outcome'] != OUTCOMES['xfail']]
    ui.note(f'{len(rows) - len(wrong)} open, {len(wrong)} not as said')
    return rows, not wrong


def outcome(fault: Fault, statuses: dict[str, str]) -> str:
    """What became of a fault's test."""
    status = statuses.get(fault.test)
    return OUTCOMES.get(status, OTHERWISE) if status else NOT_RUN


def _run(chosen: Iterable[Fault]) -> dict[str, str]:
    """Test -> status; each directory of tests in a process of its own."""
    from korora_tools.test import suites

    groups = collections.defaultdict(list)
    for fault in chosen:
        groups[directory(fault.test)].append(fault.test)
    statuses: dict[str, str] = {}
    for name, tests in sorted(groups.items()):
        totals = suites.stestr(name, suites.TESTS / name, False, only=tests)
        statuses |= totals.statuses
        for what, why in totals.failures:
            ui.note(f'\n{what}\n{why}\n')
    return statuses


def directory(test: str) -> str:
    """``tests.functional.api.test_x...`` -> functional/api, or unit."""
    kind, part = test.split('.')[1:3]
    return kind if kind == 'unit' else str(pathlib.PurePath(kind, part))
