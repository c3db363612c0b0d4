# SPDX-License-Identifier: Apache-2.0
"""tools/demo: set up, bring up the cloud, run every scenario, report.

Standard library only: it runs before the virtual environment exists.
"""

import argparse
import collections.abc
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing

from korora_tools import checkout, children, command, setup, ui
from korora_tools.lab import paths, processes

LAB = str(checkout.ROOT / 'tools' / 'lab')
#: Takes a file for its report, and what to run.
RUN = 'korora_tools.demo.run'
TOUR = 'korora_tools.demo.tour'
STOCK = """
The same without Kororā
-----------------------

  The same cloud again, with Nova's own driver. A server with a vTPM starts on
  h1 and moves to h2; nobody asks what h2 is. Then the same places are searched
  for its passphrase: Nova sends it over the bus.
"""
Json = dict[str, typing.Any]


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'demo',
        'Set up this machine, start a real OpenStack cloud '
        'with three compute hosts, and show that a server with a vTPM '
        'migrates between trusted hosts only. The same cloud without '
        'Kororā follows, for comparison. Takes about six minutes on two '
        'cores; the first time, the set-up adds as much.',
    )
    command.add_report(made)
    made.add_argument(
        '--no-stock',
        action='store_true',
        help='leave the comparison with stock Nova out',
    )
    made.add_argument(
        '--keep',
        action='store_true',
        help='leave the cloud running at the end (the '
        'comparison with stock Nova is then left out)',
    )
    made.add_argument(
        '--tour',
        action='store_true',
        help='tell it step by step: what happens, what is seen on the wire, '
        'what an attacker has of it; waits for Enter on a terminal',
    )
    made.add_argument(
        'scenario',
        nargs='*',
        metavar='SCENARIO',
        help='run only these scenarios ("boot" among them)',
    )
    return made


def main() -> int:
    return command.main(parser(), _demo)


def _demo(options: argparse.Namespace) -> int:
    if options.tour and options.scenario:
        raise ui.Problem('--tour has chapters of its own: name no scenario')
    began = time.monotonic()
    setup.ensure()
    with lab(keep=options.keep):
        setup_s = round(time.monotonic() - began, 1)
        if options.tour:
            report = inside(TOUR, run=_attached)
        else:
            report = inside(RUN, 'scenarios', *options.scenario)
    if not (options.no_stock or options.keep):
        if options.tour:
            ui.note(STOCK)
        with lab('--stock'):
            report['canary']['stock'] = inside(RUN, 'baseline')
    report = {'versions': report.pop('versions'), 'setup_s': setup_s, **report}
    command.write_report(options, report)
    return _conclude(report)


@contextlib.contextmanager
def lab(*how: str, keep: bool = False) -> collections.abc.Iterator[None]:
    """A lab that is up; taken down on every way out but ``keep``."""
    _run([LAB, 'down'])
    done = False
    try:
        _run([LAB, 'up', *how])
        yield
        done = True
    finally:
        if not (keep and done):
            _run([LAB, 'down'])


def inside(
    module: str,
    *arguments: str,
    run: collections.abc.Callable[[list[str]], None] | None = None,
) -> Json:
    """Run a module inside the control plane's network namespace.

    :param module: called with the file for its report, and arguments.
    :param run: how, if not without this terminal's input.
    """
    lab = paths.Lab.default()
    with tempfile.TemporaryDirectory(prefix='korora-demo-') as folder:
        out = pathlib.Path(folder) / 'report.json'
        (run or _run)(
            [
                *processes.into(lab, 'ctl'),
                str(checkout.BIN / 'python'),
                '-m',
                module,
                str(out),
                *arguments,
            ]
        )
        return typing.cast(Json, json.loads(out.read_text()))


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        'PYTHONWARNINGS': 'ignore',
        'PYTHONPATH': str(checkout.ROOT / 'tools'),
    }


def _run(argv: list[str]) -> None:
    sys.stdout.flush()
    code = children.run(argv, _environment(), str(checkout.ROOT))
    _check(argv, code)


def _attached(argv: list[str]) -> None:
    """With this terminal's input: Ctrl-C reaches both."""
    sys.stdout.flush()
    process = subprocess.Popen(argv, env=_environment(), cwd=checkout.ROOT)
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    _check(argv, code)


def _check(argv: list[str], code: int) -> None:
    if code:
        raise ui.Problem(f'{" ".join(argv[-4:])} ended with {code}')


def _conclude(report: Json) -> int:
    """Print the outcome as a person reads it; 0 if all of it is right."""
    guest, found = report['guest'], report['canary']
    wrong = [s for s in report['scenarios'] if not s['ok']]
    ui.note('')
    ui.note(
        f'{len(report["scenarios"]) - len(wrong)} of '
        f'{len(report["scenarios"])} scenarios as expected'
    )
    ui.note(
        'guest: one unbroken run over all hosts: '
        f'{"yes" if guest["continuity"] else "NO"} '
        f'({guest["ticks"]} ticks, longest gap '
        f'{guest["max_gap_s"]:.1f} s)'
    )
    ui.note("the vTPM's passphrase in clear: " + _counts(found))
    if 'stock' in found:
        ui.note('the same with stock Nova:       ' + _counts(found['stock']))
    figures = report['migration']
    if figures['n']:
        ui.note(
            f'live migration (median of {figures["n"]}): '
            f'{figures["total_s"]:.1f} s, downtime '
            f'{figures["downtime_ms"]:.0f} ms; of it the hand-over '
            f'{figures["handover_ms"]:.0f} ms, '
            f'{figures["tpm_commands"]} TPM commands'
        )
    for row in wrong:
        ui.note(f'WRONG {row["id"]}: expected {row["expected"]}')
    if guest['emulator_trouble'] and not guest['continuity']:
        ui.note(
            'the emulated guest itself crashed (seen on its console); '
            'run the demo again'
        )
    here = [found[k] for k in ('bus', 'logs', 'disk', 'db')]
    good = not wrong and guest['continuity'] and not any(here)
    return 0 if good else 1


def _counts(found: Json) -> str:
    return ', '.join(
        f'{what} {found[what]}' for what in ('bus', 'logs', 'disk', 'db')
    )
