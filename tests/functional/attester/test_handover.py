# SPDX-License-Identifier: Apache-2.0
"""A hand-over between two agents that goes well."""

from __future__ import annotations

from typing import Any
from unittest import mock

from korora_nova import errors
from korora_nova.attester import boot
from korora_nova.attester.agent import Agent
from korora_nova.custody import operations
from tests.support import custodian, hosts

_R = errors.Reason


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
        self.assertEqual(5, self.ledger()['epoch'])
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
        counts = [
            machine.agent.attester.tpm.count.total()
            for machine in (self.h1, self.h2)
        ]
        answer = self.receive(self.h1, self.h2, migration)
        self.assertEqual(21, answer['tpm_commands'])
        self.assertEqual(16, self.last(self.h1)['tpm_commands'])
        self.start(self.h1, self.h2, migration)
        source, dest = self.last(self.h1), self.last(self.h2)
        self.assertEqual(
            ('source', 17), (source['role'], source['tpm_commands'])
        )
        self.assertEqual(
            ('destination', 21), (dest['role'], dest['tpm_commands'])
        )
        spent = [
            machine.agent.attester.tpm.count.total() - before
            for machine, before in zip((self.h1, self.h2), counts, strict=True)
        ]
        self.assertEqual([17, 21], spent)
        self.assertLessEqual(sum(spent), 39)
        self.assertEqual(0, self.h1.hardware.transient_objects())
        self.assertEqual(0, self.h2.hardware.transient_objects())

    def last(self, machine: hosts.Machine) -> dict[str, Any]:
        return machine.client.call('status')['last_handover']

    def asked(self, machine: hosts.Machine) -> list[str]:
        """What a host asks the service for from now on."""
        client, asked = machine.agent.attester.client, []
        challenge, evidence = client.challenge, client.evidence

        def new(host: str, kind: str) -> Any:
            asked.append('challenge')
            return challenge(host, kind)

        def say(host: str, message: dict[str, Any]) -> Any:
            asked.append(message['purpose'])
            return evidence(host, message)

        client.challenge, client.evidence = new, say
        return asked

    def test_asks_for_no_challenge_twice(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        source, dest = self.asked(self.h1), self.asked(self.h2)
        self.receive(self.h1, self.h2, migration)
        self.start(self.h1, self.h2, migration)
        self.assertEqual(['challenge', 'receive', 'sealed'], dest)
        self.assertEqual(['challenge', 'send', 'start'], source)

    def test_pcrs_that_moved_are_read_anew(self) -> None:
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.h1.run_file('/usr/bin/swtpm')
        self.start(self.h1, self.h2, migration)
        self.assertEqual(19, self.last(self.h1)['tpm_commands'])

    def test_challenge_that_became_too_old(self) -> None:
        """By this host's clock: it is not even tried."""
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        asked = self.asked(self.h1)
        later = boot.now() + 1000
        with mock.patch.object(boot, 'now', return_value=later):
            self.start(self.h1, self.h2, migration)
        self.assertEqual(['challenge', 'start'], asked)

    def test_challenge_that_is_refused(self) -> None:
        self.create(self.h1)
        for reason in (
            _R.CHALLENGE_EXPIRED,
            _R.CHALLENGE_UNKNOWN,
            _R.CHALLENGE_USED,
        ):
            migration = self.nova_migrates(self.h1, self.h2)
            self.receive(self.h1, self.h2, migration)
            client = self.h1.agent.attester.client
            genuine, refused = client.evidence, [reason]

            def evidence(
                host: str,
                message: dict[str, Any],
                genuine: Any = genuine,
                refused: list[str] = refused,
            ) -> Any:
                if refused:
                    raise errors.EvidenceError(refused.pop())
                return genuine(host, message)

            with mock.patch.object(client, 'evidence', evidence):
                self.start(self.h1, self.h2, migration)
            self.assertEqual('moving', self.h1.state(self.instance))
            self.h2.libvirt.domains.clear()
            self.said(self.h2, 'no_domain', migration)
            self.h1.agent.settler.resolve(self.instance)
            self.open(self.h1)


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
        agent = Agent(
            conf,
            self.h1.agent.attester.client,
            self.h1.libvirt,
            custodian.shared(),
        )
        check = agent.operations()['check_address']
        check(operations.CheckAddress('h1'))
        self.assertRaises(
            errors.CustodyError, check, operations.CheckAddress('192.0.2.1')
        )
