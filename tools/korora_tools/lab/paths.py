# SPDX-License-Identifier: Apache-2.0
"""Names, addresses and directories of the lab."""

from __future__ import annotations

import functools
import os
import pathlib
import secrets
from dataclasses import dataclass

CTL = 'korora-ctl'
CTL_IP = '10.77.0.1'
HOSTS = {'h1': '10.77.0.11', 'h2': '10.77.0.12', 'h3': '10.77.0.13'}
TAMPERED = frozenset({'h3'})
REGION = 'RegionOne'

PORTS = {
    'mariadb': 3306,
    'rabbitmq': 5672,
    'memcached': 11211,
    'keystone': 5000,
    'placement': 8778,
    'glance': 9292,
    'neutron': 9696,
    'nova': 8774,
    'barbican': 9311,
    'korora': 8999,
}
HANDOVER_VHOST = 'korora'


def netns(host: str) -> str:
    """The network namespace of a compute host."""
    return 'korora-' + host


def address(service: str) -> str:
    """IP and port of a control-plane service."""
    return f'{CTL_IP}:{PORTS[service]}'


def url(service: str, path: str = '') -> str:
    return f'http://{address(service)}{path}'


AUTH_URL = url('keystone', '/v3')


@dataclass(frozen=True)
class Lab:
    """One lab's state directory; kept short for unix socket names."""

    root: pathlib.Path

    @classmethod
    def default(cls) -> Lab:
        return cls(
            pathlib.Path(
                os.environ.get('KORORA_LAB_DIR', '/var/lib/korora-lab')
            ).absolute()
        )

    @property
    def etc(self) -> pathlib.Path:
        return self.root / 'etc'

    @property
    def run(self) -> pathlib.Path:
        return self.root / 'run'

    @property
    def log(self) -> pathlib.Path:
        return self.root / 'log'

    @property
    def data(self) -> pathlib.Path:
        return self.root / 'data'

    @property
    def cache(self) -> pathlib.Path:
        return self.root / 'cache'

    @property
    def tmp(self) -> pathlib.Path:
        """TMPDIR of every process, libvirt's swtpm_setup included."""
        return self.root / 'tmp'

    @property
    def instances(self) -> pathlib.Path:
        """Nova's instances_path: one string, another directory per host."""
        return self.root / 'instances'

    @property
    def shared(self) -> pathlib.Path:
        """One directory of servers for all hosts, where storage is shared."""
        return self.root / 'shared'

    @property
    def mode_file(self) -> pathlib.Path:
        """Holds "stock" or "korora" once `up` has finished."""
        return self.run / 'mode'

    def host(self, name: str) -> pathlib.Path:
        return self.root / 'hosts' / name

    def console(self, host: str, server: str) -> pathlib.Path:
        """The console log that a host's guest writes."""
        place = self.shared
        if not (place / server).exists():
            place = self.host(host) / 'instances'
        return place / server / 'console.log'

    def make(self) -> None:
        """Create the directories, secrets in root-only ones.

        QEMU and swtpm run as other users and must pass through the root.
        """
        for path in (
            self.etc,
            self.run,
            self.log,
            self.data,
            self.cache,
            self.instances,
            self.tmp,
            self.root / 'hosts',
        ):
            path.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o711)
        for path in (self.etc, self.run, self.data, self.cache):
            path.chmod(0o700)
        self.tmp.chmod(0o1777)

    @functools.cached_property
    def password(self) -> str:
        """The lab's one password; as old as the cached databases."""
        path = self.cache / 'password'
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(12))
        return path.read_text()

    def openrc(self) -> dict[str, str]:
        """The OS_* variables of the cloud's administrator."""
        return {
            'OS_AUTH_URL': AUTH_URL,
            'OS_USERNAME': 'admin',
            'OS_PASSWORD': self.password,
            'OS_PROJECT_NAME': 'admin',
            'OS_USER_DOMAIN_ID': 'default',
            'OS_PROJECT_DOMAIN_ID': 'default',
            'OS_IDENTITY_API_VERSION': '3',
            'OS_REGION_NAME': REGION,
            'KORORA_LAB_DIR': str(self.root),
        }
