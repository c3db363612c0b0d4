# SPDX-License-Identifier: Apache-2.0
"""What operators of OpenStack expect around a service, stage by stage.

A *stage* is a module of ``ecosystem/stages``; what is there is run, in the
order of names, and nothing else lists them. Its name with dashes for
underscores is what ``--only`` takes, and its name as it is the key of its
part of the report. It has

``ABOUT``
  one line for ``--list``;
``run() -> stage.Outcome``
  does the work, and returns its part of the report with the sentences that
  say what is wrong; it holds if there are none.

A stage imports what only the virtual environment has inside ``run``. It
starts and ends its own processes, writes below a scratch directory, and what
a person has to know first (a missing package) is a ``ui.Problem``: that is
this stage's failure, and the others still run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from korora_tools import ui
from korora_tools.prove.ecosystem import stage

ABOUT = 'API, packages, deployment, upgrades and documents are as is usual'
NEEDS_SETUP = True


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--list', action='store_true', help='list the stages, and run nothing'
    )
    to.add_argument(
        '--only',
        metavar='NAME[,NAME...]',
        help='run these stages only',
    )


def prove(options: argparse.Namespace) -> tuple[dict[str, object], bool]:
    stages = stage.found()
    if options.list:
        for name, one in stages.items():
            ui.note(f'{name:18} {one.ABOUT}')
        return {name: one.ABOUT for name, one in stages.items()}, True
    report: dict[str, object] = {}
    wrong: list[str] = []
    for name, one in _chosen(stages, options.only).items():
        began = time.monotonic()
        outcome = _run(name, one)
        report[stage.key(name)] = outcome.report
        wrong += [f'{name}: {sentence}' for sentence in outcome.wrong]
        ui.say(
            f'{"FAILED" if outcome.wrong else "ok":6}  {name} '
            f'({time.monotonic() - began:.0f} s)'
        )
    for sentence in wrong:
        ui.fail(sentence)
    return report, not wrong


def _chosen(stages: Mapping[str, Any], only: str | None) -> Mapping[str, Any]:
    """The stages that are named; all of them if none is.

    :raises Problem: there is no such stage.
    """
    if not only:
        return stages
    names = [one.replace('_', '-') for one in only.split(',')]
    if unknown := sorted(set(names) - set(stages)):
        raise ui.Problem(
            f'There is no stage {", ".join(unknown)}; '
            f'there are {", ".join(stages)}.'
        )
    return {name: stages[name] for name in names}


def _run(name: str, one: Any) -> stage.Outcome:
    """One stage cannot keep the others from running."""
    ui.say(f'...     {name}')
    try:
        return one.run()
    except ui.Problem as exc:
        return stage.Outcome({}, [str(exc)])
    except Exception as exc:  # noqa: BLE001 - whatever it is, it failed
        return stage.Outcome({}, [f'{type(exc).__name__}: {exc}'])
