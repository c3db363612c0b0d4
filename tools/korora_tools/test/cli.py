# SPDX-License-Identifier: Apache-2.0
"""tools/test: set up, run what was asked for, say what came of it."""

from __future__ import annotations

import argparse

from korora_tools import command, ui

PARTS = ('pep8', 'docs', 'unit', 'functional', 'integration')
#: Those that name no single tests.
WHOLE = ('pep8', 'docs')


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'test',
        'Set up this machine and run the tests of Kororā. '
        'Without an option for a part, all parts run: '
        'ruff and mypy, the documents, unit, functional, and integration '
        'tests on a lab '
        'that is started and stopped for them. The last line says how '
        'many tests passed, failed and were skipped.',
    )
    made.add_argument('--pep8', action='store_true', help='run ruff and mypy')
    made.add_argument(
        '--docs', action='store_true', help='build the documents'
    )
    for part in PARTS[len(WHOLE) :]:
        made.add_argument(
            f'--{part}', action='store_true', help=f'run the {part} tests'
        )
    command.add_no_setup(
        made,
        'use the Python that runs this, as tox does, and install nothing',
    )
    made.add_argument(
        '-v', '--verbose', action='store_true', help='name every test'
    )
    return made


def main() -> int:
    return command.main(parser(), _test)


def _test(options: argparse.Namespace) -> int:
    command.in_the_venv(options, 'test')
    # Only the virtual environment has what these import.
    from korora_tools import children
    from korora_tools.test import suites
    from korora_tools.test.stream import Totals

    chosen = [part for part in PARTS if getattr(options, part)] or PARTS
    if 'integration' in chosen:
        ui.require_root()
    totals = Totals()
    # Each of these is one process most of the time.
    together = [getattr(suites, part) for part in chosen if part in WHOLE]
    if 'functional' in chosen:
        together.append(suites.environments)
    for one in children.together(*together) if together else ():
        totals.add(one)
    for part in chosen:
        if part not in WHOLE:
            totals.add(getattr(suites, part)(options.verbose))
    for name, why in totals.skips:
        ui.note(f'\nskipped: {name}\n{_indent(why)}')
    for name, why in totals.failures:
        ui.note(f'\nfailed: {name}\n{_indent(why)}')
    ui.say(f'done: {", ".join(chosen)}')
    ui.note(str(totals))
    return 1 if totals.failed else 0


def _indent(text: str) -> str:
    return '\n'.join(f'    {line}' for line in text.splitlines())
