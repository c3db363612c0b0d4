# SPDX-License-Identifier: Apache-2.0
"""Every operation of Nova's does with a protected server what it should.

Each runs on the lab three times: a server without requirement on stock Nova,
the same under our driver, and a protected server. The second comes out like
the first; the third as its table says, with what its guest sealed to its
vTPM, with its key in one place, or with nothing left where it was deleted.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import re
from typing import Any

from korora_tools import checkout, ui
from korora_tools.demo import cli as demo

ABOUT = "Nova's operations do with protected servers what they should"
NEEDS_SETUP = True
LEAST = 40
_INSIDE = 'korora_tools.prove.life.inside'
Json = dict[str, Any]


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--only', metavar='OP', help='operations with this in their names'
    )
    to.add_argument(
        '--no-stock',
        action='store_true',
        help='leave the comparison with stock Nova out',
    )


def prove(options: argparse.Namespace) -> tuple[Json, bool]:
    more = [options.only] if options.only else []
    with demo.lab():
        ours = demo.inside(_INSIDE, 'korora', *more)
    stock: Json = {}
    if not options.no_stock:
        with demo.lab('--stock'):
            stock = demo.inside(_INSIDE, 'stock', *more)
    rows = _rows(options, ours, stock)
    wrong = [row['op'] for row in rows if not row['ok']]
    for name in wrong:
        ui.fail(f'{name}: not as it should be')
    if not options.only and len(rows) < LEAST:
        wrong.append('too few')
        ui.fail(f'{len(rows)} operations, {LEAST} are wanted')
    return {'operations': rows}, not wrong


def _rows(options: argparse.Namespace, ours: Json, stock: Json) -> list[Json]:
    from korora_tools.prove.life import table

    nova = _nova()
    rows = []
    for one in table.chosen(options.only):
        protected, plain = ours[one.op]['vtpm'], ours[one.op]['plain']
        there = stock.get(one.op, {}).get('plain', {})
        good = (
            protected['seen'] == one.expected
            and not any(row.get('after') for row in (protected, plain, there))
            and protected['guest_secret'] != 'lost'
            and (options.no_stock or plain['seen'] == there['seen'])
        )
        rows.append(
            {
                'op': one.op,
                'what': one.what,
                'nova': nova,
                'stock': there.get('seen', 'not run'),
                'korora': protected['seen'],
                'plain': plain['seen'],
                'expected': one.expected,
                'ok': good,
                'after': {
                    name: row['after']
                    for name, row in (
                        ('korora', protected),
                        ('plain', plain),
                        ('stock', there),
                    )
                    if row.get('after')
                },
                'guest_secret': protected['guest_secret'],
                'test': one.test,
                'seconds': protected['seconds'],
            }
        )
    return rows


def _nova() -> str:
    """Nova's major release in the tools' virtual environment."""
    found: collections.Counter[str] = collections.Counter(
        match.group(1)
        for path in pathlib.Path(checkout.VENV).glob(
            'lib/python3*/site-packages/nova-*.dist-info'
        )
        if (match := re.match(r'nova-(\d+)\.', path.name))
    )
    return found.most_common(1)[0][0]
