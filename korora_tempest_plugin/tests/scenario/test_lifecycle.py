# SPDX-License-Identifier: Apache-2.0
"""What users do to a protected server, on a host that is trusted.

Only its status is checked: no test needs a guest that answers.
"""

from __future__ import annotations

import unittest

from tempest import config
from tempest.lib import decorators
from tempest.lib import exceptions as lib_exc

from korora_tempest_plugin.tests.scenario import base

CONF = config.CONF


class ProtectedServerTest(base.BaseServersTest):
    def assert_still_held(self, server: str, before: base.Json) -> None:
        self.assert_status('ACTIVE', server)
        self.assertEqual(before, self.ledger(server))

    @decorators.idempotent_id('97649825-f223-4dd3-8354-d3ddf9421075')
    @decorators.attr(type='smoke')
    def test_boot(self) -> None:
        server = self.create_server()
        host = self.host_of(server)
        row = self.ledger(server)
        self.assertEqual(
            (host, 1, 1, None),
            (row['holder'], row['epoch'], row['version'], row['pending']),
        )
        self.assertIn(host, self.affirming_hosts())

    @decorators.idempotent_id('67be9256-8f09-4ea0-b0db-f52e13158111')
    def test_stop_and_start(self) -> None:
        server = self.create_server()
        before = self.ledger(server)
        self.assertEqual('', self.act(self.servers.stop_server, server))
        self.assert_status('SHUTOFF', server)
        self.assertEqual(before, self.ledger(server))
        self.assertEqual('', self.act(self.servers.start_server, server))
        self.assert_still_held(server, before)

    @decorators.idempotent_id('744fa7dd-e1e1-4287-af33-167978710092')
    def test_hard_reboot(self) -> None:
        server = self.create_server()
        before = self.ledger(server)
        self.assertEqual(
            '', self.act(self.servers.reboot_server, server, type='HARD')
        )
        self.assert_still_held(server, before)

    @decorators.idempotent_id('971933b7-bbae-4b41-a7f3-52a5daf95273')
    @decorators.attr(type='slow')
    def test_soft_reboot(self) -> None:
        """A guest without ACPI is rebooted hard, after two minutes."""
        server = self.create_server()
        before = self.ledger(server)
        self.assertEqual(
            '', self.act(self.servers.reboot_server, server, type='SOFT')
        )
        self.assert_still_held(server, before)

    @decorators.idempotent_id('4c399808-2181-4c6d-a65e-47d272b68570')
    @unittest.skipUnless(
        CONF.compute_feature_enabled.suspend,
        '[compute-feature-enabled] suspend is off',
    )
    def test_suspend_and_resume(self) -> None:
        server = self.create_server()
        before = self.ledger(server)
        self.assertEqual('', self.act(self.servers.suspend_server, server))
        self.assert_status('SUSPENDED', server)
        self.assertEqual('', self.act(self.servers.resume_server, server))
        self.assert_still_held(server, before)

    @decorators.idempotent_id('f6237d7a-a381-4df8-9f16-7a0a9928dee9')
    @unittest.skipUnless(
        CONF.compute_feature_enabled.pause,
        '[compute-feature-enabled] pause is off',
    )
    def test_pause_and_unpause(self) -> None:
        server = self.create_server()
        before = self.ledger(server)
        self.assertEqual('', self.act(self.servers.pause_server, server))
        self.assert_status('PAUSED', server)
        self.assertEqual('', self.act(self.servers.unpause_server, server))
        self.assert_still_held(server, before)

    @decorators.idempotent_id('83d14e61-a58a-4792-b159-1d602c02530b')
    def test_delete(self) -> None:
        """The key is deleted, with a receipt, and its epoch stays spent."""
        server = self.create_server()
        host = self.host_of(server)
        self.delete_server(server)
        self.wait_until(
            lambda: bool(self.receipts_about(server)),
            f'the key of {server} stays',
        )
        (receipt,) = self.receipts_about(server)
        self.assertEqual(
            ('deleted', 1, host, ''),
            (
                receipt['outcome'],
                receipt['epoch'],
                receipt['source'],
                receipt['migration'],
            ),
        )
        row = self.ledger(server)
        self.assertEqual(
            (None, 0, 2, None),
            (row['holder'], row['epoch'], row['version'], row['pending']),
        )

    @decorators.idempotent_id('e7810bc1-b9d3-4c13-9e2d-10fb057db116')
    def test_delete_stopped_server(self) -> None:
        server = self.create_server()
        self.assertEqual('', self.act(self.servers.stop_server, server))
        self.delete_server(server)
        self.wait_until(
            lambda: bool(self.receipts_about(server)),
            f'the key of {server} stays',
        )
        self.assertEqual(
            ['deleted'],
            [one['outcome'] for one in self.receipts_about(server)],
        )

    @decorators.idempotent_id('bc2f30a7-00ce-4b6e-be9e-723a6130b094')
    @decorators.attr(type='negative')
    def test_host_that_holds_keys_is_not_deleted(self) -> None:
        host = self.host_of(self.create_server())
        error = self.assert_refused(
            lib_exc.Conflict, 'HOLDS_KEYS', self.client.delete_host, host
        )
        self.assertGreaterEqual(int(error['details']['keys']), 1)
        self.assertEqual('approved', self.client.show_host(host)['status'])

    @decorators.idempotent_id('f512be6f-d44b-44dd-afac-e1e8e8e0b11f')
    def test_server_without_vtpm_is_not_in_the_ledger(self) -> None:
        server = self.create_server(self.plain_flavor)
        self.assert_refused(
            lib_exc.NotFound, 'NOT_FOUND', self.client.show_server, server
        )
        self.assertEqual(
            '', self.act(self.servers.reboot_server, server, type='HARD')
        )
        self.delete_server(server)
        self.assertEqual([], self.receipts_about(server))
