# SPDX-License-Identifier: Apache-2.0
"""Live migration of a protected server, and what the ledger says about it."""

from __future__ import annotations

import json

from tempest import config
from tempest.lib import decorators

from korora_tempest_plugin.common import commands
from korora_tempest_plugin.tests.scenario import base

CONF = config.CONF


class BaseMigrationTest(base.NeedsTwoHosts):
    def assert_moved(
        self, server: str, host: str, epoch: int, migration: base.Json
    ) -> int:
        """Insist on a hand-over with a receipt; returns its epoch."""
        self.assertEqual('completed', migration['status'])
        self.assert_status('ACTIVE', server)
        self.assertEqual(host, self.host_of(server))
        row = self.settled(server)
        self.assertEqual(host, row['holder'])
        self.assertGreater(row['epoch'], epoch)
        self.assertGreater(row['version'], row['epoch'])
        self.assert_recorded(server, migration, 'committed', row['epoch'])
        return int(row['epoch'])

    def assert_recorded(
        self, server: str, migration: base.Json, outcome: str, epoch: int
    ) -> None:
        """The hand-over, its receipt, and its place in the list of all."""
        found = self.client.show_migration(migration['uuid'])
        self.assertEqual(
            (
                server,
                migration['source_compute'],
                migration['dest_compute'],
                outcome,
                epoch,
            ),
            (
                found['instance'],
                found['source'],
                found['dest'],
                found['status'],
                found['epoch'],
            ),
        )
        self.assertIn(
            migration['uuid'],
            [one['id'] for one in self.client.list_migrations()['migrations']],
        )
        (receipt,) = (
            one
            for one in self.receipts_about(server)
            if one['migration'] == migration['uuid']
        )
        self.assertEqual(
            (outcome, epoch, found['source'], found['dest']),
            (
                receipt['outcome'],
                receipt['epoch'],
                receipt['source'],
                receipt['dest'],
            ),
        )
        self.assertIn(
            found['receipt'], self.client.list_receipts()['receipts']
        )

    def assert_stayed(
        self, server: str, before: base.Json, migration: base.Json
    ) -> None:
        """Insist that the server runs where it was, and holds its key."""
        self.assertNotEqual('completed', migration['status'])
        self.assert_status('ACTIVE', server)
        self.assertEqual(before['holder'], self.host_of(server))
        row = self.settled(server)
        self.assertEqual(
            (before['holder'], before['epoch']), (row['holder'], row['epoch'])
        )


class LiveMigrationTest(BaseMigrationTest):
    @decorators.idempotent_id('74d9af85-bf8f-4458-836d-88d1d3b6a311')
    @decorators.attr(type='multinode')
    def test_there_and_back(self) -> None:
        server = self.create_server()
        source, epoch = self.host_of(server), self.ledger(server)['epoch']
        dest = self.other_host(source)
        for host in (dest, source):
            epoch = self.assert_moved(
                server, host, epoch, self.migrate(server, host)
            )
        self.assertEqual('', self.act(self.servers.stop_server, server))
        self.assertEqual('', self.act(self.servers.start_server, server))
        self.assert_status('ACTIVE', server)

    @decorators.idempotent_id('ee18809d-15c6-4b3e-b1fc-2ebba0f75990')
    @decorators.attr(type='multinode')
    def test_scheduler_chooses_a_trusted_host(self) -> None:
        server = self.create_server()
        source, epoch = self.host_of(server), self.ledger(server)['epoch']
        migration = self.migrate(server)
        dest = self.host_of(server)
        self.assertNotEqual(source, dest)
        self.assertIn(dest, self.affirming_hosts())
        self.assert_moved(server, dest, epoch, migration)

    @decorators.idempotent_id('7189c9aa-668e-494d-ac0b-8f6e4b1f2f46')
    @decorators.attr(type='multinode')
    def test_delete_after_migration(self) -> None:
        server = self.create_server()
        dest = self.other_host(self.host_of(server))
        epoch = self.assert_moved(server, dest, 1, self.migrate(server, dest))
        self.delete_server(server)
        self.wait_until(
            lambda: len(self.receipts_about(server)) == 2,
            f'the key of {server} stays',
        )
        receipt = self.receipts_about(server)[-1]
        self.assertEqual(
            ('deleted', epoch, dest),
            (receipt['outcome'], receipt['epoch'], receipt['source']),
        )


