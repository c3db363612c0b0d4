# SPDX-License-Identifier: Apache-2.0
"""tools/bench: set up, measure, report.

Standard library only: it runs before the virtual environment exists.
"""

from __future__ import annotations

import argparse

from korora_tools import command, ui
from korora_tools.bench import environment


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
    return made


def main() -> int:
    return command.main(parser(), _bench)


def _bench(options: argparse.Namespace) -> int:
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
