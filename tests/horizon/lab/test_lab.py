# SPDX-License-Identifier: Apache-2.0
"""What an administrator sees of three hosts and a server that has moved."""

from __future__ import annotations

from tests.horizon.browser.base import ADMIN, BrowserTestCase

#: The tiers of the lab's hosts.
HOSTS = {
    'h1': '✓ Approved ✓ Affirming',
    'h2': '✓ Approved ✓ Affirming',
    'h3': '✓ Approved ✗ Contraindicated',
}


class LabTest(BrowserTestCase):
    def test_panel_is_in_admin_compute(self) -> None:
        self.go()
        self.find(f'#sidebar-accordion a[href="{ADMIN}"]')

    def test_hosts(self) -> None:
        self.go()
        self.assertEqual(3, len(self.all('#hosts tbody tr')))
        for host, said in HOSTS.items():
            self.assertIn(said, self.row('hosts', host))

    def test_good_host(self) -> None:
        self.go()
        self.find('#hosts a[href$="/h1/"]').click()
        self.assertIn('✓ Verified', self.words('.attestation-facts'))
        self.assertIn('keys that are pinned here', self.words())

    def test_tampered_host_beside_its_policy(self) -> None:
        self.go('hosts/h3/')
        self.assertIn('✗ Contraindicated', self.words())
        self.assertIn('✓ Verified', self.words('.attestation-facts'))
        self.assertIn('What to do', self.words('.attestation-differences'))

    def test_migration(self) -> None:
        moved = self.facts['migration']
        self.go('migrations/')
        self.assertIn('✓ Committed', self.row('migrations', moved))
        self.find(f'#migrations a[href*="{moved}"]').click()
        for one in ('Permit', 'Start', 'Receipt'):
            self.assertIn(f'{one} ✓ Verified', self.row('proofs', one))
        self.assertEqual(7, len(self.all('#steps li')))

    def test_server(self) -> None:
        server = self.facts['server']
        self.go('servers/')
        self.assertIn('✓ Held h2', self.row('servers', server))
        self.find(f'#servers a[href*="{server}"]').click()
        self.assertIn('h2', self.words())

    def test_no_barriers(self) -> None:
        for path in (
            '',
            'hosts/h3/',
            f'migrations/{self.facts["migration"]}/',
        ):
            with self.subTest(path):
                self.go(path)
                self.assertEqual([], self.barriers())
