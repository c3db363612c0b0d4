# SPDX-License-Identifier: Apache-2.0
"""Keystone with the users of the attestation service, and memcached."""

from __future__ import annotations

import base64
import os
from typing import Any

from keystoneauth1 import adapter, session
from keystoneauth1.identity import v3

from korora_tools.fleet import serving
from korora_tools.fleet.processes import LOCAL, Process, Scratch, listening
from korora_tools.lab import config

PASSWORD = 'fleet'  # noqa: S105 of loopback only
PROJECT = 'service'
#: User, and roles in the project.
USERS = {
    'korora': ('admin', 'service'),
    'korora-agent': ('attester',),
    'korora-scheduler': ('service',),
}


class Keystone:
    """Keystone over SQLite, which is not what is measured."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self.etc = scratch.path / 'keystone'
        self.port = scratch.port()
        self.url = f'http://{LOCAL}:{self.port}/v3'
        self._configure()
        manage = [
            'keystone-manage',
            '--config-file',
            f'{self.etc}/keystone.conf',
        ]
        scratch.run([*manage, 'db_sync'])
        scratch.run(
            [*manage, 'bootstrap'],
            OS_BOOTSTRAP_PASSWORD=PASSWORD,
            OS_BOOTSTRAP_REGION_ID='RegionOne',
            OS_BOOTSTRAP_PUBLIC_URL=self.url,
            OS_BOOTSTRAP_INTERNAL_URL=self.url,
            OS_BOOTSTRAP_ADMIN_URL=self.url,
        )
        self.process = serving.uwsgi(
            scratch,
            'keystone',
            'keystone.wsgi.api',
            self.port,
            {'OS_KEYSTONE_CONFIG_DIR': str(self.etc)},
        )
        self.process.wait()
        self._users()

    def _configure(self) -> None:
        keys = self.etc / 'fernet'
        for name in ('fernet', 'credential'):
            directory = self.etc / name
            directory.mkdir(parents=True, mode=0o700)
            for number in '01':
                key = base64.urlsafe_b64encode(os.urandom(32))
                (directory / number).write_bytes(key)
        config.write(
            self.etc / 'keystone.conf',
            {
                'database': {
                    'connection': f'sqlite:///{self.etc}/keystone.db'
                },
                'token': {'provider': 'fernet', 'expiration': 86400},
                'identity': {'password_hash_rounds': 4},
                'fernet_tokens': {'key_repository': keys},
                'fernet_receipts': {'key_repository': keys},
                'credential': {'key_repository': self.etc / 'credential'},
                'cache': {
                    'enabled': 'true',
                    'backend': 'dogpile.cache.memory',
                },
            },
        )

    def session(
        self, user: str = 'admin', project: str = 'admin'
    ) -> session.Session:
        """Of one of the users."""
        return session.Session(
            auth=v3.Password(
                auth_url=self.url,
                username=user,
                password=PASSWORD,
                project_name=project,
                user_domain_id='default',
                project_domain_id='default',
            )
        )

    def options(self) -> dict[str, Any]:
        """keystoneauth's options for the attestation service."""
        return {
            'auth_url': self.url,
            'auth_type': 'password',
            'username': 'korora',
            'password': PASSWORD,
            'project_name': PROJECT,
            'user_domain_id': 'default',
            'project_domain_id': 'default',
        }

    def _users(self) -> None:
        api = adapter.Adapter(self.session(), endpoint_override=self.url)

        def ensure(kind: str, name: str, **more: Any) -> str:
            found = api.get(f'/{kind}s', params={'name': name}).json()
            for one in found[f'{kind}s']:
                return str(one['id'])
            made = api.post(f'/{kind}s', json={kind: {'name': name, **more}})
            return str(made.json()[kind]['id'])

        project = ensure('project', PROJECT, domain_id='default')
        for name, roles in USERS.items():
            user = ensure('user', name, domain_id='default', password=PASSWORD)
            for role in roles:
                api.put(
                    f'/projects/{project}/users/{user}/roles/'
                    + ensure('role', role)
                )


def memcached(scratch: Scratch) -> tuple[Process, int]:
    """It, and its port."""
    port = scratch.port()
    made = scratch.process(
        'memcached',
        ['memcached', '-u', 'root', '-l', LOCAL, '-m', '32', '-p', str(port)],
        listening(port),
    )
    made.wait()
    return made, port
