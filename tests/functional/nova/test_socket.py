# SPDX-License-Identifier: Apache-2.0
"""The driver and an agent's real socket; a filter and a service that hangs."""

import os
import socket
import threading
import time
import types

import fixtures
from nova import objects, test
from nova.scheduler import host_manager

from korora_nova.attester import server as agent_server
from korora_nova.attester import socket_client
from korora_nova.rats.signed import keys
from korora_nova.relying_party import driver as korora_driver
from korora_nova.relying_party import filter as korora_filter
from tests.functional.nova import base
from tests.support import fakes


class TestSocket(base.Base):
    """Framing, schemas and peer credentials are those of the agent."""

    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.servers = {}
        test = self

        def make_agent(driver, timeout):
            test.agent_of(driver)
            return socket_client.AgentClient(
                test.path(driver._korora.name), timeout
            )

        self.useFixture(
            fixtures.MockPatchObject(
                korora_driver.KororaLibvirtDriver, '_make_agent', make_agent
            )
        )

    def path(self, host):
        return os.path.join(self.directory, host)

    def serve(self, *hosts):
        for host in hosts:
            agent = self.cloud.agent(host)
            server = agent_server.Server(
                self.path(host),
                frozenset((os.getuid(),)),
                {
                    op: self.handler(agent, op)
                    for op in (
                        'status',
                        'attest',
                        'verdict',
                        'protection',
                        'seal',
                        'open',
                        'launch',
                        'close',
                        'announce',
                        'check_address',
                        'receive',
                        'start',
                        'stream_completed',
                        'never_started',
                        'activated',
                        'no_domain',
                        'forget',
                        'enforces',
                    )
                },
                fakes.take,
            )
            server.start()
            self.addCleanup(server.stop)
            self.servers[host] = server

    @staticmethod
    def handler(agent, op):
        def handle(request):
            fields = agent.call(op, **request.to_json())
            return types.SimpleNamespace(to_json=lambda: fields)

        return handle

    def test_whole_life(self):
        self.serve('h1', 'h2')
        self.start_hosts('h1', 'h2')
        server = self.create(base.VTPM, host='h1')
        self.migrate(server)
        self.assertEqual('h2', self.host_of(server))
        self._reboot_server(server, hard=True)
        self.cloud.untrusted.add('h1')
        self.migrate(server, status='error')
        self.assertIn('[HOST_UNTRUSTED]', self.stdlog.logger.output)
        self._delete_server(server)
        self.assertEqual({}, self.cloud.holders)

    def test_denied_peer(self):
        self.serve('h1')
        self.servers['h1']._allowed = frozenset()
        self.start_hosts('h1', heard=False)
        server = self.create(base.VTPM, host='h1', state='ERROR')
        self.assertIn('[AGENT_UNAVAILABLE]', server['fault']['message'])
        self.create(host='h1')

    def test_hung_agent_delays_plain_servers_little(self):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path('h1'))
        listener.listen(64)
        self.useFixture(
            fixtures.MockPatch('korora_nova.relying_party.gate.QUICK', 0.5)
        )
        self.start_hosts('h1', heard=False)
        began = time.monotonic()
        self.create(host='h1')
        self.assertLess(time.monotonic() - began, 60)


class TestHangingService(test.NoDBTestCase):
    """I10, with a real connection that nobody answers."""

    BUDGET = 1.0

    def setUp(self):
        super().setUp()
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        self.connections = []
        threading.Thread(
            target=self.accept, args=(listener,), daemon=True
        ).start()
        path = self.useFixture(fixtures.TempDir()).join('keys.json')
        keys.KeyRing.build(
            'c',
            result=[keys.SigningKey.generate().public],
            custody=[],
            approval=[],
        ).save(path)
        port = listener.getsockname()[1]
        self.flags(
            auth_type='none',
            trusted_keys=path,
            endpoint_override=f'http://127.0.0.1:{port}',
            decision_timeout=self.BUDGET,
            group='korora',
        )
        self.filter = korora_filter.AttestationFilter()
        self.hosts = [
            host_manager.HostState(f'h{index}', 'n', 'c')
            for index in range(200)
        ]

    def accept(self, listener):
        while True:
            try:
                self.connections.append(listener.accept()[0])
            except OSError:
                return

    def spec(self, **extra_specs):
        return objects.RequestSpec(
            instance_uuid='6d3cbd36-8a05-4a2c-b6e3-f2e3ec4f5c11',
            flavor=objects.Flavor(extra_specs=extra_specs),
            image=None,
            scheduler_hints={},
        )

    def test_one_budget_for_200_hosts(self):
        began = time.monotonic()
        answer = self.filter.filter_all(
            self.hosts, self.spec(**{'korora:trusted_host': 'required'})
        )
        took = time.monotonic() - began
        self.assertEqual([], answer)
        self.assertGreaterEqual(took, self.BUDGET)
        # Far from the budget of each host
        self.assertLess(took, 20 * self.BUDGET)
        self.assertEqual(1, len(self.connections))
        began = time.monotonic()
        self.assertEqual(
            self.hosts, self.filter.filter_all(self.hosts, self.spec())
        )
        self.assertLess(time.monotonic() - began, self.BUDGET)
