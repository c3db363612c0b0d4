# SPDX-License-Identifier: Apache-2.0
"""What the commands of tools/ have in common. The standard library only.

A command's ``cli`` makes a :func:`parser`, and :func:`main` runs its work::

    def main() -> int:
        return command.main(parser(), _work)
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from korora_tools import setup, signals, ui

INTERRUPTED = 130
NOTHING_LEFT = 'interrupted; nothing was left running'


def parser(
    name: str, description: str, **more: Any
) -> argparse.ArgumentParser:
    """For the command ``tools/NAME``.

    :param more: of ArgumentParser.
    """
    return argparse.ArgumentParser(
        prog=f'tools/{name}', description=description, **more
    )


def add_report(to: argparse.ArgumentParser) -> None:
    """Give a command a report: ``--json FILE``, as ``options.report``."""
    to.add_argument(
        '--json',
        dest='report',
        metavar='FILE',
        type=pathlib.Path,
        help='write the report to FILE',
    )


def write_report(options: argparse.Namespace, report: object) -> None:
    """Write what a command has found to the file that was asked for."""
    if options.report:
        options.report.write_text(json.dumps(report, indent=2) + '\n')


def add_no_setup(
    to: argparse.ArgumentParser, text: str = argparse.SUPPRESS
) -> None:
    """Give a command ``--no-setup``; it gets it from :func:`in_the_venv`."""
    to.add_argument('--no-setup', action='store_true', help=text)


def in_the_venv(
    options: argparse.Namespace, name: str, *prepare: Callable[[], object]
) -> None:
    """Go on with the project's Python, unless ``--no-setup`` is given.

    The process starts again, after the set-up.

    :param name: of the command.
    :param prepare: what the command sets up besides.
    :raises Problem: the set-up failed.
    """
    if options.no_setup:
        return
    for one in (setup.ensure, *prepare):
        one()
    setup.again_in_the_venv(name)


def main(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
    *,
    problem: int = 2,
    interrupted: str = NOTHING_LEFT,
    leaves_signals: Callable[[argparse.Namespace], bool] = lambda _: False,
) -> int:
    """Parse arguments and do the work; returns the exit status.

    :param problem: the status for what the person at the terminal has to
        know, which is printed.
    :param interrupted: what to say after Ctrl-C, or another signal that ends.
    :param leaves_signals: whether signals are left to a program that the
        work gives the terminal to.
    """
    options = parser.parse_args(argv)
    if not leaves_signals(options):
        signals.take_over()
    try:
        if report := getattr(options, 'report', None):
            ui.writable(report)
        return work(options)
    except ui.Problem as exc:
        ui.fail(str(exc))
        return problem
    except KeyboardInterrupt:
        ui.fail(interrupted)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
