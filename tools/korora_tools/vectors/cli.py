# SPDX-License-Identifier: Apache-2.0
"""``tools/vectors list`` and ``tools/vectors record NAME...``."""

from __future__ import annotations

import argparse
import fnmatch
import functools
import pathlib
from collections.abc import Callable
from typing import Any

from korora_tools import checkout, command, ui

#: Recorded only when they are named.
HOURS = 'hypervisor/*'
#: Made without the packages that others are recorded with.
BARE = ('keylime/', 'protocol/')
Recipes = dict[str, tuple[str, Callable[..., None]]]


def recipes() -> Recipes:
    """Every vector: what it is, and how it is recorded."""
    # Only the virtual environment has what these import.
    from korora_tools.vectors import (
        host,
        hypervisor,
        ima,
        keylime,
        quote,
        uefi,
    )
    from tests.support import protocol

    table: Recipes = {}
    for name, (about, _) in protocol.FILES.items():
        table['protocol/' + name] = (
            about,
            functools.partial(_protocol, name=name),
        )
    for name, (about, _) in uefi.RECIPES.items():
        table['uefi/' + name] = (
            about,
            functools.partial(uefi.record, name=name),
        )
    for name, recipe in ima.RECIPES.items():
        table['ima/' + name] = (
            recipe.about,
            functools.partial(ima.record, name=name),
        )
    return (
        table
        | quote.recipes()
        | host.recipes()
        | hypervisor.recipes()
        | keylime.recipes()
    )


def _protocol(shop: Any, name: str) -> None:
    from tests.support import protocol

    protocol.write(shop.out, name)


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'vectors', 'List the test vectors, or record them again.'
    )
    command.add_no_setup(made)
    made.add_argument(
        '--work',
        type=pathlib.Path,
        default=pathlib.Path('/var/tmp/korora-vectors'),
        help='scratch directory (%(default)s)',
    )
    made.add_argument(
        '--out',
        type=pathlib.Path,
        default=checkout.ROOT / 'tests' / 'vectors',
        help='where vectors go (%(default)s)',
    )
    made.add_argument(
        'command', nargs='?', default='record', choices=('list', 'record')
    )
    made.add_argument(
        'names',
        nargs='*',
        help=f'patterns of names; default: all but {HOURS}, which take hours',
    )
    return made


def main() -> int:
    return command.main(
        parser(), _vectors, problem=1, interrupted='interrupted'
    )


def _vectors(options: argparse.Namespace) -> int:
    command.in_the_venv(options, 'vectors')
    from korora_tools.vectors.packages import Workshop

    chosen = {
        name: item
        for name, item in recipes().items()
        if any(fnmatch.fnmatch(name, p) for p in options.names)
        or not (options.names or fnmatch.fnmatch(name, HOURS))
    }
    if options.command == 'list':
        for name, (about, _) in chosen.items():
            print(f'{name:30} {about}')
        return 0
    shop = Workshop(options.work, options.out)
    if not all(name.startswith(BARE) for name in chosen):
        shop.prepare()
    for name, (_, record) in chosen.items():
        with ui.step(name):
            record(shop)
    return 0
