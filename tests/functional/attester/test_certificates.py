# SPDX-License-Identifier: Apache-2.0
"""Agents with certificates: whose name a permit gets, and who is refused."""

from __future__ import annotations

import os

from korora_nova.rats.x509 import stream
from tests.support import hosts

_ATTESTED = {'tls': True, 'migration_tls': 'attested'}


class AttestedTest(hosts.HostsTestCase):
    HOSTS = ('h1', 'h2', 'h3')
    STREAMING = ('h1', 'h2')
    SETTINGS = _ATTESTED

    def setUp(self) -> None:
        super().setUp()
        for machine in (self.h1, self.h2):
            machine.agent.attestation.step()
        self.create(self.h1)

    def test_there(self) -> None:
        """The name is that of h2's key; nova.conf says nothing of TLS."""
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        answer = self.start(self.h1, self.h2, migration)
        name = self.h2.agent.streams.name()
        self.assertTrue(stream.is_name(name))
        self.assertEqual(name, answer['tls_name'])
        self.assertEqual(
            name, self.admin.get_host('h2')['certificate']['name']
        )

    def test_one_attestation_brings_it(self) -> None:
        """And none after it, until it is due."""
        before = os.readlink(self.h2.agent.streams._link)
        self.h2.agent.attestation.step()
        self.assertEqual(before, os.readlink(self.h2.agent.streams._link))

    def test_destination_without(self) -> None:
        h3 = self.machines['h3']
        self.refused(
            'CERTIFICATE_MISSING',
            h3.client.call,
            'check_address',
            address=hosts.ADDRESS['h3'],
        )
        migration = self.nova_migrates(self.h1, h3)
        self.refused(
            'CERTIFICATE_MISSING', self.receive, self.h1, h3, migration
        )
        self.assertEqual('held', self.h1.state(self.instance))
        self.migrate(self.h1, self.h2)

    def test_source_without(self) -> None:
        self.migrate(self.h1, self.h2)
        h3 = self.machines['h3']
        self.refused(
            'CERTIFICATE_MISSING',
            h3.client.call,
            'announce',
            instance=self.instance,
        )

    def test_files_are_gone_between_permit_and_stream(self) -> None:
        """S could not stream: it says so, and nothing has started."""
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.h1.agent.streams._link.unlink()
        self.refused(
            'CERTIFICATE_MISSING', self.start, self.h1, self.h2, migration
        )
        self.assertEqual('outgoing', self.h1.state(self.instance))
        self.h1.agent.attestation.step()
        self.start(self.h1, self.h2, migration)

    def test_files_of_the_destination_are_gone(self) -> None:
        self.h2.agent.streams._link.unlink()
        migration = self.nova_migrates(self.h1, self.h2)
        self.refused(
            'CERTIFICATE_MISSING', self.receive, self.h1, self.h2, migration
        )

    def test_old_driver_without_tls(self) -> None:
        """nova-compute of before was not restarted: it would go in clear."""
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.refused(
            'ADDRESS_MISMATCH',
            self.start,
            self.h1,
            self.h2,
            migration,
            tls_name=None,
        )

    def test_agent_is_started_again(self) -> None:
        before = self.h2.agent.streams.name()
        self.h2.restart_agent()
        self.assertEqual(before, self.h2.agent.streams.name())
        self.h2.agent.attestation.step()
        self.migrate(self.h1, self.h2)


class SiteTest(hosts.HostsTestCase):
    SETTINGS = {'migration_tls': 'site'}

    def test_name_that_the_destination_attests(self) -> None:
        """Whatever nova.conf of either end says."""
        self.create(self.h1)
        migration = self.nova_migrates(self.h1, self.h2)
        self.h2.client.call(
            'receive',
            instance=self.instance,
            migration=migration,
            source='h1',
            address=hosts.ADDRESS['h2'],
            tls_name='',
        )
        answer = self.start(self.h1, self.h2, migration)
        self.assertEqual('h2', answer['tls_name'])


class TransitionTest(hosts.HostsTestCase):
    """Only h2 has a certificate: as before, in both directions."""

    STREAMING = ('h2',)
    SETTINGS = {'tls': True, 'migration_tls': 'transition'}

    def test_both_ways(self) -> None:
        self.create(self.h1)
        self.h2.agent.attestation.step()
        self.assertNotEqual('', self.h2.agent.streams.name())
        for source, dest in ((self.h1, self.h2), (self.h2, self.h1)):
            migration = self.nova_migrates(source, dest)
            self.receive(source, dest, migration)
            answer = self.start(source, dest, migration)
            self.assertEqual(dest.name, answer['tls_name'])
            self.stream(source, dest)
            self.said(source, 'stream_completed', migration)
            self.said(dest, 'activated', migration)
