# SPDX-License-Identifier: Apache-2.0
"""``tools/vectors list`` and ``tools/vectors record NAME...``."""

from __future__ import annotations

import argparse
import fnmatch
import functools
import pathlib
from collections.abc import Callable

from korora_tools import checkout, setup, signals, ui

Recipes = dict[str, tuple[str, Callable[..., None]]]


def recipes() -> Recipes:
    """Every vector: what it is, and how it is recorded."""
    # Only the virtual environment has what these import.
    from korora_tools.vectors import host, ima, quote, uefi

    table: Recipes = {}
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
    return table | quote.recipes() | host.recipes()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser('tools/vectors', description=__doc__)
    made.add_argument(
        '--no-setup', action='store_true', help=argparse.SUPPRESS
    )
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
        default=['*'],
        help='patterns of names; default: all',
    )
    return made


def main() -> int:
    args = parser().parse_args()
    signals.take_over()
    try:
        if not args.no_setup:
            setup.ensure()
            setup.again_in_the_venv('vectors')
        _run(args)
    except ui.LabError as exc:
        ui.fail(str(exc))
        return 1
    except KeyboardInterrupt:
        ui.fail('interrupted')
        return 130
    return 0


def _run(args: argparse.Namespace) -> None:
    from korora_tools.vectors.packages import Workshop

    chosen = {
        name: item
        for name, item in recipes().items()
        if any(fnmatch.fnmatch(name, p) for p in args.names)
    }
    if args.command == 'list':
        for name, (about, _) in chosen.items():
            print(f'{name:30} {about}')
        return
    shop = Workshop(args.work, args.out)
    shop.prepare()
    for name, (_, record) in chosen.items():
        with ui.step(name):
            record(shop)
