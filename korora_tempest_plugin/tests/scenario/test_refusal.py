# SPDX-License-Identifier: Apache-2.0
"""What a host that is no longer trusted may do: anything but start a server.

The tests are serial: meanwhile nobody else can start one there either.
"""

from __future__ import annotations

from tempest import config
from tempest.lib import decorators

from korora_tempest_plugin.common import commands
from korora_tempest_plugin.tests import base as tests_base
from korora_tempest_plugin.tests.scenario import base

CONF = config.CONF


class Refusals(base.BaseServersTest):
    """What is true of every such host."""

    def stopped_server(self) -> tuple[str, str, base.Json]:
        """A stopped one, its host and the ledger's row."""
        server = self.create_server()
        self.assertEqual('', self.act(self.servers.stop_server, server))
        return server, self.host_of(server), self.ledger(server)

    def assert_start_refused(
        self, server: str, host: str, before: base.Json
    ) -> str:
        """Insist that a start changes nothing; returns the reason."""
        reason = self.act(self.servers.start_server, server)
        self.assertNotEqual('', reason)
        self.assert_status('SHUTOFF', server)
        self.assertEqual(
            (host, before), (self.host_of(server), self.ledger(server))
        )
        return reason

    def assert_plain_server_works(self, host: str) -> None:
        server = self.create_server(
            self.plain_flavor, availability_zone=f'nova:{host}'
        )
        self.assertEqual(
            '', self.act(self.admin_servers.reboot_server, server, type='HARD')
        )
        self.assert_status('ACTIVE', server)

    def assert_starts(self, server: str, before: base.Json) -> None:
        self.assertEqual('', self.act(self.servers.start_server, server))
        self.assert_status('ACTIVE', server)
        self.assertEqual(before, self.ledger(server))


@decorators.serial
class PolicyRefusalTest(Refusals):
    """The host is as it was, but the policy has changed."""

    def distrust(self, host: str) -> str:
        """Require something of the host that it does not satisfy."""
        name = self.create_policy(
            tests_base.policy_document(
                self.unique('policy'), hosts=host, pcr_4='ab' * 32
            )
        )['name']
        self.addCleanup(self.wait_for_tier, host, 'affirming')
        self.addCleanup(self._ignore_missing, self.client.delete_policy, name)
        return str(name)

    @decorators.idempotent_id('76880dcb-2a47-48d1-9b0c-af45a008059c')
    def test_start(self) -> None:
        server, host, before = self.stopped_server()
        policy = self.distrust(host)
        reason = self.assert_start_refused(server, host, before)
        self.assertIn(reason, ('HOST_UNTRUSTED', 'PCR_NOT_GOLDEN'))
        self.assertEqual(
            'contraindicated', self.client.show_result(host)['tier']
        )
        self.assertEqual([policy], self.client.show_host(host)['policies'])
        self.assert_plain_server_works(host)
        self.client.delete_policy(policy)
        self.assert_starts(server, before)

    @decorators.idempotent_id('f3205090-9ba8-4f4b-ae52-f9702235c4f9')
    def test_running_server(self) -> None:
        """It stays as it is, and a reboot is refused before it does harm.

        Nova tells users that a reboot worked if the server still runs; only
        the host shows that it is the same domain.
        """
        server = self.create_server()
        host, before = self.host_of(server), self.ledger(server)
        self.distrust(host)
        self.wait_for_tier(host, 'contraindicated')
        self.assert_status('ACTIVE', server)
        domain = self.domain(server, host)
        self.act(self.servers.reboot_server, server, type='HARD')
        self.assert_status('ACTIVE', server)
        self.assertEqual(before, self.ledger(server))
        self.assertEqual(domain, self.domain(server, host))

    def domain(self, server: str, host: str) -> str:
        """libvirt's id of the running domain, if host_command is set."""
        if not CONF.attestation.host_command:
            return ''
        return commands.run(
            CONF.attestation.host_command,
            host,
            'virsh',
            'domid',
            server,
            timeout=CONF.attestation.host_command_timeout,
        ).output.strip()

    @decorators.idempotent_id('1e11f9e6-7ba7-4173-98b1-6eda73484bca')
    def test_new_server_past_the_scheduler(self) -> None:
        """The host itself refuses what no filter has seen."""
        host = self.affirming_hosts()[0]
        self.distrust(host)
        self.wait_for_tier(host, 'contraindicated')
        server = self.create_server(
            status='ERROR', availability_zone=f'nova:{host}'
        )
        self.assertEqual('HOST_UNTRUSTED', self.last_reason(server))
        self.assertIsNone(self.show(server)['OS-EXT-SRV-ATTR:host'])

    @decorators.idempotent_id('b00a23ae-ac47-44f5-a9a0-61774b676c4e')
    def test_delete_from_untrusted_host(self) -> None:
        """Deleting a server is always possible.

        Only the host can say that the key is gone, too, and that counts when
        the host is trusted again.
        """
        server = self.create_server()
        host, before = self.host_of(server), self.ledger(server)
        policy = self.distrust(host)
        self.wait_for_tier(host, 'contraindicated')
        self.delete_server(server)
        self.assertEqual(before, self.ledger(server))
        self.client.delete_policy(policy)
        self.wait_until(
            lambda: bool(self.receipts_about(server)),
            f'the key of {server} stays',
        )
        self.assertIsNone(self.ledger(server)['holder'])


@decorators.serial
class TamperedHostTest(Refusals, base.NeedsTampering):
    """The host has changed, below its agent."""

    @decorators.idempotent_id('9858b6eb-049d-4e49-8554-38bb4961b7d6')
    def test_start(self) -> None:
        server, host, before = self.stopped_server()
        self.break_host(host)
        reason = self.assert_start_refused(server, host, before)
        self.assertNotIn(
            reason, ('SERVICE_UNAVAILABLE', 'INTERNAL', 'AGENT_UNAVAILABLE')
        )
        self.assertEqual(
            'contraindicated', self.client.show_result(host)['tier']
        )
        self.assert_plain_server_works(host)
        self.restore_host(host)
        self.assert_starts(server, before)

    @decorators.idempotent_id('40de08c9-228f-47f6-b95a-a42e7d7b5a1a')
    def test_resume(self) -> None:
        server = self.create_server()
        host, before = self.host_of(server), self.ledger(server)
        self.assertEqual('', self.act(self.servers.suspend_server, server))
        self.break_host(host)
        self.assertNotEqual('', self.act(self.servers.resume_server, server))
        self.assert_status('SUSPENDED', server)
        self.assertEqual(
            (host, before), (self.host_of(server), self.ledger(server))
        )
