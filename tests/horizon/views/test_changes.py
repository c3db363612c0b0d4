# SPDX-License-Identifier: Apache-2.0
"""What changes something: who may, how, and how often."""

from __future__ import annotations

from typing import Any

from django import test

from korora_nova import errors
from tests.horizon.views.base import ADMIN, PanelTestCase


class ApproveTest(PanelTestCase):
    PATH = f'{ADMIN}hosts/h1/approve/'

    def setUp(self) -> None:
        super().setUp()
        self.agent = self.stranger('h1')
        self.agent.enrol()

    def post(self, status: int, **data: str) -> Any:
        found = self.client.post(self.PATH, data)
        self.assertEqual(status, found.status_code)
        return found

    def status(self) -> str:
        return str(self.admin.get_host('h1')['status'])

    def test_approve(self) -> None:
        page = self.look('hosts/h1/approve/')
        self.assertIn(self.agent.ek_hash, page)
        self.assertEqual('pending', self.status())
        found = self.post(302, ek_hash=self.agent.ek_hash, compared='on')
        self.assertEqual(f'{ADMIN}hosts/h1/', found['Location'])
        self.assertEqual('approved', self.status())
        # Twice is once.
        self.post(302, ek_hash=self.agent.ek_hash, compared='on')

    def test_not_without_a_look(self) -> None:
        found = self.post(400, ek_hash=self.agent.ek_hash)
        self.assertIn('Nothing was done', self.body(found, 400))
        self.assertEqual('pending', self.status())

    def test_another_machine_meanwhile(self) -> None:
        found = self.post(409, ek_hash='5a' * 32, compared='on')
        self.assertIn('[IDENTITY_CONFLICT]', self.body(found, 409))
        self.assertEqual('pending', self.status())

    def test_reader(self) -> None:
        with self.as_one_who_is('attestation_reader'):
            page = self.look('hosts/h1/')
            self.assertNotIn('id="approve"', page)
            found = self.post(403, ek_hash=self.agent.ek_hash, compared='on')
            self.assertIn(
                errors.REASONS['FORBIDDEN'], self.words(self.body(found, 403))
            )
        self.assertEqual('pending', self.status())
        self.assertIn('id="approve"', self.look('hosts/h1/'))

    def test_only_from_the_page_itself(self) -> None:
        browser = test.Client(enforce_csrf_checks=True)
        found = browser.post(
            self.PATH, {'ek_hash': self.agent.ek_hash, 'compared': 'on'}
        )
        self.assertNotEqual(f'{ADMIN}hosts/h1/', found.headers.get('Location'))
        self.assertEqual('pending', self.status())

    def test_to_look_changes_nothing(self) -> None:
        self.client.get(
            self.PATH, {'ek_hash': self.agent.ek_hash, 'compared': 'on'}
        )
        self.assertEqual('pending', self.status())


class ReferenceTest(PanelTestCase):
    PATH = f'{ADMIN}references/create/'

    def names(self) -> list[str]:
        return [one['name'] for one in self.admin.list_references()]

    def test_create(self) -> None:
        self.host('h1')
        page = self.look('references/create/', host='h1')
        self.assertIn('<option value="h1" selected>', page)
        data = {'name': 'second', 'host': 'h1'}
        found = self.client.post(self.PATH, data)
        self.assertEqual(f'{ADMIN}policies/', found['Location'])
        self.assertEqual(['golden', 'second'], sorted(self.names()))
        found = self.client.post(self.PATH, data)
        self.assertIn('[INVALID_REQUEST]', self.body(found, 400))

    def test_what_is_no_name_or_no_host(self) -> None:
        self.host('h1')
        for data in (
            {'name': 'a b', 'host': 'h1'},
            {'name': '', 'host': 'h1'},
            {'name': 'good', 'host': 'h9'},
        ):
            found = self.client.post(self.PATH, data)
            self.assertIn('Nothing was done', self.body(found, 400))
        self.assertEqual(['golden'], self.names())

    def test_reader(self) -> None:
        self.host('h1')
        with self.as_one_who_is('attestation_reader'):
            for path in ('', 'hosts/h1/', 'policies/'):
                page = self.look(path)
                self.assertNotIn('id="learn"', page)
                self.assertNotIn('id="try"', page)
            found = self.client.post(self.PATH, {'name': 'mine', 'host': 'h1'})
            self.body(found, 403)
        self.assertEqual(['golden'], self.names())
