# SPDX-License-Identifier: Apache-2.0
"""The service with all that it needs, on the loopback address.

uWSGI, auth_token, memcached, Keystone, MariaDB with durable commits: as in
production. Nova alone is a record of ours (:mod:`.nova`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from keystoneauth1 import adapter

from korora_nova import client, transport
from korora_tools import ui
from korora_tools.fleet import database, nova, serving
from korora_tools.fleet.keystone import Keystone, memcached
from korora_tools.fleet.processes import LOCAL, Process, Scratch
from korora_tools.lab import config
from tests.support import service as vendors

Options = Mapping[str, Mapping[str, Any]]


class Base:
    """What there is one of, however many workers and databases there are.

    :ivar keystone, nova: see there; ``vendor`` certifies the hosts' TPMs.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.scratch = Scratch(stack)
        self.etc = self.scratch.path / 'korora'
        self.nova = nova.Nova(stack)
        with ui.step('Keystone and memcached'):
            self.memcached, self.memcached_port = memcached(self.scratch)
            self.keystone = Keystone(self.scratch)
        self.vendor = vendors.VendorCa()
        roots = self.etc / 'ek-roots'
        roots.mkdir(parents=True)
        (roots / 'vendor.crt').write_bytes(self.vendor.pem)

    def configure(
        self,
        name: str,
        connection: str,
        anchor: str,
        settings: Mapping[str, Any],
    ) -> str:
        """Write a worker's korora.conf; returns its directory.

        :param connection: URL of the database; ``anchor`` of the anchor's.
        :param settings: options of ``[verifier]``.
        """
        authtoken = {
            **self.keystone.options(),
            'www_authenticate_uri': self.keystone.url,
            'memcached_servers': f'{LOCAL}:{self.memcached_port}',
            'service_token_roles_required': 'true',
        }
        directory = self.etc / name
        sections: Options = {
            'DEFAULT': {
                'log_dir': self.scratch.log,
                'log_file': f'{name}.log',
                'use_stderr': 'false',
            },
            'database': {
                'connection': connection,
                'max_pool_size': 5,
                'max_overflow': 20,
            },
            'anchor': {'backend': 'database', 'connection': anchor},
            'keystone_authtoken': authtoken,
            'verifier': {
                'keys_dir': self.etc / 'private',
                'trusted_keys': self.etc / 'keys.json',
                'ek_roots': self.etc / 'ek-roots',
                'migration_tls': 'site',
                # Its hosts do not come again when they are told to.
                'busy_requests': 0,
                **settings,
            },
            'nova': {
                **self.keystone.options(),
                'endpoint_override': self.nova.url,
            },
        }
        config.write(directory / 'korora.conf', sections)
        return str(directory)

    def manage(self, directory: str, *arguments: str) -> None:
        """Run korora-manage."""
        self.scratch.run(
            [
                'korora-manage',
                '--config-file',
                f'{directory}/korora.conf',
                *arguments,
            ]
        )

    def prepare(self, directory: str) -> None:
        """Keys, unless there are any, schema and anchor."""
        if not (self.etc / 'keys.json').exists():
            self.manage(directory, 'keys', 'create')
        self.manage(directory, 'db', 'sync')
        self.manage(directory, 'anchor', 'create')

    def worker(self, name: str, directory: str, port: int) -> Process:
        """Start one worker process."""
        return serving.uwsgi(
            self.scratch,
            name,
            'korora_nova.wsgi.api',
            port,
            {'KORORA_CONFIG_DIR': directory},
        )

    def client(
        self, endpoint: str, user: str, project: str = 'service'
    ) -> client.AttestationClient:
        """The API as one of Keystone's users."""
        session = self.keystone.session(user, project)
        transport.bound(session)
        return client.AttestationClient(
            adapter.Adapter(
                session,
                service_type='attestation',
                endpoint_override=endpoint,
            ),
            timeout=20,
        )


class Simple:
    """One database, any number of workers, each at a port of its own.

    :param settings: options of ``[verifier]``.
    :ivar server: the database; ``workers`` and ``endpoints`` in order.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        workers: int = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.base = Base(stack)
        self._settings = settings or {}
        with ui.step('MariaDB'):
            self.server = database.single(self.base.scratch)
        self.workers: list[Process] = []
        self.endpoints: list[str] = []
        self.ports: list[int] = []
        if workers:
            with ui.step(f'the attestation service, {workers} workers'):
                directory = self._prepared('korora')
                for _ in range(workers):
                    self.add(directory)
                for one in self.workers:
                    one.wait()

    def _prepared(self, name: str) -> str:
        """A new database with schema and anchor; its korora.conf."""
        self.server.create(name, f'{name}_anchor')
        directory = self._configured(name, name, self.server.port)
        self.base.prepare(directory)
        return directory

    def _configured(self, file: str, name: str, port: int) -> str:
        return self.base.configure(
            file,
            database.url(port, name),
            database.url(port, f'{name}_anchor'),
            self._settings,
        )

    def database(self, name: str) -> tuple[str, Process]:
        """A worker on a new database; its korora.conf, and itself."""
        directory = self._prepared(name)
        made = self.add(directory)
        made.wait()
        return directory, made

    def add(self, directory: str) -> Process:
        """Start one more worker; wait for it yourself."""
        name = f'worker{len(self.workers) + 1}'
        port = self.base.scratch.port()
        made = self.base.worker(name, directory, port)
        self.workers.append(made)
        self.ports.append(port)
        self.endpoints.append(f'http://{LOCAL}:{port}')
        return made

    def behind(self, directory: str, port: int) -> Process:
        """One more worker, whose way to the database begins at a port."""
        name = os.path.basename(directory)
        made = self.add(self._configured(f'{name}-{port}', name, port))
        made.wait()
        return made

    def agents(self, worker: int = 0) -> client.AttestationClient:
        return self.base.client(self.endpoints[worker], 'korora-agent')

    def admin(self, worker: int = 0) -> client.AttestationClient:
        return self.base.client(self.endpoints[worker], 'admin', 'admin')
