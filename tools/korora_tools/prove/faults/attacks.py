# SPDX-License-Identifier: Apache-2.0
"""Each known attack, the test that shows it fail, and the check it needs."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from korora_tools import ui
from korora_tools.prove.patches import Patch, Scratch

#: Tests at a time.
WORKERS = 2

_API = 'tests.functional.api.'
_AGENT = 'tests.functional.attester.'


@dataclass(frozen=True)
class Attack:
    """An attack that does not work.

    :param test: dotted name; it is red without what ``check`` takes away.
    """

    id: str
    what: str
    test: str
    check: Patch


ATTACKS: tuple[Attack, ...] = ()
BY_ID = {attack.id: attack for attack in ATTACKS}


def run(attacks: Sequence[Attack]) -> list[dict[str, Any]]:
    """A row for each attack; ``why`` is empty if it held."""
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
                rows[attack.id] = row = _row(attack, scratch)
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


def _row(attack: Attack, scratch: Scratch) -> dict[str, Any]:
    why = _why_not(attack, scratch)
    return {
        'id': attack.id,
        'what': attack.what,
        'held': not why,
        'test': attack.test,
        'red_without': attack.check.code,
        'why': why,
    }


def _why_not(attack: Attack, scratch: Scratch) -> str:
    """What is wrong with an attack's row; empty if nothing is."""
    outcome = scratch.run(attack.test)
    if not outcome.passed:
        return f'its test fails: {_last(outcome.output)}'
    try:
        with scratch.without(attack.check):
            outcome = scratch.run(attack.test)
    except ui.Problem as exc:
        return str(exc)
    if outcome.passed:
        return f'its test passes without {attack.check.code}'
    if not outcome.failed:
        return f'its test cannot run: {_last(outcome.output)}'
    return ''


def _last(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    errors = itertools.takewhile(
        lambda line: not line.startswith('Traceback'), reversed(lines)
    )
    return ' / '.join(list(errors)[:6])
