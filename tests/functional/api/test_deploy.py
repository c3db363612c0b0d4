# SPDX-License-Identifier: Apache-2.0
"""The application as it is deployed: Keystone's middleware in front."""

import importlib
import os
import sys

import fixtures
import testtools
import webob

from tests.support import service


class TestDeploy(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        korora = self.useFixture(service.KororaFixture())
        directory = korora.directory
        with open(os.path.join(directory, 'korora.conf'), 'w') as file:
            file.write(f"""
[DEFAULT]
use_stderr = false
[database]
connection = sqlite:///{directory}/korora.db
[verifier]
keys_dir = {directory}
trusted_keys = {directory}/keys.json
ek_roots = {directory}
[keystone_authtoken]
auth_type = password
auth_url = http://127.0.0.1:1/
www_authenticate_uri = http://127.0.0.1:1/
username = korora
password = korora
project_name = service
http_connect_timeout = 1
http_request_max_retries = 0
""")
        self.useFixture(
            fixtures.EnvironmentVariable('KORORA_CONFIG_DIR', directory)
        )
        self.useFixture(fixtures.FakeLogger())
        sys.modules.pop('korora_nova.wsgi.api', None)
        module = importlib.import_module('korora_nova.wsgi.api')
        self.addCleanup(sys.modules.pop, 'korora_nova.wsgi.api')
        self.application = module.application

    def request(self, path: str, **headers: str) -> webob.Response:
        return webob.Request.blank(path, headers=headers).get_response(
            self.application
        )

    def test_versions_need_no_token(self):
        answer = self.request('/')
        self.assertEqual(200, answer.status_code)
        self.assertEqual('v1', answer.json['versions'][0]['id'])
        self.assertIn('x-openstack-request-id', answer.headers)

    def test_everything_else_needs_one(self):
        for path in ('/v1/keys', '/v1/hosts', '/v1/nothing', '//', '/v1/../'):
            answer = self.request(path)
            self.assertEqual(401, answer.status_code)
            self.assertIn('WWW-Authenticate', answer.headers)

    def test_headers_of_the_caller_are_not_believed(self):
        answer = self.request(
            '/v1/hosts',
            **{
                'X-Identity-Status': 'Confirmed',
                'X-Roles': 'admin',
                'X-User-Id': 'x',
                'X-Project-Id': 'x',
            },
        )
        self.assertEqual(401, answer.status_code)

    def test_keystone_is_away(self):
        answer = self.request('/v1/hosts', **{'X-Auth-Token': 'x'})
        self.assertEqual(503, answer.status_code)
