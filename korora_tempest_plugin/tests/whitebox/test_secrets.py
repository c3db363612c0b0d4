# SPDX-License-Identifier: Apache-2.0
"""No host keeps a readable secret of a protected server, nor sends one.

In stock Nova the passphrase of such a vTPM is a persistent secret that
libvirt gives to whoever asks, and is sent to the destination of a live
migration in Nova's messages.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tempest import config
from tempest.lib import decorators

from korora_tempest_plugin.common import commands
from korora_tempest_plugin.tests.scenario import base

CONF = config.CONF
#: Where libvirt keeps persistent secrets.
SECRETS = '/etc/libvirt/secrets'


class NeedsHosts(base.BaseServersTest):
    """A test that looks into compute hosts."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.attestation.host_command:
            raise cls.skipException('[attestation] host_command is not set')

    def on_host(
        self, host: str, *argv: str, check: bool = True
    ) -> commands.Finished:
        return commands.run(
            CONF.attestation.host_command,
            host,
            *argv,
            check=check,
            timeout=CONF.attestation.host_command_timeout,
        )

    def secret_of(self, server: str, host: str) -> str:
        """The libvirt secret that a running domain's vTPM names."""
        domain = ElementTree.fromstring(
            self.on_host(host, 'virsh', 'dumpxml', server).output
        )
        found = [
            one.get('secret')
            for one in domain.findall('./devices/tpm/backend/encryption')
        ]
        self.assertEqual(1, len(found), 'The vTPM is not encrypted.')
        return str(found[0])

    def assert_no_readable_secret(
        self, server: str, host: str, secret: str
    ) -> None:
        read = self.on_host(
            host, 'virsh', 'secret-get-value', secret, check=False
        )
        self.assertNotEqual(0, read.code, 'libvirt hands out the secret')
        self.assertRegex(read.errors, 'private|not found|no secret')
        for one in self.secrets(host):
            definition = ElementTree.fromstring(
                self.on_host(host, 'virsh', 'secret-dumpxml', one).output
            )
            if definition.findtext('./usage/name') == server:
                self.assertEqual(
                    ('yes', 'yes'),
                    (definition.get('private'), definition.get('ephemeral')),
                )
        listed = self.on_host(host, 'ls', SECRETS, check=False).output
        self.assertNotIn(secret, listed)

    def in_vault(self, server: str, host: str) -> bool:
        """Whether the host's agent keeps a sealed key of the server."""
        listed = self.on_host(host, 'ls', CONF.attestation.vault_directory)
        return server in listed.output

    def secrets(self, host: str) -> list[str]:
        """The ids of all secrets that libvirt knows."""
        listed = self.on_host(host, 'virsh', '-q', 'secret-list').output
        return [
            line.split()[0] for line in listed.splitlines() if line.strip()
        ]


class SecretsTest(NeedsHosts):
    @decorators.idempotent_id('4e24cb6b-1142-4c9d-ba3a-fe6f3bcb0135')
    def test_running_server(self) -> None:
        server = self.create_server()
        host = self.host_of(server)
        self.assert_no_readable_secret(
            server, host, self.secret_of(server, host)
        )

    @decorators.idempotent_id('268a1896-8f7a-4d98-8cd4-71d8dfd71737')
    def test_stopped_and_deleted_server(self) -> None:
        server = self.create_server()
        host = self.host_of(server)
        secret = self.secret_of(server, host)
        self.assertEqual('', self.act(self.servers.stop_server, server))
        self.assert_no_readable_secret(server, host, secret)
        self.assertTrue(self.in_vault(server, host))
        self.delete_server(server)
        self.assert_no_readable_secret(server, host, secret)
        self.assertNotIn(secret, self.secrets(host))
        self.wait_until(
            lambda: not self.in_vault(server, host),
            f'the sealed key of {server} stays',
        )


class MigratedSecretsTest(NeedsHosts, base.NeedsTwoHosts):
    @decorators.idempotent_id('e0571008-eaf5-48c5-8824-761ca40229fb')
    @decorators.attr(type='multinode')
    def test_both_hosts_after_live_migration(self) -> None:
        server = self.create_server()
        source = self.host_of(server)
        dest = self.other_host(source)
        migration = self.migrate(server, dest)
        self.assertEqual('completed', migration['status'])
        self.settled(server)
        secret = self.secret_of(server, dest)
        for host in (source, dest):
            self.assert_no_readable_secret(server, host, secret)
        self.assertNotIn(secret, self.secrets(source))
        self.assertTrue(self.in_vault(server, dest))
        self.wait_until(
            lambda: not self.in_vault(server, source),
            f'the sealed key of {server} stays on its source',
        )


class MigrateDataTest(base.NeedsTwoHosts):
    """What Nova's processes tell each other, as they log it at DEBUG."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.attestation.nova_log_command:
            raise cls.skipException(
                '[attestation] nova_log_command is not set'
            )

    def migrate_data(self, host: str) -> list[str]:
        """The vTPM secrets in the data of the host's live migrations."""
        log = commands.run(
            CONF.attestation.nova_log_command,
            host,
            timeout=CONF.attestation.host_command_timeout,
        ).output
        return [
            found
            for line in log.splitlines()
            if 'check data is LibvirtLiveMigrateData' in line
            for found in re.findall(r'vtpm_secret_value=([^,)]*)', line)
        ]

    @decorators.idempotent_id('9a503924-ac22-4537-a795-ab04353afb02')
    @decorators.attr(type='multinode')
    def test_no_secret_in_migrate_data(self) -> None:
        server = self.create_server()
        source = self.host_of(server)
        before = len(self.migrate_data(source))
        migration = self.migrate(server, self.other_host(source))
        self.assertEqual('completed', migration['status'])
        told = self.migrate_data(source)[before:]
        self.assertNotEqual(
            [], told, 'The log does not show it; is it at DEBUG?'
        )
        self.assertEqual({'None'}, set(told))
