# SPDX-License-Identifier: Apache-2.0
"""The processes of a pair: services, peers and agents, each of one tree."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization

from korora_tools.fleet import database, keystone, serving, stack
from korora_tools.fleet.processes import LOCAL, Process, Scratch
from korora_tools.lab import config
from korora_tools.upgrade import release
from tests.support import hosts, swtpm

PEER = pathlib.Path(__file__).with_name('peer.py')
#: Seconds for one thing that a peer does.
PATIENCE = 180.0
#: A process that has the code of another tree than it should.
_WRONG = 'runs the code of another tree'


class Refused(Exception):
    """A peer was refused what it asked for.

    :ivar reason: reason id.
    """

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(f'{reason}: {why}')
        self.reason = reason


@dataclass(frozen=True)
class Tree:
    """Code: ``old`` is the last release, ``new`` this tree."""

    name: str
    path: pathlib.Path


class Peer:
    """One process of :mod:`.peer`.

    :param given: what its role needs.
    """

    def __init__(
        self,
        scratch: Scratch,
        stack: contextlib.ExitStack,
        tree: Tree,
        vendor: Any,
        given: Mapping[str, str],
    ) -> None:
        self._vendor = vendor
        self._name = f'{given["role"]} of the {tree.name} tree'
        log = stack.enter_context(
            (scratch.log / f'{tree.name}-{os.urandom(4).hex()}.peer').open('w')
        )
        self._process = subprocess.Popen(
            [sys.executable, '-P', str(PEER), json.dumps(dict(given))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=scratch.environment(PYTHONPATH=release.path_of(tree.path)),
            cwd=scratch.path,
        )
        stack.callback(self._end)
        place = pathlib.Path(self._answer())
        if tree.path not in place.parents:
            raise AssertionError(f'{self._name} {_WRONG}: {place}')

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def do(self, action: str, **arguments: Any) -> Any:
        """Let it do something; returns what it says.

        :raises Refused: it was refused.
        """
        self._write({'do': action, **arguments})
        return self._answer()

    def _write(self, document: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document) + '\n')
        self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        watch = threading.Timer(PATIENCE, self._process.kill)
        watch.start()
        try:
            while True:
                line = self._process.stdout.readline()
                if not line:
                    raise Refused('ENDED', f'{self._name} has ended')
                said = json.loads(line)
                if 'certify' not in said:
                    break
                self._certify(said['certify'])
        finally:
            watch.cancel()
        if 'refused' in said:
            raise Refused(said['refused'], f'{self._name}: {said["why"]}')
        return said['answer']

    def _certify(self, pem: str) -> None:
        public = serialization.load_pem_public_key(pem.encode())
        made = self._vendor.certify(public)
        self._write({'certificate': base64.b64encode(made).decode()})


class Services:
    """What all pairs share, and a service of a tree for each of them.

    Keystone, memcached, MariaDB and Nova's record are this tree's tools; the
    service and its korora-manage are the tree's that is named.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.simple = _simple(stack)
        self.base = self.simple.base
        self.scratch = self.base.scratch
        for number, pem in enumerate(swtpm.factory().roots()):
            roots = self.base.etc / 'ek-roots'
            (roots / f'swtpm-{number}.crt').write_bytes(pem)

    @property
    def keys(self) -> str:
        return str(self.base.etc / 'keys.json')

    def create(self, name: str, tree: Tree) -> str:
        """A database as a tree makes it; the directory of its korora.conf."""
        server = self.simple.server
        server.create(name, f'{name}_anchor')
        directory = self.base.configure(
            name,
            database.url(server.port, name),
            database.url(server.port, f'{name}_anchor'),
            {},
        )
        if not pathlib.Path(self.keys).exists():
            self.manage(tree, directory, 'keys', 'create')
        self.manage(tree, directory, 'db', 'sync')
        self.manage(tree, directory, 'anchor', 'create')
        return directory

    def manage(self, tree: Tree, directory: str, *arguments: str) -> str:
        """Run the tree's korora-manage."""
        return self.scratch.run(
            [
                'korora-manage',
                '--config-file',
                f'{directory}/korora.conf',
                *arguments,
            ],
            PYTHONPATH=str(tree.path),
        )

    def worker(self, tree: Tree, directory: str) -> tuple[Process, str]:
        """Start the tree's service; its process and URL."""
        port = self.scratch.port()
        made = serving.uwsgi(
            self.scratch,
            f'{pathlib.Path(directory).name}-{tree.name}-{port}',
            'korora_nova.wsgi.api',
            port,
            {
                'KORORA_CONFIG_DIR': directory,
                'PYTHONPATH': str(tree.path),
            },
        )
        made.wait()
        return made, f'http://{LOCAL}:{port}'

    def given(
        self, role: str, endpoint: str, user: str, **more: str
    ) -> dict[str, str]:
        """What a peer is told."""
        return {
            'role': role,
            'endpoint': endpoint,
            'keystone': self.base.keystone.url,
            'user': user,
            'password': keystone.PASSWORD,
            'project': keystone.PROJECT,
            'keys': self.keys,
            **more,
        }


def _simple(stack_: contextlib.ExitStack) -> stack.Simple:
    return stack.Simple(stack_, workers=0)


class Hardware(hosts.Machine):
    """A TPM in software that has booted, and the logs of that boot."""

    def __init__(
        self,
        name: str,
        directory: pathlib.Path,
        stack: contextlib.ExitStack,
    ) -> None:
        self.name = name
        self.directory = directory
        self.directory.mkdir()
        self.hardware = swtpm.SwTpm(hosts.EK[name])
        self.hardware.start()
        stack.callback(self.hardware.stop)
        self.boot()


def agent(
    services: Services,
    machine: Hardware,
    tree: Tree,
    endpoint: str,
) -> Process:
    """Start a tree's korora-agent on a machine."""
    directory = machine.directory
    user = services.given('', endpoint, 'korora-agent')
    config.write(
        directory / 'agent.conf',
        {
            'DEFAULT': {'log_file': directory / 'agent.log'},
            'attester': {
                'host': machine.name,
                'address': '192.0.2.1',
                'socket': machine.socket,
                'allowed_users': os.getuid(),
                'tcti': machine.hardware.tcti,
                'state_dir': directory / 'state',
                'trusted_keys': services.keys,
                'uefi_log': directory / 'uefi',
                'ima_log': directory / 'ima',
                'libvirt_uri': 'test:///default',
                'lock_memory': 'false',
                'interval': 10,
            },
            'handover': {
                'transport_url': 'rabbit://nobody:nothing@127.0.0.1:1/none'
            },
            'service_auth': {
                'auth_type': 'password',
                'auth_url': user['keystone'],
                'username': user['user'],
                'password': user['password'],
                'project_name': user['project'],
                'user_domain_id': 'default',
                'project_domain_id': 'default',
                'endpoint_override': endpoint,
            },
        },
    )
    return services.scratch.process(
        f'agent-{tree.name}-{machine.name}',
        [
            sys.executable,
            '-c',
            'from korora_nova.cmd.agent import main; main()',
            '--config-file',
            str(directory / 'agent.conf'),
        ],
        pathlib.Path(machine.socket).exists,
        {'PYTHONPATH': str(tree.path)},
    )
