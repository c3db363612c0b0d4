# SPDX-License-Identifier: Apache-2.0
"""Servers with a vTPM, what happens to them, and what the ledger says."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from tempest import config
from tempest.common import waiters
from tempest.lib import exceptions as lib_exc
from tempest.lib.common import api_version_utils
from tempest.lib.services.compute import base_compute_client

from korora_tempest_plugin.common import commands
from korora_tempest_plugin.tests import base

CONF = config.CONF
Json = base.Json

#: Makes Nova protect a server's vTPM by the host.
PROTECTED = {
    'hw:tpm_version': '2.0',
    'hw:tpm_model': 'tpm-crb',
    'hw:tpm_secret_security': 'host',
}
#: Details of events of instance actions.
MICROVERSION = '2.84'

_REASON = re.compile(r'\[([A-Z][A-Z0-9_]{3,})\]')

#: Fields of the ledger's row.
ROW = (
    'instance',
    'holder',
    'epoch',
    'version',
    'head',
    'pending',
    'released',
    'disputed',
)


class BaseServersTest(base.BaseAttestationTest):
    """A test with servers of a user, and an administrator of Nova."""

    credentials = ['primary', 'admin']

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        for service in ('nova', 'glance'):
            if not CONF.service_available[service]:
                raise cls.skipException(f'{service} is not available')
        api_version_utils.check_skip_with_microversion(
            MICROVERSION,
            'latest',
            CONF.compute.min_microversion,
            CONF.compute.max_microversion,
        )

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.servers = cls.os_primary.servers_client
        cls.admin_servers = cls.os_admin.servers_client
        cls.flavors = cls.os_admin.flavors_client
        cls.nova_migrations = cls.os_admin.migrations_client

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        cls.protected_flavor = cls.create_flavor(PROTECTED)
        cls.plain_flavor = cls.create_flavor({})

    @classmethod
    def create_flavor(cls, specs: dict[str, str], ram: int = 0) -> str:
        """Make a flavor that is removed with the class; returns its id."""
        flavor = cls.flavors.create_flavor(
            name=cls.unique('flavor'),
            vcpus=1,
            ram=ram or CONF.attestation.flavor_ram,
            disk=CONF.attestation.flavor_disk,
        )['flavor']['id']
        cls.addClassResourceCleanup(cls.flavors.delete_flavor, flavor)
        if specs:
            cls.flavors.set_flavor_extra_spec(flavor, **specs)
        return str(flavor)

    def setUp(self) -> None:
        super().setUp()
        self.broken: set[str] = set()
        scope = self.microversion(MICROVERSION)
        scope.__enter__()
        self.addCleanup(scope.__exit__, None, None, None)

    @staticmethod
    @contextlib.contextmanager
    def microversion(version: str) -> Iterator[None]:
        """Use this microversion of the compute API meanwhile."""
        before = base_compute_client.COMPUTE_MICROVERSION
        base_compute_client.COMPUTE_MICROVERSION = version
        try:
            yield
        finally:
            base_compute_client.COMPUTE_MICROVERSION = before

    # Servers

    def create_server(
        self, flavor: str = '', status: str = 'ACTIVE', **kwargs: Any
    ) -> str:
        """Make a server without a network; returns its id.

        :param flavor: a protected one by default.
        :param status: the one to wait for.
        :param kwargs: more of the request; with an availability zone, an
            administrator makes it.
        """
        client = self.servers
        if 'availability_zone' in kwargs:
            client = self.admin_servers
        server = client.create_server(
            name=self.unique('server'),
            imageRef=CONF.compute.image_ref,
            flavorRef=flavor or self.protected_flavor,
            networks='none',
            **kwargs,
        )['server']['id']
        self.addCleanup(self.delete_server, server)
        waiters.wait_for_server_status(
            self.admin_servers,
            server,
            status,
            raise_on_error=status != 'ERROR',
        )
        return str(server)

    def delete_server(self, server: str) -> None:
        try:
            self.admin_servers.delete_server(server)
        except lib_exc.NotFound:
            return
        waiters.wait_for_server_termination(
            self.admin_servers, server, ignore_error=True
        )

    def show(self, server: str) -> Json:
        """The server as an administrator sees it."""
        return dict(self.admin_servers.show_server(server)['server'])

    def host_of(self, server: str) -> str:
        return str(self.show(server)['OS-EXT-SRV-ATTR:host'])

    def act(self, call: Callable[..., Any], server: str, **kwargs: Any) -> str:
        """Do an action and wait for its end.

        :returns: an empty string if it succeeded, else the reason id with
            which it was refused.
        """
        request = call(server, **kwargs).response['x-openstack-request-id']
        self.wait_until(
            lambda: self._ended(server, request),
            f'{call.__name__} of {server} does not end',
            CONF.compute.build_timeout,
        )
        (event,) = self._action(server, request)['events']
        if event['result'] == 'Success':
            return ''
        self.assertEqual('Error', event['result'], event)
        return self._reason(event)

    def _action(self, server: str, request: str) -> Json:
        return dict(
            self.admin_servers.show_instance_action(server, request)[
                'instanceAction'
            ]
        )

    def _ended(self, server: str, request: str) -> bool:
        events = self._action(server, request)['events']
        return (
            bool(events)
            and all(event['finish_time'] is not None for event in events)
            and self.show(server)['OS-EXT-STS:task_state'] is None
        )

    def last_reason(self, server: str) -> str:
        """The reason id that Nova shows for the server's last action."""
        action = self.admin_servers.list_instance_actions(server)[
            'instanceActions'
        ][0]
        for event in reversed(
            self._action(server, action['request_id'])['events']
        ):
            if reason := self._reason(event):
                return reason
        return self._reason({'details': self.show(server).get('fault')})

    @staticmethod
    def _reason(event: Json) -> str:
        found = _REASON.findall(
            f'{event.get("details")} {event.get("traceback")}'
        )
        return str(found[-1]) if found else ''

    def assert_status(self, status: str, server: str) -> None:
        found = self.show(server)
        self.assertEqual(
            (status, None),
            (found['status'], found['OS-EXT-STS:task_state']),
            found.get('fault'),
        )

    # The ledger

    def ledger(self, server: str) -> Json:
        """The ledger's row, without what hosts report every minute."""
        shown = self.client.show_server(server)
        return {name: shown[name] for name in ROW}

    def settled(self, server: str) -> Json:
        """The ledger's row, once no hand-over is pending."""
        self.wait_until(
            lambda: self.ledger(server)['pending'] is None,
            f'the hand-over of {server} stays pending',
        )
        return self.ledger(server)

    def receipts_about(self, server: str) -> list[Json]:
        """What all receipts about a server say, oldest first."""
        found = [
            base.claims(token)
            for token in self.client.list_receipts()['receipts']
        ]
        return [one for one in found if one['instance'] == server]

    # Hosts

    def break_host(self, host: str) -> None:
        """Change the host's state; it is restored when the test ends."""
        self.broken.add(host)
        self.addCleanup(self.restore_host, host)
        self._run('tamper_command', host)

    def restore_host(self, host: str) -> None:
        """Undo it, once, and wait until the host is trusted again."""
        if host not in self.broken:
            return
        before = self.client.show_host(host)['last_attested']
        self._run('restore_command', host)
        timeout = CONF.attestation.restore_timeout
        self.wait_until(
            lambda: self._trusted_since(host, before),
            f'{host} is not affirming again',
            timeout,
        )
        self.wait_until(
            lambda: self._compute_is_up(host),
            f'nova-compute of {host} is not up',
            timeout,
        )
        self.broken.discard(host)

    def _trusted_since(self, host: str, time: float) -> bool:
        """Whether the host has attested since, and is trusted."""
        found = self.client.show_host(host)
        return (
            found['tier'] == 'affirming'
            and float(found['last_attested']) > time
        )

    @staticmethod
    def _run(option: str, host: str) -> None:
        commands.run(
            CONF.attestation[option],
            host,
            timeout=CONF.attestation.restore_timeout,
        )

    def _compute_is_up(self, host: str) -> bool:
        services = self.os_admin.services_client.list_services(
            binary='nova-compute', host=host
        )['services']
        return [one['state'] for one in services] == ['up']


