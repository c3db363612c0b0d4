# SPDX-License-Identifier: Apache-2.0
"""Malformed requests: paths, methods, types, bodies and tokens."""

from __future__ import annotations

import secrets
from typing import Any

from tempest.lib import decorators

from korora_tempest_plugin.tests import base

JSON = {'Content-Type': 'application/json', 'Accept': 'application/json'}


class RequestsNegativeTest(base.BaseAttestationTest):
    def assert_answer(
        self, status: int, reason: str, method: str, path: str, **kwargs: Any
    ) -> None:
        response, answer = self.client.exchange(method, path, **kwargs)
        self.assertEqual(
            (status, reason),
            (response.status, answer.get('error', {}).get('reason')),
            f'{method} {path}',
        )

    def approval(self) -> str:
        """The path of a host that no request here may create."""
        name = self.unique('host')
        self.addCleanup(self.forget_host, name)
        self.addCleanup(
            self.assertNotIn,
            name,
            [host['name'] for host in self.client.list_hosts()['hosts']],
        )
        return f'v1/hosts/{name}/approval'

    @decorators.idempotent_id('54031566-1425-47bc-b942-45f2d9b11add')
    @decorators.attr(type='negative')
    def test_unknown_version(self) -> None:
        for path in ('v2', 'v2/hosts', 'v1.1/hosts', 'V1/hosts', 'hosts'):
            self.assert_answer(404, 'NOT_FOUND', 'GET', path)

    @decorators.idempotent_id('b22ae7a0-1f93-43c5-b9cb-2460359f2ecd')
    @decorators.attr(type='negative')
    def test_unknown_path(self) -> None:
        for path in (
            'v1',
            'v1/',
            'v1/host',
            'v1/hosts/',
            'v1/hosts/a/b',
            'v1/results/a/b',
            'v1/ledger',
            'v1/policies/a/b/c',
        ):
            self.assert_answer(404, 'NOT_FOUND', 'GET', path)

    @decorators.idempotent_id('5aaee894-d79d-4501-84c5-7a39e818423b')
    @decorators.attr(type='negative')
    def test_wrong_method(self) -> None:
        for method, path in (
            ('POST', 'v1/hosts'),
            ('PUT', 'v1/hosts/a'),
            ('GET', 'v1/hosts/a/approval'),
            ('DELETE', 'v1/results'),
            ('PATCH', 'v1/policies/a'),
            ('PUT', 'v1/references/a'),
            ('DELETE', 'v1/receipts'),
            ('GET', 'v1/documents'),
        ):
            self.assert_answer(405, 'INVALID_REQUEST', method, path)

    @decorators.idempotent_id('f691366f-c20e-45d8-bc91-dae890ef75f7')
    @decorators.attr(type='negative')
    def test_wrong_content_type(self) -> None:
        path, body = self.approval(), '{"ek_hash": "%s"}' % ('a' * 64)
        for content_type in (
            'text/plain',
            'application/x-yaml',
            'application/x-www-form-urlencoded',
            'multipart/form-data',
            'application/jsonx',
        ):
            self.assert_answer(
                415,
                'INVALID_REQUEST',
                'PUT',
                path,
                body=body,
                headers={**JSON, 'Content-Type': content_type},
            )

    @decorators.idempotent_id('7b87dd03-29df-4d50-b188-2db7495077a2')
    @decorators.attr(type='negative')
    def test_no_json_wanted(self) -> None:
        self.assert_answer(
            406,
            'INVALID_REQUEST',
            'GET',
            'v1/hosts',
            headers={'Accept': 'text/html'},
        )

    @decorators.idempotent_id('1176ad8f-f625-4bd1-ad0b-f2c376a69a87')
    @decorators.attr(type='negative')
    def test_malformed_json(self) -> None:
        path = self.approval()
        for body in (
            '',
            '{',
            '{}{}',
            'ek_hash: a',
            '[]',
            '"a"',
            'null',
            'NaN',
            '{"ek_hash": NaN}',
            '[' * 30000,
            '{"ek_hash": "\\ud800"}',
            b'{"ek_hash": "\xff"}',
            b'\xef\xbb\xbf{}',
            '{"ek_hash": 1e999}',
            '{"a": 1, "a": 2}',
        ):
            self.assert_answer(
                400, 'INVALID_REQUEST', 'PUT', path, body=body, headers=JSON
            )

    @decorators.idempotent_id('43945fde-01c3-4111-9a4b-e428c32af613')
    @decorators.attr(type='negative')
    def test_key_given_twice(self) -> None:
        hashes = [secrets.token_hex(32) for _ in range(2)]
        body = '{"ek_hash": "%s", "ek_hash": "%s"}' % tuple(hashes)
        self.assert_answer(
            400,
            'INVALID_REQUEST',
            'PUT',
            self.approval(),
            body=body,
            headers=JSON,
        )

    @decorators.idempotent_id('e370012d-e2e4-4098-a4cf-385ac359b7fa')
    @decorators.attr(type='negative')
    def test_oversized_body(self) -> None:
        body = '{"ek_hash": "%s"}' % ('a' * 70000)
        self.assert_answer(
            413, 'TOO_LARGE', 'PUT', self.approval(), body=body, headers=JSON
        )

    @decorators.idempotent_id('cd5b3b55-1e4c-453b-921c-2a31c22bf0d0')
    @decorators.attr(type='negative')
    def test_no_token(self) -> None:
        for method, path in (
            ('GET', 'v1/hosts'),
            ('GET', 'v1/keys'),
            ('POST', 'v1/policies'),
            ('GET', 'v1/nothing'),
        ):
            response, answer = self.client.exchange(
                method, path, headers=JSON, authenticated=False
            )
            self.assertEqual(401, response.status, path)
            self.assertNotIn('hosts', answer)

    @decorators.idempotent_id('12ac4629-32bd-4c65-9ada-d967cd654bbc')
    @decorators.attr(type='negative')
    def test_bad_token(self) -> None:
        for token in ('', 'a', secrets.token_hex(200)):
            response, _ = self.client.exchange(
                'GET',
                'v1/hosts',
                authenticated=False,
                headers={**JSON, 'X-Auth-Token': token},
            )
            self.assertEqual(401, response.status)

    @decorators.idempotent_id('1afcb627-4069-4003-96ef-4c821cd32eb0')
    @decorators.attr(type='negative')
    def test_claims_of_middleware_are_not_taken_from_the_caller(self) -> None:
        response, _ = self.client.exchange(
            'GET',
            'v1/hosts',
            authenticated=False,
            headers={
                **JSON,
                'X-Identity-Status': 'Confirmed',
                'X-Roles': 'admin',
                'X-User-Id': 'a',
                'X-Project-Id': 'b',
            },
        )
        self.assertEqual(401, response.status)

    @decorators.idempotent_id('104cdd6f-db60-4e2e-8108-c8dd90536195')
    @decorators.attr(type='negative')
    def test_large_body_with_bad_token(self) -> None:
        """The body is not read, and the answer is still the service's."""
        for size in (1 << 20, 8 << 20):
            response, _ = self.client.exchange(
                'POST',
                'v1/policies',
                body='a' * size,
                authenticated=False,
                headers={**JSON, 'X-Auth-Token': 'a'},
            )
            self.assertEqual(401, response.status)
