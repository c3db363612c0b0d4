# SPDX-License-Identifier: Apache-2.0
"""A hand-over between two agents that goes well."""

from __future__ import annotations

from korora_nova import errors
from korora_nova.attester.agent import Agent
from korora_nova.custody import operations
from tests.support import hosts


class HandoverTest(hosts.HostsTestCase):
    def test_there_and_back(self) -> None:
        self.create(self.h1)
        self.assertEqual('held', self.h1.state(self.instance))
        migration = self.migrate(self.h1, self.h2)
        self.assertEqual('none', self.h1.state(self.instance))
        self.assertEqual('held', self.h2.state(self.instance))
        self.assertEqual({}, self.h1.libvirt.secrets)
        row = self.ledger()
        self.assertEqual(
            ('h2', 2, None), (row['holder'], row['epoch'], row['pending'])
        )
        status = self.admin.get_migration(migration)
        self.assertEqual('committed', status['status'])
        self.open(self.h2)

        self.migrate(self.h2, self.h1)
        self.assertEqual('none', self.h2.state(self.instance))
        self.assertEqual(3, self.ledger()['epoch'])
        self.open(self.h1)
        self.refused(
            errors.Reason.VAULT_MISSING,
            self.h2.client.call,
            'open',
            instance=self.instance,
        )

    def test_costs_few_tpm_commands(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        answer = self.receive(self.h1, self.h2, migration)
        self.assertEqual(20, answer['tpm_commands'])
        source = self.h1.client.call('status')['last_handover']
        dest = self.h2.client.call('status')['last_handover']
        self.assertEqual(
            ('source', 16), (source['role'], source['tpm_commands'])
        )
        self.assertEqual('destination', dest['role'])
        self.assertEqual(0, self.h1.hardware.transient_objects())
        self.assertEqual(0, self.h2.hardware.transient_objects())


class AddressTest(hosts.HostsTestCase):
    def test_an_address_that_is_not_the_agents_is_named(self) -> None:
        """Before anything is touched, and so that one can mend it."""
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.h2.agent.destination._address = 'h2'
        wanted = (
            '192.0.2.2 ([libvirt] live_migration_inbound_addr',
            'h2 ([attester] address',
        )
        for call in (
            lambda: self.receive(self.h1, self.h2, migration),
            lambda: self.h2.client.call('check_address', address='192.0.2.2'),
        ):
            error = self.assertRaises(errors.CustodyError, call)
            self.assertEqual(errors.Reason.ADDRESS_MISMATCH, error.reason)
            for part in wanted:
                self.assertIn(part, error.message)
            self.assertEqual('none', self.h2.state(self.instance))
            self.assertEqual('held', self.h1.state(self.instance))
        self.h2.agent.destination._address = '192.0.2.2'
        self.receive(self.h1, self.h2, migration)

    def test_the_default_is_the_hosts_name(self) -> None:
        conf = self.h1._conf()
        conf.clear_override('address', 'attester')
        agent = Agent(conf, self.h1.agent.attester.client, self.h1.libvirt)
        check = agent.operations()['check_address']
        check(operations.CheckAddress('h1'))
        self.assertRaises(
            errors.CustodyError, check, operations.CheckAddress('192.0.2.1')
        )
