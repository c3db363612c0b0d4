# SPDX-License-Identifier: Apache-2.0
"""Alerts about agents, schedulers and the trait, from what these count."""

from __future__ import annotations

import os
import time
from unittest import mock

import nova.objects
from nova.scheduler import host_manager

from korora_nova import errors, metrics
from korora_nova.attester import loop
from korora_nova.custody import bodies
from korora_nova.relying_party import filter as korora_filter
from korora_nova.relying_party import results
from korora_tools.fleet import host as fleet
from korora_tools.fleet import plan
from tests.runbooks import base

nova.objects.register_all()
VTPM = {'hw:tpm_version': '2.0', 'hw:tpm_secret_security': 'host'}


class AgentTest(base.RunbookCase):
    PROCESS = metrics.AGENT

    def now(self) -> float:
        """Agents have the clock of this machine."""
        return time.time()

    def agent(self) -> tuple[fleet.Host, loop.Attestation]:
        """A host with the agent's own loop."""
        self.korora.clock.now = time.time()
        host = fleet.Host(
            plan.Member(1, 'h1', plan.Kind.STEADY, 0.0, 1),
            self.korora.client_as('attester'),
            self.korora.ring,
            self.korora.vendor,
        )
        host.enrol()
        self.admin.approve_host('h1', host.ek_hash)
        host.attest()
        self.admin.create_reference('golden', 'h1')
        made = loop.Attestation(
            host.voice,
            60,
            lambda: bodies.Attest.page((), '', fleet.ENFORCER),
            lambda heard: None,
        )
        made._enrolled = True
        return host, made

    def test_kororaagentuntrusted(self) -> None:
        alert = 'KororaAgentUntrusted'
        host, attestation = self.agent()
        attestation.step()
        before = self.scrape()
        host.machine.run('/tmp/unknown')
        attestation.step()
        self.fires(alert, before, self.scrape())
        said = self.typed('korora-agent check', code=2)
        self.assertIn('SERVICE_UNAVAILABLE', said)
        self.tried(alert)

    def test_kororaagentsilent(self) -> None:
        """Its process is gone, and what it wrote last is there."""
        alert = 'KororaAgentSilent'
        _, attestation = self.agent()
        attestation.step()
        before = self.scrape()
        metrics.stop()
        path = self.directory / 'korora-agent-0.prom'
        self.assertTrue(path.exists())
        os.utime(path, (time.time() - 200, time.time() - 200))
        self.fires(alert, before, self.scrape())
        metrics.start(str(self.directory), metrics.AGENT)
        attestation.step()
        self.quiet(alert, self.scrape())
        self.tried(alert)


class FilterTest(base.RunbookCase):
    PROCESS = metrics.FILTER

    def setUp(self) -> None:
        super().setUp()
        self.filter = korora_filter.AttestationFilter()
        self.filter._results = results.Results(
            lambda: self.korora.client_as('service'),
            self.korora.keys_file,
            cache=0,
            budget=10,
            now=self.korora.clock,
        )
        # What a scheduler's configuration says to start is started already.
        metrics.start(str(self.directory), metrics.FILTER)

    def placed(self, *names: str) -> list[str]:
        """Where a protected server may go."""
        spec = nova.objects.RequestSpec(
            instance_uuid='6d3cbd36-8a05-4a2c-b6e3-f2e3ec4f5c11',
            flavor=nova.objects.Flavor(extra_specs=VTPM),
            image=nova.objects.ImageMeta(
                properties=nova.objects.ImageMetaProps()
            ),
            scheduler_hints={},
        )
        hosts = [host_manager.HostState(one, one, 'cell') for one in names]
        with mock.patch('time.time', self.korora.clock):
            return [one.host for one in self.filter.filter_all(hosts, spec)]

    def test_kororafilterrefusesall(self) -> None:
        alert = 'KororaFilterRefusesAll'
        good, bad = self.host('h1'), self.host('h2')
        self.assertTrue(good)
        bad.tpm.extend(4, b'\1' * 32)
        bad.attest_now()
        self.assertEqual(['h1'], self.placed('h1', 'h2'))
        before = self.scrape()
        with self.assertLogs('korora_nova.relying_party', 'INFO') as logged:
            self.assertEqual([], self.placed('h2'))
        self.assertIn('1 HOST_UNTRUSTED', '\n'.join(logged.output))
        self.fires(alert, before, self.scrape())
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororafilterblind(self) -> None:
        alert = 'KororaFilterBlind'
        self.host('h1')
        self.assertEqual(['h1'], self.placed('h1'))
        before = self.scrape()
        application = self.korora.transport.application
        self.korora.transport.application = _gone
        for _ in range(3):
            self.placed('h1')
        self.fires(alert, before, self.scrape())
        self.korora.transport.application = application
        self.assertEqual(['h1'], self.placed('h1'))
        self.quiet(alert, self.scrape())
        self.tried(alert)


def _gone(environ, start_response):
    """What a balancer says whose workers are all down."""
    start_response('503 Service Unavailable', [('Content-Length', '0')])
    return [b'']


class PlacementTest(base.RunbookCase):
    PROCESS = metrics.MANAGE

    def test_kororaplacementsynclate(self) -> None:
        """Nova does not answer: the command says so, and counts nothing."""
        alert = 'KororaPlacementSyncLate'
        metrics.PLACEMENT_SYNCED.set(self.now())
        before = self.scrape()
        self.korora.clock.advance(1000)
        said = self.typed('korora-manage placement sync', code=1)
        self.assertIn(errors.Reason.NOVA_UNAVAILABLE, said)
        self.fires(alert, before, self.scrape())
        self.tried(alert)