class NeedsTampering(BaseServersTest):
    """A test that changes the state of a host and restores it."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not (
            CONF.attestation.tamper_command
            and CONF.attestation.restore_command
        ):
            raise cls.skipException(
                '[attestation] tamper_command and restore_command are not '
                'set: no host can be tampered with'
            )


class NeedsTwoHosts(BaseServersTest):
    """A test that moves a server between two trusted hosts."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if CONF.compute.min_compute_nodes < 2:
            raise cls.skipException('[compute] min_compute_nodes is below 2')
        if not CONF.compute_feature_enabled.live_migration:
            raise cls.skipException(
                '[compute-feature-enabled] live_migration is off'
            )

    def other_host(self, host: str) -> str:
        """A trusted host other than this one."""
        others = [one for one in self.affirming_hosts() if one != host]
        self.assertNotEqual([], others, 'There is no second affirming host.')
        return others[0]

    def migrate(
        self, server: str, host: str | None = None, **kwargs: Any
    ) -> Json:
        """Live migrate to the end; returns Nova's record of it."""
        known = {one['id'] for one in self.migrations(server)}
        self.admin_servers.live_migrate_server(
            server, host=host, block_migration='auto', **kwargs
        )
        return self.migrated(server, known)

    def migrated(self, server: str, known: set[int]) -> Json:
        """Wait for the end of the one migration that is not known yet."""

        def ended() -> bool:
            fresh = self.fresh_migrations(server, known)
            return (
                bool(fresh)
                and fresh[0]['status']
                in ('completed', 'error', 'failed', 'cancelled')
                and self.show(server)['OS-EXT-STS:task_state'] is None
            )

        self.wait_until(
            ended,
            f'the migration of {server} does not end',
            CONF.attestation.migration_timeout,
        )
        (migration,) = self.fresh_migrations(server, known)
        return migration

    def migrations(self, server: str) -> list[Json]:
        return list(
            self.nova_migrations.list_migrations(instance_uuid=server)[
                'migrations'
            ]
        )

    def fresh_migrations(self, server: str, known: set[int]) -> list[Json]:
        return [
            one for one in self.migrations(server) if one['id'] not in known
        ]
