# SPDX-License-Identifier: Apache-2.0
"""What the client makes of answers that it did not ask for."""

import io
import json
import logging
import time
from unittest import mock

import fixtures
import requests
import requests_mock
import testtools
from keystoneauth1 import adapter, noauth, session
from keystoneauth1.identity import v3
from keystoneauth1.identity.generic import password

from korora_nova import client, errors
from korora_nova import conf as options

ENDPOINT = 'http://attestation.test'


class Blanks(io.RawIOBase):
    """A body of this many blanks, none of which is kept in memory."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = min(len(buffer), self.size - self.read_so_far)
        buffer[:count] = b' ' * count
        self.read_so_far += count
        return count


class ClientTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mock = requests_mock.Mocker()
        self.mock.start()
        self.addCleanup(self.mock.stop)
        self.client = client.AttestationClient(
            adapter.Adapter(
                session.Session(auth=noauth.NoAuth(endpoint=ENDPOINT)),
                service_type='attestation',
            )
        )

    def answer(self, status: int, **kwargs) -> None:
        self.mock.register_uri(
            requests_mock.ANY, requests_mock.ANY, status_code=status, **kwargs
        )


class TestClient(ClientTestCase):
    def test_clock_that_goes_back(self) -> None:
        """A day ahead, then right: the next request does not wait a day."""
        self.answer(200, json={})
        slept: list[float] = []
        with (
            mock.patch('time.time', return_value=time.time() - 86400),
            mock.patch('time.sleep', slept.append),
        ):
            self.client.get_host('h1')
        self.assertEqual([], slept)

    def refused(self, status: int, kind: type, reason: str, **kwargs):
        self.answer(status, **kwargs)
        error = self.assertRaises(
            errors.KororaError, self.client.get_host, 'h1'
        )
        self.assertIs(kind, type(error))
        self.assertEqual(reason, error.reason)
        return error

    def error(self, reason: str, code: int, **details: str) -> dict:
        return {
            'json': {
                'error': {
                    'code': code,
                    'reason': reason,
                    'message': 'because',
                    'details': details,
                }
            }
        }

    def test_reasons_become_their_classes(self):
        for status, kind, reason in (
            (400, errors.EvidenceError, 'QUOTE_NONCE'),
            (400, errors.Invalid, 'INVALID_REQUEST'),
            (403, errors.Untrusted, 'HOST_UNTRUSTED'),
            (403, errors.CustodyError, 'NOT_HOLDER'),
            (404, errors.NotFound, 'HOST_UNKNOWN'),
            (409, errors.Conflict, 'IDENTITY_CONFLICT'),
            (409, errors.Retry, 'RETRY'),
            (413, errors.TooLarge, 'TOO_LARGE'),
            (503, errors.Unavailable, 'NOVA_UNAVAILABLE'),
        ):
            error = self.refused(
                status, kind, reason, **self.error(reason, status, why='x')
            )
            self.assertEqual(
                ('because', {'why': 'x'}), (error.message, error.details)
            )

    def test_unknown_reason_keeps_the_kind_of_the_code(self):
        self.refused(409, errors.Conflict, 'NEW', **self.error('NEW', 409))

    def test_not_the_api(self):
        for status, kwargs in (
            (500, {'text': '<html>'}),
            (404, {'text': 'not here'}),
            (400, {'json': []}),
            (400, {'json': {'error': 'x'}}),
            (400, {'json': {'error': {'reason': 'X'}}}),
            (
                403,
                {
                    'json': {
                        'error': {'reason': 'X', 'message': 'm', 'details': 3}
                    }
                },
            ),
            (200, {'text': 'x'}),
            (200, {'json': [1]}),
            (500, {'json': {}}),
        ):
            self.refused(
                status, errors.Unavailable, 'SERVICE_UNAVAILABLE', **kwargs
            )

    def test_nobody_answers(self):
        """A balancer whose workers are all gone; a network that is."""
        for status in (502, 503, 504):
            self.refused(
                status,
                errors.Unreachable,
                'SERVICE_UNAVAILABLE',
                text='<html>',
            )
        for fault in (
            requests.exceptions.ConnectionError,
            requests.exceptions.ConnectTimeout,
            requests.exceptions.ReadTimeout,
        ):
            self.mock.register_uri(
                requests_mock.ANY, requests_mock.ANY, exc=fault
            )
            error = self.assertRaises(
                errors.Unreachable, self.client.get_host, 'h1'
            )
            self.assertEqual('SERVICE_UNAVAILABLE', error.reason)

    def test_keystone_does_not_answer(self):
        nobody = 'https://keystone.test'
        auth = v3.Password(
            f'{nobody}/v3', username='korora', password='x', unscoped=True
        )
        generic = password.Password(nobody, username='korora', password='x')
        for plugin, answer, kind in (
            (auth, {'exc': requests.ConnectionError}, errors.Unreachable),
            (generic, {'exc': requests.ConnectionError}, errors.Unreachable),
            (auth, {'status_code': 503}, errors.Unreachable),
            (auth, {'exc': requests.exceptions.SSLError}, errors.Unavailable),
            (auth, {'status_code': 401}, errors.Unavailable),
            (auth, {'status_code': 500}, errors.Unavailable),
        ):
            with self.subTest(str(answer)):
                self.mock.register_uri(
                    requests_mock.ANY, requests_mock.ANY, **answer
                )
                made = client.AttestationClient(
                    adapter.Adapter(
                        session.Session(auth=plugin),
                        service_type='attestation',
                    )
                )
                error = self.assertRaises(
                    errors.Unavailable, made.get_host, 'h1'
                )
                self.assertIs(kind, type(error))

    def test_answer_without_end(self):
        """M7b: no more of an answer is read than its cap."""
        size = 50_000_000
        for status in (200, 403, 500):
            blanks = Blanks(size)
            self.answer(status, body=blanks)
            self.assertRaises(errors.Unavailable, self.client.results)
            self.assertLess(blanks.read_so_far, size, 'all of it was read')

    def test_infrastructure_never_says_something_about_evidence(self):
        # A 5xx that claims bad evidence, and a 4xx that claims an outage.
        self.refused(
            502,
            errors.Unavailable,
            'SERVICE_UNAVAILABLE',
            **self.error('HOST_UNTRUSTED', 502),
        )
        self.refused(
            400,
            errors.Unavailable,
            'SERVICE_UNAVAILABLE',
            **self.error('NOVA_UNAVAILABLE', 400),
        )

    def test_refused_credentials(self):
        self.refused(401, errors.Unavailable, 'SERVICE_UNAVAILABLE')

    def test_no_connection(self):
        import requests

        for exc in (
            requests.exceptions.ConnectTimeout,
            requests.exceptions.ReadTimeout,
            requests.exceptions.ConnectionError,
            requests.exceptions.SSLError,
            requests.exceptions.ChunkedEncodingError,
        ):
            self.mock.get(requests_mock.ANY, exc=exc)
            error = self.assertRaises(errors.Unavailable, self.client.results)
            self.assertEqual('SERVICE_UNAVAILABLE', error.reason)

    def test_lists_that_are_something_else(self):
        for hosts in (None, {}, [None], ['h1'], [['name', 'h1']]):
            self.answer(200, json={'hosts': hosts})
            self.assertRaises(errors.Unavailable, self.client.list_hosts)
        self.answer(200, json={'results': [1], 'seq': 1, 'incarnation': 'x'})
        self.assertRaises(errors.Unavailable, self.client.results)
        self.answer(200, json={'results': [], 'seq': 'x'})
        self.assertRaises(errors.Unavailable, self.client.results)

    def test_paths_are_quoted(self):
        self.answer(200, json={})
        self.client.get_host('a/../b?c')
        self.assertEqual(
            '/v1/hosts/a%2f..%2fb%3fc', self.mock.last_request.path
        )

    def test_bulk(self):
        self.answer(
            200,
            json={'results': [{'host': 'h1'}], 'seq': 3, 'incarnation': 'x'},
            headers={'ETag': '"3-x"'},
        )
        self.assertEqual(
            client.Results('"3-x"', 3, 'x', ({'host': 'h1'},)),
            self.client.results(changes_since=2, etag='"2-x"'),
        )
        self.assertEqual({'changes-since': ['2']}, self.mock.last_request.qs)
        self.assertEqual(
            '"2-x"', self.mock.last_request.headers['If-None-Match']
        )
        self.answer(304)
        self.assertIsNone(self.client.results(etag='"3-x"'))

    def test_a_request_that_waits_has_more_time(self):
        self.answer(200, json={'reason': ''})
        self.client.watch_migration('m', wait=20.0, heard=61.7)
        request = self.mock.last_request
        self.assertEqual({'wait': ['20.0'], 'heard': ['61']}, request.qs)
        self.assertEqual(30.0, request.timeout)

    def test_snapshot(self):
        said = {'token': 't', 'base': '2-x', 'rows': 'r', 'gone': ['h1']}
        self.answer(200, json=said)
        self.assertEqual(
            client.Snapshot('t', '2-x', 'r', ('h1',)),
            self.client.snapshot('2-x'),
        )
        self.assertEqual({'base': ['2-x']}, self.mock.last_request.qs)
        self.client.snapshot()
        self.assertEqual({}, self.mock.last_request.qs)
        self.assertIn(
            'gzip', self.mock.last_request.headers['Accept-Encoding']
        )
        for name, value in (
            ('token', None),
            ('token', 1),
            ('base', None),
            ('rows', []),
            ('gone', None),
            ('gone', 'h1'),
            ('gone', [1]),
        ):
            self.answer(200, json={**said, name: value})
            self.assertRaises(errors.Unavailable, self.client.snapshot)

    def test_no_snapshot(self):
        """A service of an earlier release, and an endpoint of another."""
        self.answer(
            404,
            json={
                'error': {
                    'code': 404,
                    'reason': 'NOT_FOUND',
                    'message': '.',
                    'details': {},
                }
            },
        )
        self.assertRaises(errors.NotFound, self.client.snapshot)
        self.answer(404, text='not found')
        self.assertRaises(errors.Unavailable, self.client.snapshot)

    def test_policies(self):
        self.answer(200, json={'policies': [{'name': 'p'}]})
        self.assertEqual([{'name': 'p'}], self.client.list_policies())
        self.client.create_policy({'name': 'p'})
        self.assertEqual(
            {'document': {'name': 'p'}}, self.mock.last_request.json()
        )
        # The service reads and compiles it before it answers.
        self.assertEqual(client.LONG_TIMEOUT, self.mock.last_request.timeout)
        self.client.update_policy('p', {'name': 'p'}, 3)
        self.assertEqual(
            ('PUT', '/v1/policies/p', 3),
            (
                self.mock.last_request.method,
                self.mock.last_request.path,
                self.mock.last_request.json()['revision'],
            ),
        )
        self.client.policy_differences('p', 'h/1')
        self.assertEqual(
            '/v1/policies/p/differences/h%2f1', self.mock.last_request.path
        )
        self.assertEqual(client.TIMEOUT, self.mock.last_request.timeout)

    def test_bodies_are_not_logged(self):
        logs = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.answer(200, json={'status': 'pending', 'x': 'canary-answer'})
        self.client.prove('h1', 'canary-proof')
        self.client.evidence('h1', {'x': 'canary-evidence'})
        self.assertNotIn('canary', logs.output)
        self.assertIn(
            'canary-evidence', json.dumps(self.mock.last_request.json())
        )


class TestFromConf(testtools.TestCase):
    def test_without_credentials(self):
        conf = options.parse([], [])
        options.register_attester_opts(conf)
        made = client.from_conf(conf, options.SERVICE_AUTH)
        error = self.assertRaises(errors.Unavailable, made.list_hosts)
        self.assertEqual('SERVICE_UNAVAILABLE', error.reason)

    def test_waits_are_bounded(self):
        conf = options.parse([], [])
        options.register_attester_opts(conf)
        conf.set_override('auth_type', 'none', options.SERVICE_AUTH)
        made = client.from_conf(conf, options.SERVICE_AUTH)
        self.assertEqual(client.TIMEOUT, made._adapter.session.timeout)


class TestPages(ClientTestCase):
    """Lists of a service that has versions, and of one that has none."""

    HEADERS = {'OpenStack-API-Version': 'attestation 1.1'}

    def pages(self, *bodies: dict, headers: dict | None = None) -> None:
        self.mock.get(
            requests_mock.ANY,
            [{'json': body, 'headers': headers or {}} for body in bodies],
        )

    def queries(self) -> list[str]:
        return [one.query for one in self.mock.request_history]

    def test_all_pages(self) -> None:
        self.pages(
            {'hosts': [{'name': 'a'}], 'next': 'a'},
            {'hosts': [{'name': 'b'}], 'next': ''},
            headers=self.HEADERS,
        )
        found = self.client.list_hosts(tier='none')
        self.assertEqual(['a', 'b'], [one['name'] for one in found])
        self.assertEqual(['tier=none', 'tier=none&marker=a'], self.queries())

    def test_markers_that_go_round(self) -> None:
        self.pages(
            {'hosts': [], 'next': 'a'},
            {'hosts': [], 'next': 'b'},
            {'hosts': [], 'next': 'a'},
        )
        self.assertEqual([], self.client.list_hosts())
        self.assertEqual(['', 'marker=a', 'marker=b'], self.queries())

    def test_a_service_without_versions(self) -> None:
        self.pages({'hosts': [{'name': 'a'}]})
        self.assertEqual(1, len(self.client.list_hosts()))
        raised = self.assertRaises(
            errors.Invalid, self.client.list_hosts, tier='none'
        )
        self.assertEqual('VERSION_UNKNOWN', raised.reason)

    def test_filters_that_it_always_had(self) -> None:
        self.pages({'servers': [], 'next': '', 'nova': False})
        self.assertEqual([], self.client.list_servers(holder='h', issues=True))
        self.assertEqual(['issues=true&holder=h'], self.queries())
        self.pages({'responses': [], 'next': ''})
        self.assertEqual([], self.client.list_responses(host='h'))

    def test_receipts_of_a_service_without_versions(self) -> None:
        self.pages({'receipts': ['a.b.c'], 'next': 7}, {'receipts': []})
        self.assertEqual(['a.b.c'], self.client.list_receipts(3))
        self.assertEqual(['since=3', 'since=7'], self.queries())
        self.assertNotIn(
            'OpenStack-API-Version', self.mock.last_request.headers
        )

    def test_migrations_that_have_not_changed(self) -> None:
        self.pages({'migrations': [{}]}, headers={'ETag': '"x"'})
        self.assertEqual(('"x"', [{}]), self.client.newest_migrations())
        self.mock.get(requests_mock.ANY, status_code=304)
        self.assertIsNone(self.client.newest_migrations('"x"'))
        self.assertEqual(
            '"x"', self.mock.last_request.headers['If-None-Match']
        )

    def test_receipts_from_the_end_of_the_log(self) -> None:
        self.pages(
            {'receipts': [], 'next': '', 'last': '7'}, headers=self.HEADERS
        )
        self.assertEqual(('7', []), self.client.newest_receipts())
        self.pages(
            {'receipts': ['a'], 'next': '8', 'last': '8'},
            {'receipts': ['b'], 'next': '', 'last': '9'},
            headers=self.HEADERS,
        )
        self.assertEqual(('9', ['a', 'b']), self.client.newest_receipts('7'))
