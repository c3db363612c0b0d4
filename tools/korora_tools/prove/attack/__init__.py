# SPDX-License-Identifier: Apache-2.0
"""No known attack works; those on the lab are shown beside stock Nova.

Each row of the catalogue has tests that show how the attack fails. With
--teeth the first of them runs in a copy of the code without the check that
it is about, too: then the attack works. What makes sense end to end is tried
on the lab, against Kororā and against stock Nova, and the report says what
was seen there. Its head has the three scenarios that matter most.
"""

from __future__ import annotations

import argparse
from typing import Any

from korora_tools import ui
from korora_tools.demo import cli as demo
from korora_tools.prove.attack import catalogue, report, teeth

ABOUT = 'no known attack works, and on stock Nova many do'
NEEDS_SETUP = True
_INSIDE = 'korora_tools.prove.attack.inside'


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--teeth',
        action='store_true',
        help='run the tests without the checks, too: they must fail',
    )
    to.add_argument(
        '--only', metavar='ID,ID', help='these attacks (T9), or memory'
    )
    for name, text in (
        ('tests', 'leave the tests out'),
        ('lab', 'leave the lab out'),
        ('stock', 'leave the comparison with stock Nova out'),
    ):
        to.add_argument(f'--no-{name}', action='store_true', help=text)


def prove(options: argparse.Namespace) -> tuple[Any, bool]:
    tests: list[dict[str, Any]] = []
    only = options.only.split(',') if options.only else []
    if not options.no_tests:
        tests = teeth.run(
            [
                attack
                for attack in catalogue.ATTACKS
                if not only or attack.id in only
            ],
            teeth=options.teeth,
            whole=True,
        )
    more = [options.only] if options.only else []
    ours: dict[str, Any] = {}
    stock: dict[str, Any] = {}
    if not options.no_lab:
        with demo.lab():
            ours = demo.inside(_INSIDE, 'korora', *more)
        if not options.no_stock:
            with demo.lab('--stock'):
                stock = demo.inside(_INSIDE, 'stock', *more)
    found = report.made(tests, ours, stock)
    wrong = report.complaints(
        found, tests, whole=not options.only, teeth=options.teeth
    )
    for sentence in wrong:
        ui.fail(sentence)
    return found, not wrong
