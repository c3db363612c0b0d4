# SPDX-License-Identifier: Apache-2.0
"""Drivers of responses against Nova's real API, scheduler and computes."""

import json
import uuid
from unittest import mock

import requests
import yaml
from keystoneauth1 import adapter, noauth, session
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.response import nova
from korora_nova.response.drivers.abort import Abort
from korora_nova.response.drivers.base import Scene
from korora_nova.response.drivers.disable import Disable, owner
from korora_nova.response.drivers.drain import Drain
from korora_nova.verifier.responses.words import Response, State
from tests.functional.nova import base
from tests.unit.test_doc_names import SAMPLES


def response(number=1):
    return Response(
        id=str(uuid.UUID(int=number)),
        host='h1',
        driver='x',
        state=State.DUE,
        reasons=['PCR_NOT_GOLDEN'],
        why='',
        detail={},
        attempts=1,
        error='',
        created_at=0.0,
        updated_at=0.0,
        due_at=0.0,
        actor='',
        note='',
    )


class Base(base.Base):
    FILTER = True

    def setUp(self):
        super().setUp()
        self.start_hosts('h1', 'h2', 'h3')
        self.conf = cfg.ConfigOpts()
        self.conf([])
        options.register_response_opts(self.conf)
        self.keys, self.guarded = set(), 0

    def nova_as(self, *roles):
        """Nova's API as a user of another project with these roles."""
        return nova.NovaApi(
            adapter.Adapter(
                session.Session(
                    auth=noauth.NoAuth(endpoint=self.api.base_url),
                    session=requests.Session(),
                    additional_headers={
                        'X-Auth-User': 'admin'
                        if 'admin' in roles
                        else 'enforcer',
                        'X-Auth-Project-Id': 'service',
                        'X-Roles': ','.join(roles),
                    },
                ),
                service_type='compute',
            )
        )

    def scene(self):
        def guard():
            self.guarded += 1

        return Scene(
            guard, lambda host: self.keys, lambda ids: set(ids) & self.keys
        )

    def service_of(self, host='h1'):
        return next(
            one
            for one in self.admin_api.api_get(
                f'/os-services?binary=nova-compute&host={host}'
            ).body['services']
        )


class TestDisable(Base):
    def setUp(self):
        super().setUp()
        self.driver = Disable(self.conf, self.nova_as('admin'))

    def test_there_and_back(self):
        for _ in range(2):
            self.driver.do(response(), self.scene())
        self.assertEqual(1, self.guarded)
        shown = self.service_of()
        self.assertEqual('disabled', shown['status'])
        self.assertEqual(response().id, owner(shown['disabled_reason']))
        self.assertEqual(
            {'h1': response().id, 'h2': '', 'h3': ''}, self.driver.survey()
        )
        # Others' marks are not theirs to take away.
        self.driver.undo(response(2), self.scene())
        self.assertEqual('disabled', self.service_of()['status'])
        for _ in range(2):
            self.driver.undo(response(), self.scene())
        shown = self.service_of()
        self.assertEqual(
            ('enabled', None), (shown['status'], shown['disabled_reason'])
        )

    def test_nova_compute_does_not_enable_it_by_itself(self):
        """As it does with what is disabled with "AUTO: "."""
        self.driver.do(response(), self.scene())
        self.computes['h1'].driver._set_host_enabled(True)
        self.assertEqual('disabled', self.service_of()['status'])

    def test_an_administrators_stays(self):
        mine = {'status': 'disabled', 'disabled_reason': 'a new disk'}
        self.admin_api.put_service(self.service_of()['id'], mine)
        self.assertIsNotNone(self.driver.do(response(), self.scene()).again)
        self.driver.undo(response(), self.scene())
        self.assertEqual('a new disk', self.service_of()['disabled_reason'])
        self.assertEqual(0, self.guarded)

    def test_a_host_that_nova_does_not_have(self):
        gone = Response(**{**vars(response()), 'host': 'h9'})
        self.assertTrue(self.driver.do(gone, self.scene()).why)
        self.assertTrue(self.driver.undo(gone, self.scene()).why)

    def test_the_sample_policy_is_enough_and_needed(self):
        text = (SAMPLES / 'nova-policy.yaml.snippet').read_text()
        driver = Disable(self.conf, self.nova_as('responder'))
        refused = self.assertRaises(
            errors.Unavailable, driver.do, response(), self.scene()
        )
        self.assertIn('HTTP 403', str(refused))
        self.policy.set_rules(yaml.safe_load(text), overwrite=False)
        driver.do(response(), self.scene())
        self.assertEqual('disabled', self.service_of()['status'])
        driver.undo(response(), self.scene())
        self.assertEqual('enabled', self.service_of()['status'])
        others = Disable(self.conf, self.nova_as('member', 'reader'))
        self.assertRaises(
            errors.Unavailable, others.do, response(), self.scene()
        )


class TestMoves(Base):
    def test_abort(self):
        self.stream = 'abort'
        server = self.create(base.VTPM, host='h1')
        self.keys = {server['id']}
        driver = Abort(self.conf, self.nova_as('admin'))
        source = self.host_of(server)
        body = {'host': None, 'block_migration': 'auto'}
        self.domain(source, server)._job_type = 1
        self.act(server, 'os-migrateLive', body)
        self.assertTrue(self.streaming.wait(30))
        outcome = driver.do(response(), self.scene())
        self.assertEqual({'ended': [server['id']]}, dict(outcome.detail))
        self._wait_for_migration_status(server, ['cancelled', 'failed'])
        self._wait_for_state_change(server, 'ACTIVE')
        self.assertEqual('h1', self.host_of(server))
        self.assertEqual(
            {'ended': []}, dict(driver.do(response(), self.scene()).detail)
        )

    def test_plain_servers_may_go_on(self):
        self.stream = 'abort'
        server = self.create(host='h1')
        driver = Abort(self.conf, self.nova_as('admin'))
        body = {'host': None, 'block_migration': 'auto'}
        self.act(server, 'os-migrateLive', body)
        self.assertTrue(self.streaming.wait(30))
        self.assertEqual(
            {'ended': []}, dict(driver.do(response(), self.scene()).detail)
        )
        self.assertEqual(0, self.guarded)
        self.stream = 'ok'
        self.abort.set()
        self._wait_for_migration_status(server, ['completed'])

    def test_drain(self):
        """From a host that is not trusted, to one that is."""
        trusted = self.create(base.TRUSTED, host='h1')
        keyed = self.create(base.VTPM, host='h1')
        plain = self.create(host='h1')
        self.keys = {keyed['id']}
        self.cloud.untrusted |= {'h1', 'h3'}
        driver = Drain(self.conf, self.nova_as('admin'))
        one = response()

        def done():
            nonlocal one
            outcome = driver.do(one, self.scene())
            one = Response(**{**vars(one), 'detail': outcome.detail})
            return outcome.again is None

        self.wait_until(done)
        self.assertEqual(
            ['h2', 'h1', 'h1'],
            [self.host_of(server) for server in (trusted, keyed, plain)],
        )
        self.assertEqual([trusted['id']], one.detail['left'])
        self.assertEqual([keyed['id']], one.detail['stay'])
        self.assertEqual(1, self.guarded)


class TestAnswers(Base):
    def test_wrong_ones_say_nothing(self):
        api = self.nova_as('admin')
        for body in ('', '[]', '{}', '{"services": [1]}', '<html>'):
            reply = mock.Mock(status=200, body=body.encode())
            reply.json = lambda body=body: json.loads(body)
            with mock.patch.object(nova.transport, 'read', return_value=reply):
                self.assertRaises(errors.Unavailable, api.computes)
