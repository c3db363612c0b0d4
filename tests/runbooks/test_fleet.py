# SPDX-License-Identifier: Apache-2.0
"""Alerts about hosts and keys."""

from __future__ import annotations

import uuid

from korora_nova.custody import bodies
from tests.runbooks import base

POLICY = {
    'version': 1,
    'name': 'new',
    'hosts': ['nobody'],
    'rules': [
        {'pcrs': {'registers': [0, 2, 4, 7], 'references': True}},
        {'ima': 'not-appraised'},
    ],
}
STOCK = bodies.Enforcer('libvirt.LibvirtDriver', '1', 'NOVA_DRIFT', 0)


class FleetTest(base.RunbookCase):
    def spoil(self, host) -> None:
        """Somebody has changed what it boots."""
        host.tpm.extend(4, b'\1' * 32)
        host.attest_now()

    def mend(self, host) -> None:
        """It is booted again, from what was approved."""
        host.reboot()
        host.offset = 0
        host.attest_now()

    def test_kororafewtrustedhosts(self) -> None:
        alert = 'KororaFewTrustedHosts'
        hosts = [self.host(f'h{number}') for number in range(1, 4)]
        before = self.scrape()
        for host in hosts[1:]:
            self.spoil(host)
        self.fires(alert, before, self.scrape())
        self.admin.create_policy(POLICY)
        said = self.typed(
            'openstack attestation policy check new --all', code=0
        )
        self.assertIn('untrusted', said)
        for host in hosts[1:]:
            self.mend(host)
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororahostsuntrusted(self) -> None:
        alert = 'KororaHostsUntrusted'
        good, bad = self.host('h1'), self.host('h2')
        self.assertTrue(good)
        before = self.scrape()
        self.spoil(bad)
        self.fires(alert, before, self.scrape())
        listed = self.typed('openstack attestation host list')
        self.assertIn('contraindicated', listed)
        said = self.typed('openstack attestation host diagnose h2', code=2)
        self.assertIn('PCR', said)
        self.mend(bad)
        self.typed('openstack attestation host diagnose h2')
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororaresultsold(self) -> None:
        alert = 'KororaResultsOld'
        host = self.host('h1')
        before = self.scrape()
        self.korora.clock.advance(170)
        self.fires(alert, before, self.scrape())
        self.typed('korora-agent check', code=2)
        host.attest_now()
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororahostsnotenforcing(self) -> None:
        alert = 'KororaHostsNotEnforcing'
        host = self.host('h1')
        before, usual = self.scrape(), host.enforcer
        host.enforcer = STOCK
        host.attest_now()
        self.fires(alert, before, self.scrape())
        said = self.typed('openstack attestation host diagnose h1', code=2)
        self.assertIn('enforcement', said)
        host.enforcer = usual
        host.attest_now()
        self.typed('openstack attestation host diagnose h1')
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororahostpending(self) -> None:
        alert = 'KororaHostPending'
        self.host('h1')
        before = self.scrape()
        stranger = self.stranger('h2')
        stranger.enrol()
        self.fires(alert, before, self.scrape())
        self.assertIn('pending', self.typed('openstack attestation host list'))
        self.typed(f'openstack attestation host approve h2 {stranger.ek_hash}')
        self.quiet(alert, self.scrape())
        self.tried(alert)


class CustodyTest(base.RunbookCase):
    def setUp(self) -> None:
        super().setUp()
        self.source, self.dest = self.host('h1'), self.host('h2')
        self.server = str(uuid.uuid4())
        self.source.claim(self.server)

    def test_kororahandoverstuck(self) -> None:
        alert = 'KororaHandoverStuck'
        before = self.scrape()
        migration, _ = self.moving(self.source, self.dest, self.server)
        self.korora.clock.advance(1000)
        self.fires(alert, before, self.scrape())
        issues = self.typed('openstack attestation server list --issues')
        self.assertIn(self.server, issues)
        said = self.typed(f'openstack attestation server show {self.server}')
        self.assertIn(migration, said)
        # Both agents are there again, and say what they see.
        self.dest.state(migration, 'activated')
        self.source.state(migration, 'stream_completed')
        self.quiet(alert, self.scrape())
        self.tried(alert)

    def test_kororacustodydisputed(self) -> None:
        alert = 'KororaCustodyDisputed'
        before = self.scrape()
        migration, _ = self.moving(self.source, self.dest, self.server)
        self.source.state(migration, 'kept')
        self.dest.state(migration, 'activated')
        self.korora.clock.advance(61)
        self.fires(alert, before, self.scrape())
        self.typed(
            f'openstack attestation migration resolve {migration} '
            '--keep source --reason "the guest runs on h1" --yes'
        )
        self.quiet(alert, self.scrape())
        self.tried(alert)
