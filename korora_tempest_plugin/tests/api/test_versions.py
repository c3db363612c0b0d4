# SPDX-License-Identifier: Apache-2.0
"""Versions and public keys."""

from __future__ import annotations

from tempest.lib import decorators

from korora_tempest_plugin.tests import base


class VersionsTest(base.BaseAttestationTest):
    @decorators.idempotent_id('ea3a39d9-f021-4f48-9a83-e3bec9325ecf')
    @decorators.attr(type='smoke')
    def test_list_versions(self) -> None:
        versions = self.client.list_versions()['versions']
        self.assertEqual(
            [('v1', 'CURRENT')],
            [(version['id'], version['status']) for version in versions],
        )

    @decorators.idempotent_id('2d7caf27-855d-4766-862e-0f6c2d2d6f31')
    def test_list_versions_without_token(self) -> None:
        response, answer = self.client.exchange('GET', '', authenticated=False)
        self.assertEqual(200, response.status)
        self.assertEqual('v1', answer['versions'][0]['id'])

    @decorators.idempotent_id('16adf2b9-266b-43d9-85a1-06b5f36ba5c0')
    def test_show_keys(self) -> None:
        keys = self.client.show_keys()
        self.assertEqual(1, keys['version'])
        for use in ('result', 'custody', 'approval'):
            self.assertNotEqual([], keys[use])
            for key in keys[use]:
                self.assertIn('BEGIN PUBLIC KEY', key['pem'])
                self.assertNotIn('PRIVATE', key['pem'])
