# SPDX-License-Identifier: Apache-2.0
"""A key survives whatever fails, is attacked, or is lost; and has an exit.

Four parts. The *matrix*: a server's life on two hosts with software TPMs, the
service and a database (MariaDB, PostgreSQL), each a process; at each point
where something is written or sent one fault: processes are killed, hosts
rebooted, messages lost or doubled, the disk is full, the database goes back.
The *attacks*: each has a test that shows how it fails, and that is red
without the check that it is about. The *exits* of each state. With --lab,
*rounds* on the lab: a real cloud whose processes are killed during
migrations. With --fleet, only the *fleet*: simulated hosts, two workers behind
HAProxy and a Galera cluster, of which one part after the other dies.
"""

from __future__ import annotations

import argparse
from typing import Any

from korora_tools import ui
from korora_tools.prove.attack import custody, teeth
from korora_tools.prove.faults import exits, matrix, rounds

ABOUT = 'a key survives faults and attacks, and has a way out of each state'
NEEDS_SETUP = True

#: What must have been passed, and run.
POINTS = 25
RUNS = 1000
#: A few more: some do not meet their point.
DEFAULT = 1200
ROUNDS = 60
HOSTS = 2000

Report = dict[str, Any]

_BY_ID = {attack.id: attack for attack in custody.ATTACKS}


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--lab', action='store_true', help='kill processes on the lab, too'
    )
    to.add_argument(
        '--fleet',
        action='store_true',
        help='only: parts of a large service die under simulated hosts',
    )
    to.add_argument(
        '--hosts',
        type=int,
        default=HOSTS,
        metavar='N',
        help=f'hosts of the fleet, by default {HOSTS}',
    )
    to.add_argument(
        '--only',
        metavar='ID',
        help='an attack (A5), a part (matrix, attacks, exits, lab), or what '
        'the name of a run has in it ("after v.permit")',
    )
    to.add_argument(
        '--runs',
        type=int,
        default=DEFAULT,
        metavar='N',
        help=f'runs of the matrix, by default {DEFAULT}',
    )
    to.add_argument(
        '--rounds',
        type=int,
        default=ROUNDS,
        metavar='N',
        help=f'rounds on the lab, by default {ROUNDS}',
    )
    to.add_argument(
        '--seed',
        type=int,
        default=1,
        metavar='N',
        help='chooses the runs and the rounds, by default 1',
    )


def prove(options: argparse.Namespace) -> tuple[Report, bool]:
    report: Report = {}
    wrong: list[str] = []
    for part in _parts(options):
        found, complaints = part(options)
        report |= found
        wrong += complaints
    for sentence in wrong:
        ui.fail(sentence)
    return report, not wrong


def _parts(options: argparse.Namespace) -> list[Any]:
    if options.fleet:
        return [_fleet]
    named = {
        'matrix': _matrix,
        'attacks': _attacks,
        'exits': _exits,
        'lab': _lab,
    }
    if options.only in named:
        return [named[options.only]]
    if options.only in _BY_ID:
        return [_attacks]
    if options.only:
        return [_matrix]
    return [_matrix, _attacks, _exits, *([_lab] if options.lab else [])]


def _matrix(options: argparse.Namespace) -> tuple[Report, list[str]]:
    only = options.only if options.only != 'matrix' else None
    found = matrix.run(options.runs, options.seed, only)
    wrong = [
        f'{found[what]} runs: {what}'
        for what in ('lost', 'double', 'stuck')
        if found[what]
    ]
    if not only:
        wrong += _too_few(found, points=POINTS, runs=RUNS)
    elif not found['runs']:
        wrong.append(f'no run has "{only}" in its name')
    return found, wrong


def _attacks(options: argparse.Namespace) -> tuple[Report, list[str]]:
    only = _BY_ID.get(options.only)
    rows = teeth.run([only] if only else custody.ATTACKS)
    wrong = [f'{row["id"]}: {row["why"]}' for row in rows if not row['held']]
    return {'attacks': rows}, wrong


def _exits(options: argparse.Namespace) -> tuple[Report, list[str]]:
    found = exits.run()
    wrong = []
    if found['without_exit'] or found['tried'] != found['states']:
        wrong.append(f'not every state has an exit that works: {found}')
    return {'exits': found}, wrong


def _lab(options: argparse.Namespace) -> tuple[Report, list[str]]:
    found = rounds.run(options.rounds, options.seed)
    wrong = []
    if found['recovered'] != found['rounds'] or found['continuity_broken']:
        wrong.append('the lab did not recover in each round')
    if found['rounds'] < options.rounds:
        wrong.append(f'{found["rounds"]} rounds on the lab were made')
    return {'lab': found}, wrong


def _fleet(options: argparse.Namespace) -> tuple[Report, list[str]]:
    # Only the virtual environment has what this imports.
    from korora_tools.prove.faults import fleet

    found = fleet.simulate(options.hosts, options.seed)
    return found, fleet.wrong(found)


def _too_few(found: Report, **least: int) -> list[str]:
    return [
        f'{what} is {found[what]}, which is too few'
        for what, number in least.items()
        if found[what] < number
    ]
