# SPDX-License-Identifier: Apache-2.0
"""The commands of tools/devstack."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from korora_tools import command, setup, ui
from korora_tools.devstack import (
    cloud,
    mirrors,
    paths,
    root,
    scenarios,
    tempest,
    verify,
)

WORK = '/var/tmp/korora-devstack'
PACKAGES = (
    'debootstrap',
    'systemd-container',
    'slirp4netns',
    'git',
    'iproute2',
)


def parser() -> argparse.ArgumentParser:
    made = command.parser(
        'devstack',
        'Real, unmodified DevStack with the plugin (HEAD of this '
        'checkout), in containers of this machine.\nNeeds root, and more '
        'than an hour for "verify".',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=mirrors.HOW_TO.format(names=' '.join(mirrors.NAMES)),
    )
    made.add_argument(
        '--work',
        type=pathlib.Path,
        metavar='DIR',
        default=pathlib.Path(os.environ.get('KORORA_DEVSTACK_DIR', WORK)),
        help='scratch directory (default: KORORA_DEVSTACK_DIR or %(default)s)',
    )
    made.add_argument(
        '--branch',
        default='master',
        help='branch of DevStack and its projects, such as stable/2026.1',
    )
    _add_commands(made.add_subparsers(dest='command', required=True))
    return made


def _add_commands(commands: Any) -> None:
    def add(
        name: str, text: str, mirror: bool = False
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        if mirror:
            sub.add_argument(
                '--mirror',
                type=pathlib.Path,
                required=True,
                metavar='DIR',
                help='directory with bare git repositories',
            )
        return sub

    whole = add('verify', 'everything that has to be true, from nothing', True)
    command.add_report(whole)
    whole.add_argument(
        '--resume',
        action='store_true',
        help='go on with the parts that FILE does not have, '
        'on the nodes as they are',
    )
    up = add('up', 'stack a controller', True)
    up.add_argument('--subnode', action='store_true', help='and a subnode')
    add('restack', 'unstack and stack the controller again', True)
    add('replug', "run the plugin's phases only, on what is stacked", True)
    tests = add('tempest', 'run Tempest on the controller')
    tests.add_argument(
        'regex',
        nargs='?',
        default=tempest.OURS,
        help='which tests (default: those of the plugin)',
    )
    add('scenarios', 'try the scenarios of "verify" on what is stacked')
    run = add('exec', 'run a shell command on a node')
    run.add_argument('node', choices=list(paths.ADDRESSES))
    run.add_argument('argv', nargs=argparse.REMAINDER)
    down = add('down', 'stop and remove the nodes')
    down.add_argument(
        '--all',
        action='store_true',
        help='and the bare Debian, git repositories and logs',
    )


def _ready(made: cloud.Cloud, mirror: pathlib.Path) -> None:
    setup.install(PACKAGES)
    made.work.make()
    mirrors.lay_out(made.work, mirror, [made.branch])
    root.ensure(made.work)


def _up(made: cloud.Cloud, subnode: bool) -> int:
    made.prepare(made.controller)
    code = made.stack(made.controller)
    if subnode and not code:
        code = made.join(made.node(paths.SUBNODES[0]))
    return code


def _begun(path: pathlib.Path | None) -> verify.Report:
    """The report of a run that was stopped."""
    try:
        found = json.loads(path.read_text()) if path else {}
    except (OSError, ValueError) as exc:
        raise ui.Problem(f'cannot resume from {path}: {exc}') from exc
    found.pop('failed', None)
    return {**found}


def _verify(made: cloud.Cloud, path: pathlib.Path | None, resume: bool) -> int:
    def write(report: verify.Report) -> None:
        if path is not None:
            path.write_text(json.dumps(report, indent=2) + '\n')

    report = verify.run(made, _begun(path) if resume else {}, write)
    ok = verify.good(report)
    for row in report['scenarios']:
        ui.note(f'{"ok   " if row["ok"] else "WRONG"} {row["id"]}')
    for name, counts in report.get('tempest', {}).items():
        ui.note(
            f'Tempest, {name}: {counts["passed"]} passed, '
            f'{counts["failed"]} failed, {counts["skipped"]} skipped'
        )
    ui.note('all as it should be' if ok else 'NOT all as it should be')
    if ok:
        made.down()
    return 0 if ok else 1


def _run(args: argparse.Namespace) -> int:
    ui.require_root()
    made = cloud.Cloud(paths.Work(args.work.absolute()), args.branch)
    if args.command == 'exec':
        words = args.argv[1:] if args.argv[:1] == ['--'] else args.argv
        return made.node(args.node).interactive(words or ['bash'])
    with _exclusive():
        return _changing(made, args)


def _changing(made: cloud.Cloud, args: argparse.Namespace) -> int:
    """The commands that change something; one at a time."""
    if args.command == 'down':
        made.purge() if args.all else made.down()
        return 0
    if 'mirror' in args:
        _ready(made, args.mirror)
    if args.command == 'verify':
        return _verify(made, args.report, args.resume)
    if args.command == 'up':
        return _up(made, args.subnode)
    if args.command == 'restack':
        made.unstack(made.controller)
        return made.stack(made.controller)
    if args.command == 'replug':
        return made.replug(made.controller)
    if args.command == 'scenarios':
        rows = scenarios.run(scenarios.World(made), *scenarios.SCENARIOS)
        return 0 if all(row['ok'] for row in rows) else 1
    found: dict[str, Any] = tempest.run(made, 'chosen', args.regex)
    ui.note(json.dumps(found, indent=2))
    return 1 if found['failed'] else 0


@contextlib.contextmanager
def _exclusive() -> Iterator[None]:
    with open('/run/korora-devstack.lock', 'w') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ui.Problem(
                'another tools/devstack is at work on this machine'
            ) from None
        yield


def main() -> int:
    return command.main(
        parser(),
        _run,
        interrupted='interrupted; the nodes are as they were '
        '(tools/devstack down removes them)',
    )
