# SPDX-License-Identifier: Apache-2.0
"""tools/fleet: simulated hosts against a real service.

Standard library only: it runs before the virtual environment exists.
"""

from __future__ import annotations

import argparse

from korora_tools import command, ui


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'fleet',
        'Simulate compute hosts: each has a TPM in software, which really '
        'signs, logs of a recorded boot, and a measurement list that grows. '
        'Some reboot, drift, flap, stay away, have a wrong clock, lie or send '
        'garbage; some hand keys of servers over. They talk HTTP to workers '
        'of the real service with Keystone, memcached and MariaDB, which are '
        'set up here and removed again. What each host does follows from the '
        'seed.',
    )
    command.add_no_setup(made)
    command.add_report(made)
    for name, default, text in (
        ('hosts', 100, 'hosts of the fleet'),
        ('rounds', 6, 'attestations of each host'),
        ('lives', 20, 'protected servers'),
        ('workers', 1, 'worker processes of the service'),
        ('threads', 8, 'hosts that speak at the same time'),
        ('seed', 1, 'what follows from it'),
    ):
        made.add_argument(
            f'--{name}',
            type=int,
            default=default,
            metavar='N',
            help=f'{text} (default: %(default)s)',
        )
    made.add_argument(
        '--interval',
        type=float,
        default=0.0,
        metavar='SECONDS',
        help='between attestations of one host; 0: as fast as the service '
        'answers (default: %(default)s)',
    )
    return made


def main() -> int:
    return command.main(parser(), _fleet)


def _fleet(options: argparse.Namespace) -> int:
    if not 10 <= options.hosts <= 100_000:
        raise ui.Problem('--hosts must be between 10 and 100000')
    for name in ('rounds', 'workers', 'threads'):
        if getattr(options, name) < 1:
            raise ui.Problem(f'--{name} must be at least 1')
    command.in_the_venv(options, 'fleet')
    # Only the virtual environment has what this imports.
    from korora_tools.fleet import whole

    report = whole.simulate(options)
    command.write_report(options, report)
    return whole.conclude(report)
