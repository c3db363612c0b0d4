# SPDX-License-Identifier: Apache-2.0
"""``tools/vectors list`` and ``tools/vectors record NAME...``."""

from __future__ import annotations

import argparse
import fnmatch
import functools
import pathlib
from collections.abc import Callable

from lablib import ui
from vectorlib import host, ima, quote, store, uefi
from vectorlib.packages import Workshop


def recipes() -> dict[str, tuple[str, Callable[[Workshop], None]]]:
    """Every vector: what it is, and how it is recorded."""
    table: dict[str, tuple[str, Callable[[Workshop], None]]] = {}
    for name, (about, _) in uefi.RECIPES.items():
        table['uefi/' + name] = about, functools.partial(uefi.record,
                                                         name=name)
    for name, recipe in ima.RECIPES.items():
        table['ima/' + name] = recipe.about, functools.partial(ima.record,
                                                               name=name)
    return table | quote.recipes() | host.recipes()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser('vectors', description=__doc__)
    parser.add_argument('--work', type=pathlib.Path,
                        default=pathlib.Path('/var/tmp/korora-vectors'),
                        help='scratch directory (%(default)s)')
    parser.add_argument('--out', type=pathlib.Path, default=store.VECTORS,
                        help='where vectors go (%(default)s)')
    parser.add_argument('command', nargs='?', default='record',
                        choices=('list', 'record'))
    parser.add_argument('names', nargs='*', default=['*'],
                        help="patterns of names; default: all")
    args = parser.parse_args(argv)
    chosen = {name: item for name, item in recipes().items()
              if any(fnmatch.fnmatch(name, p) for p in args.names)}
    if args.command == 'list':
        for name, (about, _) in chosen.items():
            print(f'{name:30} {about}')
        return 0
    shop = Workshop(args.work, args.out)
    try:
        shop.prepare()
        for name, (_, record) in chosen.items():
            with ui.step(name):
                record(shop)
    except ui.LabError as exc:
        ui.fail(str(exc))
        return 1
    return 0