class AbortedMigrationTest(BaseMigrationTest):
    """The stream is aborted half way.

    Nothing in an empty guest would keep a stream busy, so libvirt is told to
    send slowly, and the server has enough memory for that to take a while.
    """

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.attestation.host_command:
            raise cls.skipException(
                '[attestation] host_command is not set: no live migration '
                'is slow enough to be aborted'
            )
        if not CONF.attestation.slow_migration_ram:
            raise cls.skipException('[attestation] slow_migration_ram is 0')

    @classmethod
    def resource_setup(cls) -> None:
        super().resource_setup()
        cls.large_flavor = cls.create_flavor(
            base.PROTECTED, CONF.attestation.slow_migration_ram
        )

    def slow_down(self, server: str) -> None:
        commands.run(
            CONF.attestation.host_command,
            self.host_of(server),
            'virsh',
            'migrate-setspeed',
            server,
            '1',
            timeout=CONF.attestation.host_command_timeout,
        )

    def running(self, server: str) -> str:
        """Nova's id of the migration that is streaming, or nothing."""
        # Tempest's own call wants a field that Nova does not have.
        _, body = self.admin_servers.get(f'servers/{server}/migrations')
        for one in json.loads(body)['migrations']:
            if one['status'] == 'running':
                return str(one['id'])
        return ''

    @decorators.idempotent_id('bd3b906f-cc45-4662-917e-8dddc15b7646')
    @decorators.attr(type=['multinode', 'slow'])
    def test_abort(self) -> None:
        server = self.create_server(self.large_flavor)
        before = self.ledger(server)
        dest = self.other_host(before['holder'])
        self.slow_down(server)
        known = {one['id'] for one in self.migrations(server)}
        self.admin_servers.live_migrate_server(
            server, host=dest, block_migration='auto'
        )
        self.wait_until(
            lambda: bool(self.running(server)),
            f'the stream of {server} does not begin',
        )
        self.admin_servers.delete(
            f'servers/{server}/migrations/{self.running(server)}'
        )
        migration = self.migrated(server, known)
        # Nova calls it failed if it sees no job before a cancelled one.
        self.assertIn(migration['status'], ('cancelled', 'failed'))
        self.assert_stayed(server, before, migration)
        aborted = self.client.show_migration(migration['uuid'])['epoch']
        self.assertGreater(aborted, before['epoch'])
        self.assert_recorded(server, migration, 'aborted', aborted)


@decorators.serial
class RefusedMigrationTest(BaseMigrationTest, base.NeedsTampering):
    """The destination was tampered with."""

    @decorators.idempotent_id('55e3b070-deca-40a5-96dd-5082599e24ac')
    @decorators.attr(type='multinode')
    def test_forced(self) -> None:
        """``force`` of compute API 2.67, which no scheduler sees."""
        server = self.create_server()
        before = self.ledger(server)
        dest = self.other_host(before['holder'])
        self.break_host(dest)
        with self.microversion('2.67'):
            migration = self.migrate(server, dest, force=True)
        self.assert_stayed(server, before, migration)
        self.assertNotEqual('', self.last_reason(server))
        self.restore_host(dest)
        self.assert_moved(
            server, dest, before['epoch'], self.migrate(server, dest)
        )

    @decorators.idempotent_id('91a61122-8548-4a3e-b84e-a43a6afd1d5e')
    @decorators.attr(type='multinode')
    def test_with_host_named(self) -> None:
        server = self.create_server()
        before = self.ledger(server)
        dest = self.other_host(before['holder'])
        self.break_host(dest)
        self.assert_stayed(server, before, self.migrate(server, dest))
