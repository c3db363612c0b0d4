# SPDX-License-Identifier: Apache-2.0
"""The package has no import cycles, few untyped messages, short functions.

Prints the figures of korora_tools.structure, which has the limits.
"""

from __future__ import annotations

import argparse

from korora_tools import ui
from korora_tools.structure import figures

ABOUT = 'no import cycles, few untyped messages, short functions'
NEEDS_SETUP = False


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        '--details',
        action='store_true',
        help='list what the figures count, too',
    )


def prove(options: argparse.Namespace) -> tuple[dict[str, int], bool]:
    found = figures.measure()
    ui.note(str(found))
    if options.details:
        for line in found.details():
            ui.note(line)
    for sentence in found.over_limit:
        ui.fail(sentence)
    return found.figures, not found.over_limit
