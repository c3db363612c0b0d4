# SPDX-License-Identifier: Apache-2.0
"""What a stranger types on a bare system, and what comes of it."""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TextIO

from korora_tools import checkout, ui
from korora_tools.fresh.root import Root

CLONE = '/root/korora-nova'
#: What is typed for each.
COMMANDS = {
    'demo': './tools/demo',
    'test': './tools/test',
    'life': './tools/prove life',
}

# Of the program's last words: how much was right, and out of what.
_DEMO = re.compile(r'(\d+) of (\d+) scenarios as expected')
_TEST = re.compile(r'(\d+) passed, (\d+) failed, \d+ skipped')
_LIFE = re.compile(r'.*(ok |!!!) [^ ]+: \d+/\d+ .*')

# What a report names -> Debian package that has its version.
_VERSIONS = {
    'python': 'python3',
    'libvirt': 'libvirt-daemon-system',
    'qemu': 'qemu-system-x86',
    'swtpm': 'swtpm',
    'tss2': 'libtss2-dev',
    'mariadb': 'mariadb-server',
    'rabbitmq': 'rabbitmq-server',
}


@dataclass(frozen=True)
class Outcome:
    """Exit code, and how many scenarios, tests or steps went right."""

    rc: int
    passed: int
    failed: int
    versions: dict[str, str] = field(default_factory=dict)


def prerequisites(readme: str) -> list[str]:
    """The lines with apt-get that the README has typed before anything.

    >>> prerequisites('As root::\\n\\n  apt-get install git\\n  ./tools/demo')
    ['apt-get install git']
    """
    return [
        line.strip()
        for line in readme.splitlines()
        if line.startswith('  apt-get ')
    ]


def count(command: str, lines: list[str]) -> tuple[int, int]:
    """(passed, failed) out of a command's last words.

    A command that did not come to its last words has failed as a whole. Of
    ``life`` each line of an operation counts.
    """
    if command == 'life':
        found = [found[1] for found in map(_LIFE.fullmatch, lines) if found]
        return found.count('ok '), found.count('!!!') or int(not found)
    for line in reversed(lines):
        if command == 'demo' and (last := _DEMO.fullmatch(line)):
            right, of = map(int, last.groups())
            return right, of - right
        if command == 'test' and (last := _TEST.fullmatch(line)):
            return int(last[1]), int(last[2])
    return 0, 1


def upstream(version: str) -> str:
    """A Debian version without epoch and revision.

    >>> upstream('1:10.0.2+ds-2+deb13u1')
    '10.0.2'
    """
    return re.split(r'[+~-]', version.rpartition(':')[2])[0]


def set_up(bare: Root) -> None:
    """Install what the README names, and clone HEAD.

    :raises Problem: one of them failed.
    """
    steps = prerequisites((checkout.ROOT / 'README.rst').read_text())
    if not steps:
        raise ui.Problem('README.rst does not say what to install first')
    for step in steps:
        with ui.step(step):
            bare.must(f'export DEBIAN_FRONTEND=noninteractive; {step}')
    with ui.step('git clone of HEAD'):
        source = bare.path / 'srv/korora-nova.git'
        done = subprocess.run(
            [
                'git',
                'clone',
                '-q',
                '--bare',
                '--no-hardlinks',
                str(checkout.ROOT),
                str(source),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ui.Problem('git clone: ' + done.stderr.strip())
        bare.must(f'git clone -q /srv/korora-nova.git {CLONE}')


def run(
    bare: Root, command: str, log: pathlib.Path, only: str | None = None
) -> Outcome:
    """Type a command; its output is shown, and kept in `log`.

    :param only: with ``life``, for its option ``--only``.
    """
    typed = COMMANDS[command]
    if only is not None:
        typed += f' --only {shlex.quote(only)}'
    with log.open('w') as kept:
        rc, lines = bare.run(typed, Tee(kept), CLONE)
    passed, failed = count(command, lines)
    if rc and not failed:
        failed = 1
    return Outcome(rc, passed, failed, versions(bare))


def versions(bare: Root) -> dict[str, str]:
    """Of what took part; what was not installed is not there."""
    _, lines = bare.run(
        "dpkg-query -W -f '${Package} ${Version}\\n' "
        + ' '.join(_VERSIONS.values())
    )
    installed = dict(line.split(' ', 1) for line in lines if ' ' in line)
    found = {'debian': bare.must('cat /etc/debian_version')}
    for name, package in _VERSIONS.items():
        if version := installed.get(package):
            found[name] = upstream(version)
    rc, lines = bare.run(
        ".venv/bin/python -c 'import importlib.metadata as m; "
        'print(m.version("nova"))\'',
        cwd=CLONE,
    )
    if not rc and lines:
        found['nova'] = lines[-1]
    return found


class Tee:
    """Writes to the terminal and to a file."""

    def __init__(self, file: TextIO) -> None:
        self._files = (sys.stdout, file)

    def write(self, text: str) -> None:
        for file in self._files:
            file.write(text)

    def flush(self) -> None:
        for file in self._files:
            file.flush()
