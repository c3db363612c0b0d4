# SPDX-License-Identifier: Apache-2.0
"""Custody holds in every order of crashes, losses, lies and restorations.

Has spin check custody.pml in each configuration, and then each mutation:
without the check that it names, spin has to find a violation.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from korora_tools import command, setup, ui
from korora_tools.prove.mutations import MUTATIONS, Mutation
from korora_tools.prove.patches import Scratch

ABOUT = 'custody, as a model, in every order of faults'
NEEDS_SETUP = False

MODEL = pathlib.Path(__file__).with_name('custody.pml')
#: Debian packages.
PACKAGES = ('spin', 'gcc')
WORKERS = 2
#: Seconds for one configuration.
TIMEOUT = 1200.0
DEPTH = 200_000
#: Of pan: the whole state space, no bit states; MB for one run.
COMPILE = (
    '-O0',  # compiling takes longer than most searches
    '-w',
    '-DSAFETY',
    '-DCOLLAPSE',
    '-DVECTORSZ=4096',
    '-DMEMLIM=3000',
)

#: Name -> the bounds that differ from custody.pml's.
CONFIGURATIONS: dict[str, dict[str, int | str]] = {
    'crashes': {'CRASHES': 2, 'LOSSES': 1},
    'delays': {'DELAYS': 1, 'LOSSES': 1, 'CRASHES': 1},
    'reboots': {'REBOOTS': 2, 'CRASHES': 1},
    'finish': {'FINISHES': 1, 'REBOOTS': 1, 'OPERATORS': 1},
    'deaths': {'DEATHS': 2, 'CRASHES': 1},
    'distrust': {'DISTRUSTS': 1, 'CRASHES': 1},
    'anchor': {'RESTORES': 1, 'VCRASHES': 1},
    'restore': {'RESTORES': 1, 'CRASHES': 1, 'LOSSES': 1},
    'restores': {'RESTORES': 2, 'COPIES': 2},
    'no-anchor': {'RESTORES': 1, 'FILE_ANCHOR': 1},
    'restore-deaths': {'RESTORES': 1, 'DEATHS': 1, 'REBOOTS': 1},
    'restore-finish': {'RESTORES': 1, 'FINISHES': 1, 'OPERATORS': 1},
    # A second slot, or a third host: else what the first migration left
    # keeps the second one from beginning.
    'two-migrations': {'MIGS': 2, 'SLOTS': 2, 'CRASHES': 1},
    'two-finish': {'MIGS': 2, 'FINISHES': 1, 'OPERATORS': 1},
    'two-restore': {'MIGS': 2, 'RESTORES': 1},
    'third-host': {'MIGS': 2, 'HOSTS': 3},
    'cold': {'COLDS': 1, 'CRASHES': 1, 'REBOOTS': 1, 'LOSSES': 1},
    'cold-delays': {'COLDS': 1, 'DELAYS': 1, 'CRASHES': 1, 'DISTRUSTS': 1},
    'cold-restore': {'COLDS': 1, 'RESTORES': 1, 'CRASHES': 1},
    'cold-and-back': {'COLDS': 2, 'MIGS': 2, 'CRASHES': 1},
    'liar-destination': {'LIES': 3, 'LIAR': 'D', 'OPERATORS': 1},
    'liar-source': {'LIES': 3, 'LIAR': 'S', 'OPERATORS': 1},
    'cold-liar-destination': {
        'COLDS': 1,
        'LIES': 2,
        'LIAR': 'D',
        'OPERATORS': 1,
    },
    'cold-liar-source': {'COLDS': 1, 'LIES': 2, 'LIAR': 'S', 'OPERATORS': 1},
}
PROPERTIES = (
    'I2: no key leaves S before both ends were appraised for this migration',
    'I3: approved epochs only grow, each of one host; no document forks',
    'I3: nobody opens while a hand-over is pending, or both ends run it',
    'I4: no start and no approval for a host that is not trusted now',
    'I6: the guest runs where its key is, unless it died or is not trusted',
    'I11: a key is erased on a receipt about it only, and another end has it',
    'I13: no approval on a row older than any document that was told',
    'I14: when nothing moves, nothing is pending, disputed or half-done',
    'I15: a key is granted only where Nova has the server, and nobody holds',
    'I16: no commit before the start, no abort after it but by both',
    'I16: no start before the key is at D; no key erased under its domain',
    'I17: one permit for each migration, no receipt twice',
    'ADR 25: the key of a cold migration goes where Nova goes on, or back',
)

_ERRORS = re.compile(r'errors: (\d+)')
_STATES = re.compile(r'^\s*(\d+) states, stored', re.MULTILINE)
_REASON = re.compile(r'^pan:\d+: (.*?) \(at depth', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Result:
    """What pan says at its end.

    :param complete: all states were visited, or a violation was found.
    :param reason: of the violation, '' without one.
    """

    states: int
    errors: int
    complete: bool
    reason: str = ''


def parse(output: str) -> Result:
    """Read pan's output.

    :raises Problem: it is not the output of a search that ended.
    """
    errors, states = _ERRORS.search(output), _STATES.search(output)
    if errors is None or states is None:
        last = ' / '.join(output.strip().splitlines()[-3:])
        raise ui.Problem(f'pan did not end its search: {last}')
    reason = _REASON.search(output)
    count = int(errors[1])
    cut = 'max search depth too small' in output or 'out of memory' in output
    whole = not cut and 'Search not completed' not in output
    return Result(
        int(states[1]), count, whole or count > 0, reason[1] if reason else ''
    )


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--mutate-code',
        action='store_true',
        help="take each mutation's check out of a copy of the code, too, "
        'and see its test fail (with the Python of the virtual environment)',
    )
    to.add_argument(
        '--only',
        metavar='NAME',
        help='one configuration or mutation',
    )


def prove(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    if not options.no_setup:
        setup.install(PACKAGES)
    if options.mutate_code:
        command.in_the_venv(options, 'prove')
    chosen = [n for n in CONFIGURATIONS if options.only in (None, n)]
    mutations = [m for m in MUTATIONS if options.only in (None, m.name)]
    if not chosen and not mutations:
        raise ui.Problem(f'there is no {options.only}')
    results = dict(_each(chosen, check))
    for name, result in results.items():
        ui.note(
            f'{name}: {result.states} states, '
            + (result.reason or 'no violation')
        )
    rows = [row for _, row in _each(mutations, _mutate)]
    if options.mutate_code:
        pairs = list(zip(mutations, rows, strict=True))
        _each([pairs[n::WORKERS] for n in range(WORKERS)], _mutate_code)
    for row in rows:
        ui.note(f'{"caught" if row["caught"] else "MISSED"} {row["name"]}')
    report = {
        'properties': list(PROPERTIES),
        'states': sum(result.states for result in results.values()),
        'violations': sum(result.errors for result in results.values()),
        'configurations': {n: r.states for n, r in results.items()},
        'mutations': rows,
    }
    holds = all(r.complete and not r.errors for r in results.values())
    return report, holds and all(row['caught'] for row in rows)


def _each(items: Sequence[Any], work: Any) -> list[tuple[Any, Any]]:
    """As many at a time as there are cores."""
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        return list(zip(items, pool.map(work, items), strict=True))


def check(name: str, mutation: str = '') -> Result:
    """Search all states of one configuration.

    :raises Problem: spin, gcc or pan failed.
    """
    bounds = [f'-D{k}={v}' for k, v in CONFIGURATIONS[name].items()]
    if mutation:
        bounds.append(f'-DMUTATE_{mutation}')
    with (
        tempfile.TemporaryDirectory(prefix='korora-model-') as scratch,
        ui.step(f'model {name}' + f' without {mutation}' * bool(mutation)),
    ):
        _run(scratch, 'spin', *bounds, '-a', str(MODEL))
        _run(scratch, 'gcc', *COMPILE, '-o', 'pan', 'pan.c')
        return parse(_run(scratch, './pan', f'-m{DEPTH}'))


def _run(where: str, *argv: str) -> str:
    try:
        done = subprocess.run(
            argv,
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise ui.Problem(f'{argv[0]}: not done in {TIMEOUT:.0f} s') from None
    if done.returncode:
        raise ui.Problem(f'{argv[0]} failed:\n{done.stdout[-2000:]}')
    return done.stdout


def _mutate(mutation: Mutation) -> dict[str, Any]:
    result = check(mutation.configuration, mutation.name)
    return {
        'name': mutation.name,
        'code': mutation.code,
        'test': mutation.test,
        'caught': result.errors > 0,
        'violation': result.reason,
    }


def _mutate_code(pairs: Sequence[tuple[Mutation, dict[str, Any]]]) -> None:
    """See in a copy of the code whether each test fails, one by one."""
    with Scratch.of() as scratch:
        for mutation, row in pairs:
            with ui.step(f'{mutation.code} without {mutation.name}'):
                passed = scratch.run(mutation.test).passed
                row['red_without'] = passed and scratch.red_without(
                    mutation.patch, mutation.test
                )
            row['caught'] = row['caught'] and row['red_without']
