# SPDX-License-Identifier: Apache-2.0
"""Hosts, as operators see and approve them.

A host that was approved before it ever enrolled ("preloaded") is one of the
tests' own: there is no machine of this name.
"""

from __future__ import annotations

import secrets

from tempest.lib import decorators
from tempest.lib import exceptions as lib_exc

from korora_tempest_plugin.tests import base

FIELDS = {
    'name',
    'status',
    'ek_hash',
    'ak_name',
    'srk_name',
    'enrolled_at',
    'last_attested',
    'tier',
    'reasons',
}


def random_hash() -> str:
    """What the hash of an EK certificate looks like."""
    return secrets.token_hex(32)


class BaseHostsTest(base.BaseAttestationTest):
    def preload(self, name: str = '', ek_hash: str = '') -> base.Json:
        name = name or self.unique('host')
        self.addCleanup(self.forget_host, name)
        return dict(
            self.client.approve_host(name, ek_hash=ek_hash or random_hash())
        )

    def names(self) -> list[str]:
        return [host['name'] for host in self.client.list_hosts()['hosts']]


class HostsTest(BaseHostsTest):
    @decorators.idempotent_id('57f6e953-6bde-4bdc-8d81-4d98659a42a1')
    @decorators.attr(type='smoke')
    def test_list_hosts(self) -> None:
        hosts = self.client.list_hosts()['hosts']
        self.assertNotEqual([], hosts)
        for host in hosts:
            self.assertEqual(FIELDS, set(host))
        names = [host['name'] for host in hosts]
        self.assertEqual(sorted(names), names)

    @decorators.idempotent_id('62187cd8-35cf-4480-b77b-100e2d08ca57')
    def test_show_affirming_host(self) -> None:
        name = self.affirming_hosts()[0]
        host = self.client.show_host(name)
        self.assertEqual(FIELDS | {'policies'}, set(host))
        self.assertEqual(
            (name, 'approved', 'affirming', []),
            (host['name'], host['status'], host['tier'], host['reasons']),
        )
        self.assertGreaterEqual(host['last_attested'], host['enrolled_at'])
        self.assertNotEqual([], host['policies'])

    @decorators.idempotent_id('f3cb04f9-2aba-4d53-9966-07452903193b')
    def test_approve_before_enrolment(self) -> None:
        ek_hash = random_hash()
        host = self.preload(ek_hash=ek_hash)
        self.assertEqual(
            ('preloaded', ek_hash, None, None, 'none'),
            (
                host['status'],
                host['ek_hash'],
                host['ak_name'],
                host['last_attested'],
                host['tier'],
            ),
        )
        self.assertEqual(host, dict(self.client.show_host(host['name'])))
        self.assertIn(host['name'], self.names())

    @decorators.idempotent_id('75642db3-3e60-4f69-bf9a-e3d0cec3cee4')
    def test_approve_twice(self) -> None:
        host = self.preload()
        again = self.client.approve_host(host['name'], ek_hash=host['ek_hash'])
        self.assertEqual(host, dict(again))
        self.assertEqual(1, self.names().count(host['name']))

    @decorators.idempotent_id('9290a801-cc6e-4b4e-b743-a0df10b5d94a')
    def test_approve_longest_name(self) -> None:
        name = self.unique('host').ljust(255, 'x')
        self.assertEqual(name, self.preload(name)['name'])

    @decorators.idempotent_id('19f67e18-48f9-4849-a16b-f78f0228e1e9')
    def test_delete_host(self) -> None:
        name = self.preload()['name']
        response = self.client.delete_host(name).response
        self.assertEqual(204, response.status)
        self.assertNotIn(name, self.names())
        self.assert_refused(
            lib_exc.NotFound, 'HOST_UNKNOWN', self.client.show_host, name
        )

    @decorators.idempotent_id('598c8e78-2586-432a-8989-dae2396f1b3c')
    def test_deleted_tpm_may_come_back_as_another_host(self) -> None:
        host = self.preload()
        self.client.delete_host(host['name'])
        other = self.preload(ek_hash=host['ek_hash'])
        self.assertEqual('preloaded', other['status'])


