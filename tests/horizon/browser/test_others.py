# SPDX-License-Identifier: Apache-2.0
"""Who may less, and services that are not as they should be."""

from __future__ import annotations

import time

from korora_nova.reasons import REASONS
from tests.horizon.browser.base import ADMIN, PROJECT, BrowserTestCase


class ReaderTest(BrowserTestCase):
    USER, PLACE = 'reader', PROJECT

    def test_reads_everything_and_changes_nothing(self) -> None:
        moved = self.facts['moved']
        for path in (
            '',
            'hosts/compute-5/',
            'migrations/',
            f'migrations/{moved}/',
            'servers/',
            'policies/',
        ):
            self.go(path)
            self.assertEqual([], self.all('#failed'), path)
            for action in ('approve', 'learn', 'try'):
                self.assertEqual([], self.all(f'#{action}'), path)

    def test_panel_is_in_project_compute(self) -> None:
        self.go()
        self.find(f'#sidebar-accordion a[href="{PROJECT}"]')
        self.assertEqual([], self.all(f'a[href="{ADMIN}"]'))

    def test_hidden_action_is_refused_by_the_service(self) -> None:
        self.go('hosts/compute-5/approve/')
        self.find('#id_compared').click()
        self.find('form .btn-primary').click()
        self.await_text('Nothing was done')
        self.assertIn(REASONS['FORBIDDEN'], self.words('#errors'))
        self.picture('refused')
        self.go('hosts/compute-5/')
        self.assertIn('! Waits for approval', self.words())


class StrangerTest(BrowserTestCase):
    USER = 'stranger'

    def test_service_refuses(self) -> None:
        for path in ('', 'hosts/compute-0/', 'servers/', 'policies/'):
            self.go(path)
            self.assertIn(REASONS['FORBIDDEN'], self.words('#failed'))
            self.assertNotIn('compute-1', self.words())


class ServicesTest(BrowserTestCase):
    def failed(self, region: str, path: str = '') -> str:
        self.at_region(region, path)
        self.assertNotIn('Traceback', self.driver.page_source)
        return self.words('#failed')

    def test_down(self) -> None:
        self.assertIn('cannot be reached', self.failed('Down'))
        self.picture('down')

    def test_slow(self) -> None:
        began = time.monotonic()
        self.assertIn('cannot be reached', self.failed('Slow'))
        self.assertLess(time.monotonic() - began, 20)

    def test_garbled(self) -> None:
        self.assertIn('lacks a valid', self.failed('Garbled'))
        for path in ('migrations/', 'servers/', 'policies/'):
            said = self.failed('Garbled', path)
            self.assertIn('no answer that can be shown', said)

    def test_old(self) -> None:
        self.at_region('Old')
        self.assertIn('✓ Affirming never —', self.row('hosts', 'h1'))
        self.at_region('Old', 'hosts/h1/')
        self.assertIn('not known', self.words('#checks'))

    def test_hostile(self) -> None:
        self.at_region('Hostile')
        self.assertIn('<script>', self.words('#hosts'))
        self.assertIn('Attestation', self.driver.title)
        for path in ('hosts/evil/', 'hosts/evil/approve/'):
            self.at_region('Hostile', path)
            self.assertEqual([], self.all('.attestation img'))
            self.assertEqual([], self.all('.attestation script'))
            self.assertIn('evil', self.driver.title)
