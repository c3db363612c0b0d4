# SPDX-License-Identifier: Apache-2.0
"""tools/fuzz: set up, feed each target, say what came of it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from typing import Any

from korora_tools import checkout, command, ui
from korora_tools.fuzz import environment

TARGETS = (
    'uefi',
    'uefi-events',
    'ima-binary',
    'ima-ascii',
    'quote',
    'key',
    'ek',
    'policy',
    'evidence',
)
#: Seconds of wall clock after which an input counts as a hang.
HANG = 60
RSS_MIB = 2048


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'fuzz',
        'Feed parsers of evidence and documents with mutated '
        'bytes (libFuzzer, guided by coverage). Whatever they are fed, they '
        'must answer with a value or one of the errors of the project, in '
        'time. What fails is kept in .fuzz/failed.',
    )
    made.add_argument(
        'targets',
        nargs='*',
        metavar='TARGET',
        help='default: all of ' + ', '.join(TARGETS),
    )
    made.add_argument(
        '--inputs',
        type=int,
        default=100_000,
        metavar='N',
        help='how many for each target (default %(default)s)',
    )
    made.add_argument(
        '--slow',
        type=float,
        default=2.0,
        metavar='SECONDS',
        help='processor time that fails an input (default %(default)s)',
    )
    made.add_argument(
        '--seed',
        type=int,
        default=1,
        help='of the mutations; 0: another each time',
    )
    command.add_report(made)
    return made


def main() -> int:
    return command.main(parser(), _fuzz)


def _fuzz(options: argparse.Namespace) -> int:
    if unknown := set(options.targets) - set(TARGETS):
        parser().error('no such target: ' + ' '.join(sorted(unknown)))
    environment.ensure()
    results = []
    for name in options.targets or TARGETS:
        results.append(_run(name, options))
        ui.note(_line(results[-1]))
    command.write_report(options, results)
    return 1 if any(map(_failed, results)) else 0


def _run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    with (
        tempfile.NamedTemporaryFile('r') as report,
        ui.step(f'{name}: {options.inputs:,} inputs'),
    ):
        process = subprocess.Popen(
            [
                str(environment.PYTHON),
                '-m',
                'korora_tools.fuzz.runner',
                name,
                report.name,
                str(options.inputs),
                str(options.slow),
                str(options.seed),
                str(HANG),
                str(RSS_MIB),
            ],
            cwd=checkout.ROOT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors='replace',
            env={
                **os.environ,
                'PYTHONPATH': str(checkout.ROOT),
                'PYTHONDONTWRITEBYTECODE': '1',
            },
        )
        try:
            _, chatter = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        text = report.read()
    result: dict[str, Any] = {
        'target': name,
        'inputs': 0,
        'failures': {},
        **(json.loads(text) if text else {}),
    }
    if process.returncode or not text:
        result['died'] = '\n'.join(chatter.splitlines()[-15:])
    return result


def _failed(result: dict[str, Any]) -> bool:
    return bool(result['failures'] or result.get('died') or result.get('slow'))


def _line(result: dict[str, Any]) -> str:
    line = (
        f'{result["target"]:12} {result["inputs"]:>10,} inputs, '
        f'{result.get("accepted", 0):,} accepted, '
        f'{len(result["failures"])} failures, '
        f'slowest {result.get("slowest_s", 0):.3f} s '
        f'({result.get("slowest_bytes", 0):,} bytes)'
    )
    if result.get('slow'):
        line += f', {result["slow"]} too slow'
    for name, what in result['failures'].items():
        line += f'\n    {name}: {what}'
    if result.get('died'):
        line += f'\n    died:\n{result["died"]}'
    return line