class HostsNegativeTest(BaseHostsTest):
    @decorators.idempotent_id('9a13cbf7-c0fc-40e1-8759-33c22c6661a6')
    @decorators.attr(type='negative')
    def test_show_unknown_host(self) -> None:
        self.assert_refused(
            lib_exc.NotFound,
            'HOST_UNKNOWN',
            self.client.show_host,
            base.NOWHERE,
        )

    @decorators.idempotent_id('c0bf17db-7360-44b7-9676-46750e7cf3cb')
    @decorators.attr(type='negative')
    def test_delete_unknown_host(self) -> None:
        for query in ({}, {'force': 'true'}):
            self.assert_refused(
                lib_exc.NotFound,
                'HOST_UNKNOWN',
                self.client.delete_host,
                base.NOWHERE,
                **query,
            )

    @decorators.idempotent_id('1c472439-b5b8-4777-bf83-5700d2ed4a5f')
    @decorators.attr(type='negative')
    def test_delete_twice(self) -> None:
        name = self.preload()['name']
        self.client.delete_host(name)
        self.assert_refused(
            lib_exc.NotFound, 'HOST_UNKNOWN', self.client.delete_host, name
        )

    @decorators.idempotent_id('166779ab-0047-4cde-b8d1-148330eb4b62')
    @decorators.attr(type='negative')
    def test_delete_with_bad_query(self) -> None:
        name = self.preload()['name']
        for query in ({'force': 'maybe'}, {'force': ''}, {'forced': 'true'}):
            self.assert_refused(
                lib_exc.BadRequest,
                'INVALID_REQUEST',
                self.client.delete_host,
                name,
                **query,
            )
        self.assertIn(name, self.names())

    @decorators.idempotent_id('43b3a274-7e1c-4e32-a5ad-614ded32f7ba')
    @decorators.attr(type='negative')
    def test_approve_with_bad_hash(self) -> None:
        good, name = random_hash(), self.unique('host')
        self.addCleanup(self.forget_host, name)
        for bad in (
            '',
            good[:-1],
            good + '0',
            good[:-1] + 'g',
            good[:-1] + 'A',
            ' ' + good[1:],
            good + '\n',
            None,
            1,
            [good],
            {'sha256': good},
        ):
            self.assert_refused(
                lib_exc.BadRequest,
                'INVALID_REQUEST',
                self.client.approve_host,
                name,
                ek_hash=bad,
            )
        self.assertNotIn(name, self.names())

    @decorators.idempotent_id('23e1c8f2-bb55-4984-8636-8481c393c8df')
    @decorators.attr(type='negative')
    def test_approve_with_wrong_fields(self) -> None:
        good, name = random_hash(), self.unique('host')
        self.addCleanup(self.forget_host, name)
        for body in ({}, {'hash': good}, {'ek_hash': good, 'force': True}):
            self.assert_refused(
                lib_exc.BadRequest,
                'INVALID_REQUEST',
                self.client.approve_host,
                name,
                **body,
            )
        self.assertNotIn(name, self.names())

    @decorators.idempotent_id('802b1911-6cfb-493b-8aed-d2dae59dfb98')
    @decorators.attr(type='negative')
    def test_approve_another_tpm_as_the_host(self) -> None:
        host = self.preload()
        self.assert_refused(
            lib_exc.Conflict,
            'IDENTITY_CONFLICT',
            self.client.approve_host,
            host['name'],
            ek_hash=random_hash(),
        )
        self.assertEqual(host, dict(self.client.show_host(host['name'])))

    @decorators.idempotent_id('527c4834-9ff7-4740-96a7-2de54671b000')
    @decorators.attr(type='negative')
    def test_approve_the_tpm_of_another_host(self) -> None:
        host, name = self.preload(), self.unique('host')
        self.addCleanup(self.forget_host, name)
        self.assert_refused(
            lib_exc.Conflict,
            'IDENTITY_CONFLICT',
            self.client.approve_host,
            name,
            ek_hash=host['ek_hash'],
        )
        self.assertNotIn(name, self.names())

    @decorators.idempotent_id('a9f73d4a-2d3a-4e9c-9637-b1df3f00ea69')
    @decorators.attr(type='negative')
    def test_approve_another_tpm_as_a_real_host(self) -> None:
        name = self.affirming_hosts()[0]
        before = self.client.show_host(name)
        self.assert_refused(
            lib_exc.Conflict,
            'IDENTITY_CONFLICT',
            self.client.approve_host,
            name,
            ek_hash=random_hash(),
        )
        after = self.client.show_host(name)
        for field in ('status', 'ek_hash', 'ak_name', 'srk_name'):
            self.assertEqual(before[field], after[field])

    @decorators.idempotent_id('ae4e695a-6370-41b5-8d60-9e093f17fb1b')
    @decorators.attr(type='negative')
    def test_names_that_are_none(self) -> None:
        """Tricks with the path reach no host and make none."""
        body = '{"ek_hash": "%s"}' % random_hash()
        for name in (
            '..',
            '%2e%2e',
            '%2e%2e%2fkeys',
            'a%2fb',
            'a%5cb',
            'a%00',
            'a%0a',
            'a%0d%0aX-Auth-Token:%20b',
            'a%20b',
            '%25',
            '*',
            "'%20or%20'1'='1",
            '%c3%a4',
            '%ff',
            'x' * 256,
        ):
            for method, path, sent in (
                ('GET', f'v1/hosts/{name}', None),
                ('PUT', f'v1/hosts/{name}/approval', body),
            ):
                response, answer = self.client.exchange(
                    method, path, body=sent
                )
                # A proxy in front of the service may be the one to refuse.
                self.assertIn(response.status, (400, 403, 404, 405), name)
                self.assertNotIn('ek_hash', answer)
        self.assertEqual(
            [],
            [
                name
                for name in self.names()
                if name.startswith(('.', '%', 'a', "'", 'x' * 255))
                and name not in self.real_names
            ],
        )

    def setUp(self) -> None:
        super().setUp()
        self.real_names = frozenset(self.names())
