# SPDX-License-Identifier: Apache-2.0
"""Hosts whose nova-compute does not enforce, with real agents (H3)."""

import os

from korora_nova import errors
from korora_nova.attester.socket_client import AgentClient
from tests.support import hosts


class EnforcementTest(hosts.HostsTestCase):
    def silence(self, machine: hosts.Machine) -> None:
        """nova-compute has not spoken for a while, or is stock Nova."""
        machine.agent.enforcement._heard = None
        machine.agent.attestation.step()

    def enforcing(self, name: str) -> bool:
        return bool(self.admin.get_host(name)['enforcing'])

    def test_spoken_and_attested(self) -> None:
        self.assertTrue(self.enforcing('h1'))
        self.silence(self.h1)
        self.assertFalse(self.enforcing('h1'))
        # Its own starts are admitted by the driver that asks for them.
        self.create(self.h1)
        self.h1.enforce('[NOVA_DRIFT] spawn')
        self.h1.agent.attestation.step()
        self.assertFalse(self.enforcing('h1'))
        self.h1.enforce()
        self.h1.agent.attestation.step()
        self.assertTrue(self.enforcing('h1'))

    def test_news_is_attested_at_once(self) -> None:
        """The result does not lag behind for an interval."""
        wake = self.h1.agent.attestation._wake
        wake.clear()
        self.h1.enforce()
        self.assertFalse(wake.is_set())
        self.h1.enforce('[NOVA_DRIFT] spawn')
        self.assertTrue(wake.is_set())

    def test_verdict_on_a_peer(self) -> None:
        self.h1.client.verdict('h2')
        self.silence(self.h2)
        self.refused('ENFORCER_ABSENT', self.h1.client.verdict, 'h2')
        self.assertEqual('affirming', self.admin.get_host('h2')['tier'])

    def test_destination_without(self) -> None:
        """I6: refused, the guest stays, and a retry succeeds."""
        self.create(self.h1)
        self.silence(self.h2)
        migration = self.nova_migrates(self.h1, self.h2)
        self.refused(
            'ENFORCER_ABSENT', self.receive, self.h1, self.h2, migration
        )
        self.assertEqual('held', self.h1.state(self.instance))
        self.h2.enforce()
        self.h2.agent.attestation.step()
        self.migrate(self.h1, self.h2)
        self.assertEqual('held', self.h2.state(self.instance))

    def test_source_without(self) -> None:
        self.create(self.h1)
        self.silence(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.refused(
            'ENFORCER_ABSENT', self.receive, self.h1, self.h2, migration
        )
        self.assertEqual('held', self.h1.state(self.instance))

    def test_destination_that_loses_it(self) -> None:
        """After the permit, before the stream."""
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.silence(self.h2)
        self.refused(
            'ENFORCER_ABSENT', self.start, self.h1, self.h2, migration
        )
        self.h2.enforce()
        self.h2.agent.attestation.step()
        self.start(self.h1, self.h2, migration)

    def test_reboot(self) -> None:
        """What nova-compute said before says nothing about the next one."""
        self.h1.reboot()
        self.h1.agent.enforcement._heard = None
        self.h1.agent.attestation.step()
        self.assertFalse(self.enforcing('h1'))

    def test_who_may_not_open_keys_may_not_say_it(self) -> None:
        self.h1.agent.server._allowed = frozenset((os.getuid() + 1,))
        error = self.assertRaises(
            errors.Forbidden,
            AgentClient(self.h1.socket, 30).enforces,
            'a.Driver',
            '1',
            '',
        )
        self.assertEqual('PEER_DENIED', error.reason)
