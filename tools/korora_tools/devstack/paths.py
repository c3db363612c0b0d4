# SPDX-License-Identifier: Apache-2.0
"""Names, addresses and directories."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

from korora_tools import ui

CONTROLLER = 'ctl'
SUBNODES = ('sub1', 'sub2')
ADDRESSES = {
    CONTROLLER: '10.78.0.11',
    'sub1': '10.78.0.12',
    'sub2': '10.78.0.13',
}
LAN_PREFIX = 24

# Inside a node.
GIT = '/opt/git'
STACK_HOME = '/opt/stack'
DEVSTACK = f'{STACK_HOME}/devstack'
VENV_BIN = f'{STACK_HOME}/data/venv/bin'
HANDOUT = f'{STACK_HOME}/data/korora-handout'


@dataclass(frozen=True)
class Work:
    """The scratch directory: everything that a run makes, but packages."""

    root: pathlib.Path

    @property
    def debian(self) -> pathlib.Path:
        """The bare Debian that every node starts from; never written to."""
        return self.root / 'debian'

    @property
    def git(self) -> pathlib.Path:
        """What nodes see as GIT_BASE."""
        return self.root / 'git'

    @property
    def log(self) -> pathlib.Path:
        return self.root / 'log'

    @property
    def run(self) -> pathlib.Path:
        return self.root / 'run'

    def node(self, name: str) -> pathlib.Path:
        """A node's overlay: upper, work, merged."""
        return self.root / 'nodes' / name

    def make(self) -> None:
        try:
            for path in (self.root, self.git, self.log, self.run):
                path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ui.Problem(
                f'cannot use {self.root} (--work): {exc.strerror}'
            ) from exc
