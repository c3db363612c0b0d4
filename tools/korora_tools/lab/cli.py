# SPDX-License-Identifier: Apache-2.0
"""The commands of tools/lab."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from korora_tools import checkout, command, setup, ui
from korora_tools.lab import cloud, net, paths, processes

#: The commands that clean up after a signal that ends them.
TAKE_OVER = frozenset({'up', 'down', 'reboot', 'tamper', 'setup'})


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'lab',
        'An OpenStack cloud with three compute '
        'hosts, each with a TPM of its own, in network namespaces of this '
        'machine. State: KORORA_LAB_DIR, by default /var/lib/korora-lab.',
    )
    _add_commands(made.add_subparsers(dest='command', required=True))
    return made


def _add_commands(commands: Any) -> None:
    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    set_up = add(
        'setup', 'install packages and the virtual environment, no more'
    )
    set_up.add_argument(
        '--undo',
        action='store_true',
        help='remove what set-up, demo and tests have left: '
        'packages, environments, caches, state',
    )
    up = add('up', 'bring the cloud up')
    how = up.add_mutually_exclusive_group()
    how.add_argument(
        '--stock',
        action='store_true',
        help='the same cloud without Korora: the baseline',
    )
    how.add_argument(
        '--horizon',
        action='store_true',
        help='with Horizon, at an address of the loopback that is printed; '
        'a lab that is up already gets it as well',
    )
    down = add('down', 'stop everything and remove the state')
    down.add_argument('--keep', action='store_true', help='keep logs and data')
    status = add('status', 'show what runs')
    status.add_argument('--json', action='store_true')
    for name, text in (
        ('stop', 'stop a service (names: lab status)'),
        ('start', 'start a stopped service again'),
    ):
        add(name, text).add_argument('service', nargs='+')
    _add_tamper(add('tamper', 'attack a running host, below its agent'))
    reboot = add('reboot', 'power-cycle a host; its guests die')
    reboot.add_argument('host', choices=list(paths.HOSTS))
    execute = add('exec', 'run a command inside a host, or on ctl')
    execute.add_argument('host', choices=[*paths.HOSTS, 'ctl'])
    execute.add_argument('argv', nargs=argparse.REMAINDER)
    run = add('run', "run a command with the cloud's administrator in OS_*")
    run.add_argument('argv', nargs=argparse.REMAINDER)
    add('shell', "a shell with the cloud's administrator in OS_*")


def _add_tamper(tamper: argparse.ArgumentParser) -> None:
    tamper.add_argument('host', choices=list(paths.HOSTS))
    how = tamper.add_mutually_exclusive_group()
    for option, text in (
        ('boot', 'extend PCR 4, not the event log (default)'),
        ('runtime', 'run an unknown program: IMA list and PCR 10'),
        ('garbage', 'extend PCR 10 by what is not in the IMA list'),
    ):
        how.add_argument(
            '--' + option,
            dest='how',
            action='store_const',
            const=option,
            default='boot',
            help=text,
        )


def _status(lab: paths.Lab) -> dict[str, Any]:
    def state(name: str) -> dict[str, Any]:
        record = processes.load(lab, name)
        live = processes.alive(record)
        return {
            'pid': record['pid'] if record and live else None,
            'alive': live,
        }

    names = processes.names(lab)
    hosts = {}
    for name, address in paths.HOSTS.items():
        inside = [n for n in names if n.startswith(name + '/')]
        if inside:
            hosts[name] = {
                'pid': (processes.load(lab, name + '/init') or {}).get(
                    'inner'
                ),
                'ip': address,
                'services': {n.partition('/')[2]: state(n) for n in inside},
            }
    return {
        'up': cloud.is_up(lab),
        'stock': cloud.is_stock(lab),
        'services': {n: state(n) for n in names if '/' not in n},
        'hosts': hosts,
    }


def _print_status(found: dict[str, Any]) -> None:
    if not found['services']:
        print('the lab is down')
        return
    print(
        'the lab is {}{}'.format(
            'up' if found['up'] else 'not up',
            ', stock' if found['stock'] else '',
        )
    )
    rows = dict(found['services'])
    for name, about in found['hosts'].items():
        rows.update({f'{name}/{s}': v for s, v in about['services'].items()})
    for name, about in rows.items():
        state = f'pid {about["pid"]}' if about['alive'] else 'stopped'
        print(f'  {name:20} {state}')


def _execute(
    lab: paths.Lab, place: str, argv: Sequence[str], **env: str
) -> int:
    """Run a person's command at a place, on their terminal."""
    if argv and argv[0] == '--':
        argv = argv[1:]
    if not argv:
        raise ui.Problem('no command given')
    environment = processes.environment(lab, **env)
    if term := os.environ.get('TERM'):
        environment['TERM'] = term
    if place == 'ctl' and not net.exists(paths.CTL):
        raise ui.Problem('the lab is down')
    return subprocess.call(
        [*processes.into(lab, place), *argv],
        env=environment,
    )


@contextlib.contextmanager
def _exclusive(lab: paths.Lab) -> Iterator[None]:
    """One `up`, `down` or `reboot` at a time, whatever the directory."""
    with open('/run/korora-lab.lock', 'w') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ui.say('... waiting for another lab command to end')
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _changing(lab: paths.Lab, args: argparse.Namespace) -> None:
    """The commands that change the lab."""
    if args.command == 'setup':
        cloud.undo(lab)
    elif args.command == 'up':
        cloud.up(lab, args.stock, args.horizon)
    elif args.command == 'down':
        cloud.down(lab, args.keep)
    elif args.command == 'stop':
        processes.stop(lab, args.service)
        ui.say('ok  stopped ' + ' '.join(args.service))
    elif args.command == 'start':
        for name in args.service:
            processes.restart(lab, name)
            ui.say('ok  started ' + name)
    elif args.command == 'reboot':
        _running(lab)
        cloud.reboot(lab, args.host)
    elif args.command == 'tamper':
        _running(lab)
        cloud.tamper(lab, args.host, args.how)


def _running(lab: paths.Lab) -> None:
    if not cloud.is_up(lab):
        raise ui.Problem('the lab is not up')


def _run(args: argparse.Namespace) -> int:
    lab = paths.Lab.default()
    ui.require_root()
    if args.command == 'setup' and not args.undo:
        setup.ensure()
    elif args.command == 'status':
        found = _status(lab)
        if args.json:
            print(json.dumps(found, indent=1))
        else:
            _print_status(found)
        return 0 if found['up'] else 3
    elif args.command == 'exec':
        return _execute(lab, args.host, args.argv)
    elif args.command in ('run', 'shell'):
        argv = (
            args.argv
            if args.command == 'run'
            else [
                os.environ.get('SHELL', '/bin/bash'),
            ]
        )
        return _execute(
            lab,
            'ctl',
            argv,
            **lab.openrc(),
            PYTHONPATH=str(checkout.ROOT / 'tools'),
        )
    else:
        with _exclusive(lab):
            _changing(lab, args)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return command.main(
        parser(),
        _run,
        argv,
        problem=1,
        interrupted='interrupted',
        leaves_signals=lambda args: args.command not in TAKE_OVER,
    )
