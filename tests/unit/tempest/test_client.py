# SPDX-License-Identifier: Apache-2.0
"""Tempest's client and the API cannot drift apart."""

from __future__ import annotations

import inspect
import types
import typing
from unittest import mock
from urllib import parse

import testtools

from korora_nova.api import routes
from korora_tempest_plugin.services import attestation

#: A client's arguments, as placeholders of the routes.
PLACEHOLDERS = {
    'server': '{instance}',
    'migration': '{id}',
    'response': '{id}',
}
#: Not a call of the API.
OTHER = {'exchange'}


class Recorder(attestation.AttestationClient):
    """Sends nothing and keeps what it would have sent."""

    def __init__(self, answer: str = '{}') -> None:
        super().__init__(mock.Mock(), 'attestation', 'RegionOne')
        self.answer = answer
        self.sent: list[tuple[str, str, typing.Any, typing.Any]] = []

    def request(
        self,
        method: str,
        url: str,
        extra_headers: bool = False,
        headers: typing.Any = None,
        body: typing.Any = None,
        chunked: bool = False,
    ) -> typing.Any:
        self.sent.append((method, url, headers, body))
        return types.SimpleNamespace(status=200), self.answer


def calls() -> dict[str, typing.Any]:
    return {
        name: method
        for name, method in vars(attestation.AttestationClient).items()
        if not name.startswith('_') and name not in OTHER
    }


def arguments(method: typing.Any) -> dict[str, str]:
    return {
        name: PLACEHOLDERS.get(name, '{%s}' % name)
        for name, parameter in inspect.signature(method).parameters.items()
        if name != 'self'
        and parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }


class TestRoutes(testtools.TestCase):
    def test_each_route_has_one_method_and_each_method_a_route(self) -> None:
        found = []
        for method in calls().values():
            client = Recorder()
            method(client, **arguments(method))
            ((verb, path, _, _),) = client.sent
            found.append(('/' + parse.unquote(path), verb))
        wanted = [
            (path, verb)
            for path, verbs in routes.ROUTES.items()
            for verb in verbs
        ]
        self.assertEqual(sorted(wanted), sorted(found))

    def test_bodies_go_with_methods_that_take_one(self) -> None:
        for name, method in calls().items():
            client = Recorder()
            method(client, **arguments(method))
            ((verb, _, _, body),) = client.sent
            self.assertEqual(verb in ('POST', 'PUT'), body is not None, name)


class TestTransport(testtools.TestCase):
    def test_names_cannot_leave_their_place(self) -> None:
        client = Recorder()
        client.show_host('../keys?a=b#c')
        self.assertEqual('v1/hosts/..%2Fkeys%3Fa%3Db%23c', client.sent[0][1])

    def test_query(self) -> None:
        client = Recorder()
        client.list_results(changes_since='a b')
        client.delete_host('h', force='true')
        self.assertEqual(
            ['v1/results?changes-since=a+b', 'v1/hosts/h?force=true'],
            [path for _, path, _, _ in client.sent],
        )

    def test_etag(self) -> None:
        client = Recorder('')
        self.assertEqual({}, client.list_results('"5"'))
        self.assertEqual('"5"', client.sent[0][2]['If-None-Match'])

    def test_exchange_takes_any_answer(self) -> None:
        client = Recorder()
        client.auth_provider.base_url.return_value = 'http://a/attestation'
        for answer, document in (
            (b'{"a": 1}', {'a': 1}),
            (b'<html>', {}),
            (b'[]', {}),
            (b'', {}),
        ):
            response = types.SimpleNamespace(status=503)
            with mock.patch.object(
                client, 'raw_request', return_value=(response, answer)
            ) as raw:
                self.assertEqual(
                    (response, document),
                    client.exchange(
                        'GET', 'v1/keys', authenticated=False, headers={}
                    ),
                )
            raw.assert_called_once_with(
                'http://a/attestation/v1/keys', 'GET', headers={}, body=None
            )
        client.auth_provider.auth_request.assert_not_called()
