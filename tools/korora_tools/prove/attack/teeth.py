# SPDX-License-Identifier: Apache-2.0
"""Run the attacks' tests, and again without the check that each needs."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Sequence
from typing import Any

from korora_tools import ui
from korora_tools.prove.attack.row import Attack
from korora_tools.prove.patches import Outcome, Scratch

#: Tests at a time.
WORKERS = 2
#: What is left of the output of a test.
_LINES, _LENGTH = 6, 400
_ERROR = re.compile(r'[\w.]*(Error|Mismatch|Exception)\w*\b')


def run(
    attacks: Sequence[Attack], *, teeth: bool = True, whole: bool = False
) -> list[dict[str, Any]]:
    """A row for each attack; ``why`` is empty if it held.

    :param teeth: run the first test without the check, too.
    :param whole: run all tests of a row, not only the first.
    """
    todo: queue.SimpleQueue[Attack] = queue.SimpleQueue()
    for attack in attacks:
        todo.put(attack)
    rows: dict[str, dict[str, Any]] = {}

    def work() -> None:
        with Scratch.of() as scratch:
            while True:
                try:
                    attack = todo.get_nowait()
                except queue.Empty:
                    return
                tests = attack.tests if whole else (attack.test,)
                rows[attack.id] = row = _row(attack, tests, scratch, teeth)
                ui.say(
                    f'{"ok " if row["held"] else "!!!"} {attack.id}: '
                    f'{attack.what}' + (f': {row["why"]}' * bool(row['why']))
                )

    with ui.step(f'{len(attacks)} attacks'):
        threads = [
            threading.Thread(target=work, daemon=True)
            for _ in range(min(WORKERS, len(attacks)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [rows[attack.id] for attack in attacks if attack.id in rows]


def _row(
    attack: Attack, tests: Sequence[str], scratch: Scratch, teeth: bool
) -> dict[str, Any]:
    why, without = _failing(tests, scratch), ''
    if teeth and not why:
        why, without = _without(attack, scratch)
    return {
        'id': attack.id,
        'what': attack.what,
        'held': not why,
        'test': attack.test,
        'tests': len(tests),
        'red_without': attack.check.code,
        'why': why,
        'without': without,
    }


def _failing(tests: Sequence[str], scratch: Scratch) -> str:
    """What is wrong with the tests as they are; empty if nothing is."""
    for test in tests:
        outcome = scratch.run(test)
        if not outcome.passed:
            return f'{test} fails: {_last(outcome)}'
    return ''


def _without(attack: Attack, scratch: Scratch) -> tuple[str, str]:
    """What is wrong without the check, and how the test says it."""
    try:
        with scratch.without(attack.check):
            outcome = scratch.run(attack.test)
    except ui.Problem as exc:
        return str(exc), ''
    if outcome.passed:
        return f'its test passes without {attack.check.code}', ''
    if not outcome.failed:
        return f'its test cannot run: {_last(outcome)}', ''
    return '', _last(outcome)


def _last(outcome: Outcome) -> str:
    """How a test says what went wrong."""
    lines = [line for line in outcome.output.splitlines() if line.strip()]
    said = [line for line in lines if _ERROR.match(line)]
    return ' / '.join(said[-1:] or lines[-_LINES:])[:_LENGTH]
