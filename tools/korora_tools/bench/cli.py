# SPDX-License-Identifier: Apache-2.0
"""tools/bench: set up, measure, report.

Standard library only: it runs before the virtual environment exists.
"""

from __future__ import annotations

import argparse
from typing import Any

from korora_tools import command, setup, ui
from korora_tools.bench import environment
from korora_tools.demo import cli as demo

#: Takes a file for its report, what, and how many pairs.
RUN = 'korora_tools.bench.live'
LIVE = (
    'Measure %s: stock Nova and Kororā take turns in blocks (ABBA) in one '
    'lab, with the same server on the same hosts. The first two after each '
    'start are dropped. A known sleep shows that the figures are right. With '
    'the default of 20 pairs it takes about 20 minutes on two cores with '
    'nothing else to do.'
)


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'bench',
        'Set up this machine and measure Kororā. Contenders '
        'take turns, and figures are medians, so that ratios hold on a '
        'machine whose speed drifts.',
    )
    command.add_no_setup(made)
    what = made.add_subparsers(dest='what', required=True)
    appraisal = what.add_parser(
        'appraisal',
        help='IMA lists, UEFI logs and quotes',
        description='The same IMA list and a policy that allows all of it '
        'for a bare loop of hashlib (the floor), for Kororā and for '
        'keylime; then UEFI logs, quotes, and whole appraisals. Takes a '
        'few minutes.',
    )
    command.add_report(appraisal)
    appraisal.add_argument(
        '--runs',
        type=int,
        default=9,
        metavar='N',
        help='runs of each contender, at least 7 (default: %(default)s)',
    )
    appraisal.add_argument(
        '--entries',
        type=int,
        default=100_000,
        metavar='N',
        help='entries of the IMA list (default: %(default)s)',
    )
    fleet = what.add_parser(
        'fleet',
        help='scheduler and service with 10,000 hosts',
        description="Nova's ComputeFilter and Kororā's filter on the same "
        'hosts in turn (CPU time), with a real service that has just '
        'started, hangs, or is dead; then what a refresh of all results '
        'costs. Then what attestations and hand-overs cost the service, '
        'which is set up here with Keystone, memcached and MariaDB, and '
        'removed again. Takes some 20 minutes.',
    )
    command.add_report(fleet)
    fleet.add_argument(
        '--hosts',
        type=int,
        default=10_000,
        metavar='N',
        help='hosts of the fleet (default: %(default)s)',
    )
    fleet.add_argument(
        '--runs',
        type=int,
        default=15,
        metavar='N',
        help='pairs of requests, at least 7 (default: %(default)s)',
    )
    fleet.add_argument(
        '--only',
        choices=('scheduler', 'service'),
        help='measure one of them',
    )
    for name, text in (
        ('migration', 'live migrations of one server with a vTPM'),
        ('start', 'starts of one server with a vTPM'),
    ):
        _add_live(what.add_parser(name, help=text, description=LIVE % text))
    return made


def _add_live(to: argparse.ArgumentParser) -> None:
    command.add_report(to)
    to.add_argument(
        '--pairs',
        type=int,
        default=20,
        metavar='N',
        help='at least so many of each (default: %(default)s)',
    )


def main() -> int:
    return command.main(parser(), _bench)


def _bench(options: argparse.Namespace) -> int:
    work = {'appraisal': _appraisal, 'fleet': _fleet}
    return work.get(options.what, _live)(options)


def _fleet(options: argparse.Namespace) -> int:
    if options.runs < 7:
        raise ui.Problem('--runs must be at least 7')
    if not 100 <= options.hosts <= 100_000:
        raise ui.Problem('--hosts must be between 100 and 100000')
    command.in_the_venv(options, 'bench')
    # Only the virtual environment has what this imports.
    from korora_tools.bench import fleet, fleet_goals

    report = fleet.run(options.hosts, options.runs, options.only)
    command.write_report(options, report)
    return fleet_goals.conclude(report)


def _live(options: argparse.Namespace) -> int:
    if options.pairs < 1:
        raise ui.Problem('--pairs must be at least 1')
    setup.ensure()
    with demo.lab():
        report = demo.inside(RUN, options.what, str(options.pairs))
    command.write_report(options, report)
    return _conclude(report)


def _conclude(report: dict[str, Any]) -> int:
    """Print the figures as a person reads them; 0 if they are to be used."""
    for key, value in report.items():
        if isinstance(value, int | float | str):
            ui.note(f'{key:22} {value}')
    for key in ('spans_ms_p50', 'counts'):
        ui.note(
            f'{key:22} '
            + ', '.join(f'{name} {one}' for name, one in report[key].items())
        )
    # A bench that does not find a known second finds nothing.
    found = report['recovered_ms'] / report['injected_ms']
    if not 0.7 <= found <= 1.3:
        ui.note('WRONG: the sleep that was injected is not what was found')
        return 1
    return 0


def _appraisal(options: argparse.Namespace) -> int:
    if options.runs < 7:
        raise ui.Problem('--runs must be at least 7')
    if not 1000 <= options.entries <= 400_000:
        raise ui.Problem('--entries must be between 1000 and 400000')
    command.in_the_venv(options, 'bench', environment.ensure)
    # Only the virtual environment has what this imports.
    from korora_tools.bench import appraisal

    report = appraisal.run(options.runs, options.entries)
    command.write_report(options, report)
    return appraisal.conclude(report)
