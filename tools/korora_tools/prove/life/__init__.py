# SPDX-License-Identifier: Apache-2.0
"""Every operation of Nova's does with a protected server what it should.

Each runs on the lab three times: a server without requirement on stock Nova,
the same under our driver, and a protected server. The second comes out like
the first; the third as its table says, with what its guest sealed to its
vTPM, with its key in one place, or with nothing left where it was deleted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from korora_tools import checkout, older_nova, setup, ui
from korora_tools.demo import cli as demo
from korora_tools.lab import gluster

if TYPE_CHECKING:
    from korora_tools.prove.life import operations

ABOUT = "Nova's operations do with protected servers what they should"
NEEDS_SETUP = True
LEAST = 40
_INSIDE = 'korora_tools.prove.life.inside'
_LOAD = 'korora_tools.prove.life.load'
#: Servers of the load, and hand-overs on one TPM.
SERVERS = 200
HANDOVERS = 1000
#: MiB that a process may grow by after it is warm.
GROWTH = 16
Json = dict[str, Any]


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--only', metavar='OP', help='operations with this in their names'
    )
    for name, number in (('servers', SERVERS), ('handovers', HANDOVERS)):
        to.add_argument(
            f'--{name}',
            type=int,
            default=number,
            metavar='N',
            help=f'by default {number}',
        )
    to.add_argument(
        '--no-stock',
        action='store_true',
        help='leave the comparison with stock Nova out',
    )


def prove(options: argparse.Namespace) -> tuple[Json, bool]:
    named = {'load': _load, 'handovers': _handovers}
    parts = [named[options.only]] if options.only in named else [_operations]
    if not options.only:
        parts += [_load, _handovers]
    report: Json = {}
    wrong: list[str] = []
    for part in parts:
        found, complaints = part(options)
        report |= found
        wrong += complaints
    for sentence in wrong:
        ui.fail(sentence)
    return report, not wrong


def _operations(options: argparse.Namespace) -> tuple[Json, list[str]]:
    from korora_tools.prove.life import table

    more = [options.only] if options.only else []
    # Inside the lab there is no network to fetch it.
    older_nova.install()
    if any(one.shared for one in table.chosen(options.only)):
        setup.install(gluster.PACKAGES)
    with demo.lab():
        ours = demo.inside(_INSIDE, 'korora', *more)
    stock: Json = {}
    if not options.no_stock:
        with demo.lab('--stock'):
            stock = demo.inside(_INSIDE, 'stock', *more)
    rows = _rows(options, ours, stock)
    wrong = [
        f'{row["op"]} (Nova {row["nova"]}): not as it should be'
        for row in rows
        if not row['ok']
    ]
    different = {row['op'] for row in rows}
    if not options.only and len(different) < LEAST:
        wrong.append(f'{len(different)} operations, {LEAST} are wanted')
    return {'operations': rows}, wrong


def _load(options: argparse.Namespace) -> tuple[Json, list[str]]:
    with demo.lab():
        found = demo.inside(_LOAD, str(options.servers))
    wrong = []
    if found['migrations'] != options.servers or found['wrong']:
        wrong.append(f'load: {found["migrations"]} servers came through')
    if found['left']:
        wrong.append(f'load: {found["left"]} servers left something')
    wrong += [
        f'load: {name} grew by {size} MiB'
        for name, size in found['rss_growth_mb'].items()
        if size > GROWTH
    ]
    return {'load': found}, wrong


def _handovers(options: argparse.Namespace) -> tuple[Json, list[str]]:
    """On software TPMs, agents, service and MariaDB, without a cloud."""
    from korora_tools.test import suites

    with ui.step(f'{options.handovers} hand-overs on one TPM'):
        done = subprocess.run(
            [
                sys.executable,
                '-m',
                'tests.faults.long',
                str(options.handovers),
            ],
            cwd=checkout.ROOT,
            env=suites.environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ui.Problem(f'tests.faults.long ended with {done.returncode}')
    found = json.loads(done.stdout.splitlines()[-1])
    wrong = []
    if found['handovers'] < options.handovers:
        wrong.append(f'{found["handovers"]} hand-overs: {found["told"]}')
    elif found['handles_left']:
        wrong.append(f'{found["handles_left"]} handles are left in TPMs')
    wrong += [
        f'{name} grew by {size} MiB over {found["handovers"]} hand-overs'
        for name, size in found.get('rss_growth_mb', {}).items()
        if size > GROWTH
    ]
    return {
        'handovers_on_one_tpm': found['handovers'],
        'handovers': found,
    }, wrong


def _rows(options: argparse.Namespace, ours: Json, stock: Json) -> list[Json]:
    from korora_tools.prove.life import table

    there: Json = next(iter(stock.values()), {})
    return [
        _row(one, nova, found[one.op], there.get(one.op))
        for nova, found in ours.items()
        for one in table.chosen(options.only)
        if one.op in found
    ]


def _row(
    one: operations.Operation, nova: str, here: Json, there: Json | None
) -> Json:
    """A row of the report.

    :param there: what stock Nova did, None if it was not asked.
    """
    seen = {'korora': here['vtpm'], 'plain': here['plain']}
    if there is not None:
        seen['stock'] = there['plain']
    after = {
        name: row['after'] for name, row in seen.items() if row.get('after')
    }
    good = (
        not after
        and here['vtpm']['seen'] == one.expected
        and here['vtpm']['guest_secret'] != 'lost'
        and (there is None or here['plain']['seen'] == there['plain']['seen'])
    )
    return {
        'op': one.op,
        'what': one.what,
        'nova': nova,
        'stock': seen['stock']['seen'] if there else 'not run',
        'korora': here['vtpm']['seen'],
        'plain': here['plain']['seen'],
        'expected': one.expected,
        'ok': good,
        'after': after,
        'guest_secret': here['vtpm']['guest_secret'],
        'test': one.test,
        'seconds': here['vtpm']['seconds'],
    }
