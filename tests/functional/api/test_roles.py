# SPDX-License-Identifier: Apache-2.0
"""Who may call what, over the whole table of routes."""

import json

from korora_nova.api import routes, rules
from tests.functional.api import base

#: What each role may do besides reading versions and keys; all else is 403.
ATTESTER = {
    'GET /v1/hosts/{host}',
    'POST /v1/hosts/{host}/enrolment',
    'POST /v1/hosts/{host}/enrolment/proof',
    'POST /v1/hosts/{host}/challenges',
    'POST /v1/hosts/{host}/evidence',
    'GET /v1/results',
    'GET /v1/results/{host}',
    'GET /v1/snapshot',
    'GET /v1/servers/{instance}',
    'GET /v1/migrations/{id}',
    'GET /v1/migrations/{id}/watch',
    'GET /v1/receipts',
}
SERVICE = {'GET /v1/results', 'GET /v1/results/{host}', 'GET /v1/snapshot'}
READER = {
    'GET /v1/hosts',
    'GET /v1/hosts/{host}',
    'GET /v1/results',
    'GET /v1/results/{host}',
    'GET /v1/snapshot',
    'GET /v1/references',
    'GET /v1/references/{name}',
    'GET /v1/policies',
    'GET /v1/policies/{name}',
    'GET /v1/policies/{name}/differences/{host}',
    'GET /v1/policies/{name}/check',
    'GET /v1/servers',
    'GET /v1/servers/{instance}',
    'GET /v1/migrations',
    'GET /v1/migrations/{id}',
    'GET /v1/receipts',
    'GET /v1/responses',
    'GET /v1/responses/{id}',
}
ADMIN = READER | {
    'PUT /v1/hosts/{host}/approval',
    'DELETE /v1/hosts/{host}',
    'POST /v1/hosts/{host}/evict',
    'POST /v1/references',
    'DELETE /v1/references/{name}',
    'POST /v1/policies',
    'POST /v1/policy-proposals',
    'PUT /v1/policies/{name}',
    'DELETE /v1/policies/{name}',
    'POST /v1/servers/{instance}/reissue',
    'POST /v1/servers/{instance}/release',
    'POST /v1/migrations/{id}/resolve',
    'POST /v1/documents',
    'POST /v1/responses/revert',
    'POST /v1/responses/resume',
    'POST /v1/responses/{id}/approve',
    'POST /v1/responses/{id}/reject',
    'POST /v1/responses/{id}/revert',
}
ANYBODY = {'GET /', 'GET /v1/keys'}

CALLS = sorted(
    f'{method} {path}'
    for path, methods in routes.ROUTES.items()
    for method in methods
)


class TestRoles(base.ApiTestCase):
    def admitted(self, roles: str | None, system: bool = False) -> set[str]:
        """Calls that are not refused for the role, whatever else."""
        found = set()
        for call in CALLS:
            method, path = call.split()
            uuid = '00000000-0000-4000-8000-000000000001'
            answer = self.korora.request(
                method,
                path.format(host='h9', name='x', instance=uuid, id=uuid),
                roles=roles,
                system=system,
                json={} if method in ('POST', 'PUT') else None,
            )
            self.assertNotEqual(500, answer.status_code, call)
            if answer.status_code == 403:
                self.assertEqual('FORBIDDEN', answer.json['error']['reason'])
            elif answer.status_code != 401:
                found.add(call)
        return found

    def test_attester(self):
        """T21: an agent's credentials on operators' calls."""
        self.assertEqual(ATTESTER | ANYBODY, self.admitted('attester'))

    def test_service(self):
        self.assertEqual(SERVICE | ANYBODY, self.admitted('service'))

    def test_reader(self):
        self.assertEqual(READER | ANYBODY, self.admitted('attestation_reader'))

    def test_admin(self):
        self.assertEqual(ADMIN | ANYBODY, self.admitted('admin'))

    def test_reader_of_the_system(self):
        self.assertEqual(
            READER | ANYBODY, self.admitted('reader', system=True)
        )

    def test_roles_of_every_tenant(self):
        self.assertEqual(ANYBODY, self.admitted('member,reader'))

    def test_no_credentials(self):
        self.assertEqual({'GET /'}, self.admitted(None))

    def test_roles_are_what_tests_know(self):
        self.assertEqual(
            [
                'attestation_admin',
                'attestation_reader',
                'attestation_attester',
                'attestation_service',
            ],
            [rule.name for rule in rules.ROLES],
        )

    def test_refusal_comes_before_the_body_is_read(self):
        answer = self.korora.request(
            'POST',
            '/v1/documents',
            roles='attester',
            body=b'\xff',
            content_type='application/json',
        )
        self.assertEqual(403, answer.status_code)
        self.assertEqual(
            {'code', 'reason', 'message', 'details'},
            set(json.loads(answer.body)['error']),
        )
