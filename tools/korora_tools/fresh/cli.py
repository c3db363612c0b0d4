# SPDX-License-Identifier: Apache-2.0
"""tools/fresh: make a bare system, type the README's command, report."""

from __future__ import annotations

import argparse
import pathlib
import time

from korora_tools import command, ui
from korora_tools.fresh import docs, root, sources, stranger

COMMANDS = (*stranger.COMMANDS, 'docs')


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'fresh',
        'Run a command of the README as a stranger would: on a '
        'bare Debian, in a clone of HEAD, after what the README says to '
        'install first and nothing else; or, with "docs", follow the '
        'installation guide up to a protected server. Needs root on a '
        'Debian, installs ' + ', '.join(root.PACKAGES) + ', and leaves only '
        'the bare systems for the next time.',
    )
    made.add_argument(
        'release',
        nargs='?',
        choices=sources.RELEASES,
        default=sources.RELEASES[-1],
        help='of Debian (default: %(default)s)',
    )
    made.add_argument(
        'command',
        nargs='?',
        choices=COMMANDS,
        default='demo',
        help='default: %(default)s',
    )
    command.add_report(made)
    made.add_argument(
        '--only',
        metavar='OP',
        help='with "life": operations with this in their names',
    )
    made.add_argument(
        '--dir',
        metavar='DIRECTORY',
        type=pathlib.Path,
        default=root.directory(),
        help='scratch directory, about 8 GB (KORORA_FRESH_DIR, '
        'else %(default)s)',
    )
    return made


def main() -> int:
    return command.main(parser(), _fresh)


def _fresh(options: argparse.Namespace) -> int:
    if options.only and options.command != 'life':
        raise ui.Problem('--only belongs to "life"')
    began = time.monotonic()
    root.prepare()
    where = options.dir.absolute()
    log = where / f'{options.release}-{options.command}.log'
    with root.exclusive(where), root.Root(where, options.release) as bare:
        if options.command == 'docs':
            docs.lay_out(bare)
        stranger.set_up(bare)
        setup_s = time.monotonic() - began
        ui.say(f'... ./tools/{options.command} on {options.release}')
        outcome = (
            docs.run(bare, log)
            if options.command == 'docs'
            else stranger.run(bare, options.command, log, options.only)
        )
    total_s = time.monotonic() - began
    ui.say(
        f'{options.release} {options.command}: exit code {outcome.rc}, '
        f'{outcome.passed} passed, {outcome.failed} failed ({log})'
    )
    command.write_report(
        options,
        {
            'release': options.release,
            'command': options.command,
            'rc': outcome.rc,
            'setup_s': round(setup_s, 1),
            'total_s': round(total_s, 1),
            'passed': outcome.passed,
            'failed': outcome.failed,
            'versions': outcome.versions,
        },
    )
    return outcome.rc or (1 if outcome.failed else 0)
