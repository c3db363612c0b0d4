# SPDX-License-Identifier: Apache-2.0
"""What Nova does with a server, and what must come of a protected one.

Each operation says what it observes in words that do not depend on hosts'
names: a server without requirement must come out as in stock Nova.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from korora_tools.prove.life.stage import Stage

Run = Callable[[Stage], str]

_NOVA = 'tests.functional.nova.'
LIFE = _NOVA + 'test_lifecycle'
LIVE = _NOVA + 'test_live_migration'
BAD_LIFE = _NOVA + 'test_attacks_lifecycle'
BAD_LIVE = _NOVA + 'test_attacks_migration'
COLD = _NOVA + 'test_cold'


@dataclasses.dataclass(frozen=True)
class Operation:
    """One row of the report.

    :param expected: what must come of a protected server.
    :param test: what shows the same without a cloud.
    :param apart: it makes servers of its own.
    :param older: it runs with nova-compute of the release before, too.
    :param image: what its server is made from.
    :param shared: its hosts have one directory of servers.
    """

    op: str
    expected: str
    test: str
    run: Run
    what: str
    apart: bool
    older: bool
    image: str
    shared: bool


ALL: list[Operation] = []


def operation(
    op: str,
    expected: str,
    test: str,
    *,
    apart: bool = False,
    older: bool = False,
    image: str = 'guest',
    shared: bool = False,
) -> Callable[[Run], Run]:
    """Add a row; the function's docstring says what is done."""

    def add(run: Run) -> Run:
        what = (run.__doc__ or '').strip().splitlines()[0]
        ALL.append(
            Operation(
                op, expected, test, run, what, apart, older, image, shared
            )
        )
        return run

    return add
