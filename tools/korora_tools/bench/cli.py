# SPDX-License-Identifier: Apache-2.0
"""tools/bench: set up, measure, report.

Standard library only: it runs before the virtual environment exists.
"""

from __future__ import annotations

import argparse
import json
import pathlib

from korora_tools import setup, signals, ui
from korora_tools.bench import environment


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog='tools/bench',
        description='Set up this machine and measure Kororā. Contenders '
        'take turns, and figures are medians, so that ratios hold on a '
        'machine whose speed drifts.',
    )
    made.add_argument(
        '--no-setup', action='store_true', help=argparse.SUPPRESS
    )
    what = made.add_subparsers(dest='what', required=True)
    appraisal = what.add_parser(
        'appraisal',
        help='IMA lists, UEFI logs and quotes',
        description='The same IMA list and a policy that allows all of it '
        'for a bare loop of hashlib (the floor), for Kororā and for '
        'keylime; then UEFI logs, quotes, and whole appraisals. Takes a '
        'few minutes.',
    )
    appraisal.add_argument(
        '--json',
        metavar='FILE',
        type=pathlib.Path,
        help='write the report to FILE',
    )
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
    options = parser().parse_args()
    signals.take_over()
    try:
        _check(options)
        if not options.no_setup:
            setup.ensure()
            environment.ensure()
            setup.again_in_the_venv('bench')
        # Only the virtual environment has what this imports.
        from korora_tools.bench import appraisal

        report = appraisal.run(options.runs, options.entries)
        if options.json:
            options.json.write_text(json.dumps(report, indent=2) + '\n')
        return appraisal.conclude(report)
    except ui.LabError as exc:
        ui.fail(str(exc))
        return 2
    except KeyboardInterrupt:
        ui.fail('interrupted; nothing was left running')
        return 130


def _check(options: argparse.Namespace) -> None:
    if options.runs < 7:
        raise ui.LabError('--runs must be at least 7')
    if not 1000 <= options.entries <= 400_000:
        raise ui.LabError('--entries must be between 1000 and 400000')
    if options.json:
        try:
            with options.json.open('a'):
                pass
        except OSError as exc:
            raise ui.LabError(
                f'cannot write {options.json}: {exc.strerror}'
            ) from exc
