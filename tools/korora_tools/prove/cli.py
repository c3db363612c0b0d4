# SPDX-License-Identifier: Apache-2.0
"""tools/prove: show one claim of the project."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from korora_tools import command

#: The claims, and the module that shows each.
CLAIMS = {
    'attack': 'korora_tools.prove.attack',
    'ecosystem': 'korora_tools.prove.ecosystem',
    'faults': 'korora_tools.prove.faults',
    'field': 'korora_tools.prove.field',
    'keylime': 'korora_tools.prove.keylime',
    'life': 'korora_tools.prove.life',
    'model': 'korora_tools.prove.model',
    'open-faults': 'korora_tools.prove.open_faults',
    'structure': 'korora_tools.prove.structure',
}


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'prove',
        'Show a claim of the project. The exit code is 0 only if it holds.',
    )
    command.add_no_setup(
        made,
        'use the Python that runs this, and install nothing',
    )
    names = made.add_subparsers(dest='name', metavar='NAME', required=True)
    for name in CLAIMS:
        claim = _load(name)
        one = names.add_parser(
            name, help=claim.ABOUT, description=claim.__doc__
        )
        command.add_report(one)
        claim.add_options(one)
    return made


def _load(name: str) -> Any:
    return importlib.import_module(CLAIMS[name])


def main() -> int:
    return command.main(parser(), _prove)


def _prove(options: argparse.Namespace) -> int:
    claim = _load(options.name)
    if claim.NEEDS_SETUP:
        command.in_the_venv(options, 'prove')
    report, holds = claim.prove(options)
    command.write_report(options, report)
    return 0 if holds else 1
