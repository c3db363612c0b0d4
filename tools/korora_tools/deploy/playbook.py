# SPDX-License-Identifier: Apache-2.0
"""Runs the collection of deploy/ansible, from an environment of its own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import yaml

from korora_tools import checkout, ui
from korora_tools.deploy.machine import Network

COLLECTION = checkout.ROOT / 'deploy/ansible'
_RECAP = re.compile(
    r'^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)', re.M
)


@dataclass(frozen=True)
class Ran:
    """What a run came to: host -> changes, and hosts where it failed."""

    changed: dict[str, int]
    failed: list[str]
    said: str


class Control:
    """The control node: ansible-core, the collection, an inventory."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.where = net.where / 'ansible'
        self.bin = self.where / 'venv/bin'
        self._collections = self.where / 'collections'

    def prepare(self) -> None:
        """Install what deploy/ansible/requirements.txt pins.

        :raises Problem: pip failed.
        """
        self.where.mkdir(exist_ok=True)
        wanted = (COLLECTION / 'requirements.txt').read_text()
        stamp = self.where / 'installed'
        if not stamp.exists() or stamp.read_text() != wanted:
            with ui.step('ansible-core and ansible-lint'):
                for argv in (
                    [sys.executable, '-m', 'venv', str(self.bin.parent)],
                    [
                        str(self.bin / 'pip'),
                        'install',
                        '-q',
                        '-r',
                        str(COLLECTION / 'requirements.txt'),
                    ],
                ):
                    done = subprocess.run(argv, capture_output=True, text=True)
                    if done.returncode:
                        raise ui.Problem(f'{argv[0]}: {done.stderr[-600:]}')
            stamp.write_text(wanted)
        link = self._collections / 'ansible_collections/korora/attestation'
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(COLLECTION)

    def inventory(self, content: dict[str, Any]) -> None:
        (self.where / 'hosts.yml').write_text(yaml.safe_dump(content))

    def lint(self) -> str:
        """What ansible-lint has against the collection; '' if nothing."""
        done = self._run(['ansible-lint', '--nocolor', '-qq', '-f', 'pep8'])
        return done.stdout if done.returncode else ''

    def play(self, *arguments: str) -> Ran:
        """Run site.yml on the inventory."""
        done = self._run(
            [
                'ansible-playbook',
                '-i',
                str(self.where / 'hosts.yml'),
                'playbooks/site.yml',
                *arguments,
            ]
        )
        with (self.where / 'log').open('a') as log:
            log.write(done.stdout)
        found = _RECAP.findall(done.stdout)
        failed = [
            host
            for host, _, unreachable, bad in found
            if unreachable != '0' or bad != '0'
        ]
        if done.returncode and not failed:
            failed = ['no host']
        return Ran(
            {host: int(changed) for host, changed, _, _ in found},
            failed,
            done.stdout,
        )

    def _run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        cwd = self._collections / 'ansible_collections/korora/attestation'
        return subprocess.run(
            [*self.net.into(), str(self.bin / argv[0]), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={
                'PATH': f'{self.bin}:{os.environ["PATH"]}',
                'PWD': str(cwd),
                'HOME': str(self.where),
                'LANG': 'C.UTF-8',
                'ANSIBLE_COLLECTIONS_PATH': str(self._collections),
                'ANSIBLE_HOST_KEY_CHECKING': 'false',
                'ANSIBLE_NOCOLOR': 'true',
            },
        )


def key(where: pathlib.Path) -> pathlib.Path:
    """A key for ssh, with its public half beside it."""
    path = where / 'id_ed25519'
    if not path.exists():
        subprocess.run(
            ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', str(path)],
            check=True,
        )
    return path
