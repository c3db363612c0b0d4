# SPDX-License-Identifier: Apache-2.0
"""What holds answers against the OpenAPI document would notice."""

import testtools
import webob

from korora_nova.api.openapi.operations import OPERATIONS
from tests.functional.api import base
from tests.support import contract, life


class TestContract(testtools.TestCase):
    def check(self, path, method='GET', **answer):
        contract.check(
            webob.Request.blank(path, method=method), webob.Response(**answer)
        )

    def test_what_is_right(self):
        self.check('/v1/hosts', json={'hosts': [], 'next': ''})
        self.check('/v1/hosts', status=304, content_type=None)
        self.check('/v1/hosts', method='PATCH', status=405)
        self.check('/elsewhere', status=500)

    def test_what_is_wrong(self):
        error = {
            'code': 404,
            'reason': 'HOST_UNKNOWN',
            'message': '',
            'details': {},
        }
        self.check('/v1/hosts/x', status=404, json={'error': error})
        for path, answer in (
            ('/v1/hosts', {'status': 500}),
            ('/v1/hosts', {'status': 200, 'text': 'x'}),
            ('/v1/hosts', {'json': {'hosts': [], 'more': 1}}),
            ('/v1/hosts', {'json': {'hosts': [{}]}}),
            ('/v1/policies/x', {'status': 404, 'json': {'error': error}}),
        ):
            self.assertRaises(AssertionError, self.check, path, **answer)


class TestEveryOperation(base.ApiTestCase):
    def test_each_can_be_done(self):
        """Every call answers as it should at least once."""
        contract.SEEN.clear()
        life.populate(self.korora)
        self.read_all()
        self.decide_all()
        done = {name for (name, code) in contract.SEEN if code < 300}
        self.assertEqual(set(OPERATIONS), done)

    def test_a_limit_with_a_point(self):
        """To JSON Schema it is an integer; schemathesis found that."""
        for limit in (1, 1.0, 119.0):
            answer = self.korora.request(
                'POST',
                '/v1/policy-proposals',
                json={'document': life.POLICY, 'limit': limit},
                content_type='application/json',
            )
            self.assertEqual(200, answer.status_code)

    def read_all(self):
        api = self.korora.client
        api.versions()
        for name in (
            'hosts',
            'results',
            'references',
            'policies',
            'servers',
            'migrations',
            'receipts',
        ):
            self.assertNotEqual([], getattr(api, f'list_{name}')(), name)
        api.get_host('h1')
        api.get_result('h1')
        api.snapshot()
        api.get_reference('golden')
        api.get_policy('boot')
        api.check_policy('boot', everyone=True)
        api.policy_differences('boot', 'h1')
        api.propose_policy(life.POLICY, ['h1', 'h2'], everyone=True)
        for migration in api.list_migrations():
            api.get_migration(migration['id'])
            api.watch_migration(migration['id'])

    def decide_all(self):
        api = self.korora.client
        document = api.get_policy('boot')['document']
        api.update_policy('boot', document, 1)
        api.delete_policy('boot')
        api.delete_reference('golden')
        responses = {one['state']: one for one in api.list_responses()}
        api.get_response(responses['due']['id'])
        waiting = responses['waiting']['id']
        api.approve_response(waiting, 'x')
        api.revert_response(waiting, 'x')
        api.reject_response(waiting, 'x')
        api.revert_responses('x')
        api.resume_responses('x')
        for one in api.list_migrations(status='permitted'):
            api.resolve_migration(one['id'], 'source', 'x')
        server = api.list_servers(holder='h1')[0]['instance']
        api.get_server(server)
        api.reissue_server(server, 'x', fenced='x')
        self.korora.nova.gone.add(server)
        api.release_server(server, 'x', dry_run=True)
        api.present_documents(api.list_receipts())
        api.evict_host('h2', 'x')
        api.delete_host('waiting')
