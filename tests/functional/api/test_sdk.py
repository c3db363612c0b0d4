# SPDX-License-Identifier: Apache-2.0
"""``conn.attestation`` of openstacksdk, against the service."""

import uuid

import requests
from keystoneauth1 import access, fixture, session
from keystoneauth1.identity import base as identity
from openstack import connection, exceptions, fields

from korora_nova import sdk
from korora_nova.api.openapi import document
from korora_nova.rats.schemas import properties
from korora_nova.sdk import proxy, resources
from tests.functional.api import base
from tests.support import life, service


class Keystone(identity.BaseIdentityPlugin):
    """A catalog with one service, which has to be discovered."""

    def get_auth_ref(self, session, **kwargs):
        token = fixture.V3Token()
        token.set_project_scope()
        token.add_service('attestation').add_standard_endpoints(
            public=service.ENDPOINT
        )
        return access.AccessInfoV3(token, auth_token='token')

    def get_cache_id_elements(self):
        return {}


class TestSdk(base.ApiTestCase):
    def setUp(self):
        super().setUp()
        http = requests.Session()
        http.mount('http://', self.korora.transport)
        made = connection.Connection(
            session=session.Session(
                auth=Keystone(),
                session=http,
                additional_headers={'X-Test-Roles': 'admin'},
            ),
            vendor_hook='korora_nova.sdk:extend',
        )
        self.sdk = made.attestation

    def test_the_hook_gives_a_proxy(self):
        self.assertIsInstance(self.sdk, proxy.Proxy)
        self.assertEqual('attestation', sdk.SERVICE_TYPE)

    def test_hosts(self):
        for name in ('h1', 'h2'):
            self.host(name)
        self.stranger('h3').enrol()
        found = list(self.sdk.hosts(limit=1))
        self.assertEqual(['h1', 'h2', 'h3'], [one.name for one in found])
        self.assertEqual(
            ['h3'], [one.name for one in self.sdk.hosts(status='pending')]
        )
        shown = self.sdk.get_host('h1')
        self.assertEqual(
            ('h1', 'affirming', [], True),
            (shown.id, shown.tier, shown.reasons, shown.is_certified),
        )
        approved = self.sdk.approve_host('h3', self.sdk.get_host('h3').ek_hash)
        self.assertEqual('approved', approved.status)
        self.sdk.delete_host('h3')
        self.assertRaises(
            exceptions.NotFoundException, self.sdk.get_host, 'h3'
        )
        self.assertRaises(
            exceptions.ConflictException,
            self.sdk.approve_host,
            'h1',
            '00' * 32,
        )

    def test_results_and_references(self):
        self.host('h1')
        (listed,) = self.sdk.results(tier='affirming')
        shown = self.sdk.get_result('h1')
        self.assertEqual((listed.host, listed.token), (shown.id, shown.token))
        self.assertEqual([], list(self.sdk.results(tier='none')))
        made = self.sdk.create_reference('second', 'h1')
        self.assertEqual('second', made.name)
        self.assertEqual(
            ['golden', 'second'],
            [one.name for one in self.sdk.references(host='h1', limit=1)],
        )
        self.assertEqual('h1', self.sdk.get_reference('second').host)
        self.sdk.delete_reference('second')
        self.assertEqual(1, len(list(self.sdk.references())))

    def test_policies(self):
        made = self.sdk.create_policy(life.POLICY)
        self.assertEqual(('boot', 1), (made.name, made.revision))
        self.assertEqual(
            life.POLICY['rules'], self.sdk.get_policy('boot').document['rules']
        )
        self.assertEqual([], list(self.sdk.policies(host='x')))
        self.sdk.delete_policy('boot')
        self.assertEqual([], list(self.sdk.policies()))
        self.assertRaises(
            exceptions.BadRequestException, self.sdk.create_policy, {}
        )

    def test_custody(self):
        source, dest = self.host('h1'), self.host('h2')
        instance = str(uuid.uuid4())
        source.claim(instance)
        self.moved(source, dest, instance)
        (server,) = self.sdk.servers(holder='h2')
        self.assertEqual(instance, server.id)
        self.assertEqual('held', self.sdk.get_server(instance).state)
        (migration,) = self.sdk.migrations(instance=instance)
        shown = self.sdk.get_migration(migration.id)
        self.assertEqual('committed', shown.status)
        self.assertEqual(migration.receipt, shown.receipt)
        self.assertEqual([], list(self.sdk.responses()))

    def test_fields_are_those_of_the_api(self):
        """What a resource names is in the OpenAPI document."""
        for kind, shape in (
            (resources.Host, 'JudgedHost'),
            (resources.Result, 'ExplainedResult'),
            (resources.Reference, 'Reference'),
            (resources.Policy, 'WholePolicy'),
            (resources.Server, 'WholeServer'),
            (resources.Migration, 'Migration'),
            (resources.Response, 'Response'),
        ):
            named = {
                one.name
                for one in vars(kind).values()
                if isinstance(one, fields.Body)
            }
            self.assertLess(3, len(named))
            known = set(properties(document.SHAPES[shape]))
            self.assertLessEqual(named, known, shape)
