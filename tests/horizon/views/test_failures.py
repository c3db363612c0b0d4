# SPDX-License-Identifier: Apache-2.0
"""A service that is away, old or a liar: a page says so."""

from __future__ import annotations

import json
from typing import Any

import requests
import webob
import webob.dec

from korora_nova import errors
from korora_tools.horizon import liars
from tests.horizon.views.base import (
    ADMIN,
    MIGRATION,
    SERVER,
    PanelTestCase,
)

PAGES = (
    '',
    'hosts/h1/',
    'hosts/h1/approve/',
    'migrations/',
    f'migrations/{MIGRATION}/',
    'servers/',
    f'servers/{SERVER}/',
    'policies/',
    'policies/exact/check/',
    'references/create/',
)


class FailuresTest(PanelTestCase):
    def answer(self, answers: Any) -> None:
        """From now on the service is this function of a path."""

        @webob.dec.wsgify
        def application(request: webob.Request) -> webob.Response:
            found = answers(request.path)
            if isinstance(found, webob.Response):
                return found
            return webob.Response(
                json.dumps(found).encode(), content_type='application/json'
            )

        self.korora.transport.application = application

    def every_page(self, status: int, sentence: str) -> None:
        for path in PAGES:
            page = self.look(path, status)
            self.assertIn('id="failed"', page, path)
            self.assertIn(sentence, self.words(page), path)

    def test_down(self) -> None:
        self.korora.transport.down = True
        self.every_page(503, 'cannot be reached: ConnectFailure')

    def test_slow(self) -> None:
        def late(*_: Any, **kwargs: Any) -> None:
            self.assertLessEqual(kwargs['timeout'], 45)
            raise requests.exceptions.ReadTimeout

        self.korora.transport.send = late
        self.every_page(503, 'cannot be reached')

    def test_refused(self) -> None:
        with self.as_one_who_is('member'):
            for path in PAGES:
                page = self.look(path, 403)
                said = self.words(page)
                self.assertIn(errors.REASONS['FORBIDDEN'], said)
                self.assertIn('The attestation service refuses this', said)

    def test_unknown(self) -> None:
        for path in ('hosts/h9/', f'migrations/{MIGRATION}/'):
            self.assertIn(
                'does not know this', self.words(self.look(path, 404))
            )

    def test_token_that_expired(self) -> None:
        self.answer(lambda _: webob.Response(status=401))
        self.every_page(503, 'refuses the credentials')

    def test_something_else_answers(self) -> None:
        for body in (b'<html>', b'[]', b'{}', b'null', b'{"hosts": [1]}'):
            self.answer(
                lambda _, body=body: webob.Response(
                    body, content_type='application/json'
                )
            )
            for path in ('', 'migrations/', 'servers/', 'policies/'):
                self.look(path, 503)

    def test_members_of_other_types(self) -> None:
        """No answer is a stack trace, whatever is in it."""
        for value in (None, [], {}, 'x', 1e400, True, [None], {'a': 1}):
            self.answer(lambda _, value=value: _filled(value))
            for path in PAGES:
                found = self.client.get(ADMIN + path)
                self.assertIn(found.status_code, (200, 404, 503), path)
                self.body(found, found.status_code)

    def test_old(self) -> None:
        self.answer(
            lambda path: (
                {'hosts': [{'name': 'h1'}]}
                if path == '/v1/hosts'
                else {'id': MIGRATION, 'instance': SERVER, 'receipt': 'x'}
                if MIGRATION in path
                else {'name': 'h1'}
            )
        )
        self.assertIn('—', self.row(self.look(), 'h1'))
        said = self.words(self.look(f'migrations/{MIGRATION}/'))
        self.assertIn('tells no documents of a migration', said)
        self.assertIn('There is a receipt, and it is not verified', said)

    def test_nothing_that_is_said_becomes_markup(self) -> None:
        self.answer(
            lambda path: liars._HOSTILE.get(path) or webob.Response(status=404)
        )
        for path in ('', 'hosts/evil/', 'hosts/evil/approve/'):
            page = self.look(path)
            self.assertNotIn('<script', page)
            self.assertNotIn('<img', page)
            self.assertIn('&lt;', page)

    def test_forged_documents_are_not_verified(self) -> None:
        self.moved()
        real = self.admin.get_migration(MIGRATION, documents=True)
        ring = self.admin.keys()
        permit, start, receipt = real['documents']
        bad = permit[:-6] + ('AAAAAA' if permit[-6:] != 'AAAAAA' else 'BBBBBB')
        for documents, marks in (
            ([bad, start, receipt], ['Document ✗', 'Start ✗', 'Receipt ✗']),
            ([start, receipt], ['Start ✗', 'Receipt ✗']),
            ([permit, 'x'], ['Permit ✓', 'Document ✗']),
        ):
            self.answer(
                lambda path, documents=documents: (
                    ring
                    if path == '/v1/keys'
                    else {**real, 'documents': documents}
                )
            )
            page = self.look(f'migrations/{MIGRATION}/')
            for mark in marks:
                self.row(page, mark)
            self.assertNotIn('holds the key', self.words(page))

    def test_documents_of_another_hand_over(self) -> None:
        self.moved()
        real = self.admin.get_migration(MIGRATION, documents=True)
        ring = self.admin.keys()
        for field in ('source', 'dest', 'instance'):
            other = SERVER[:-1] + '9' if field == 'instance' else 'h9'
            self.answer(
                lambda path, field=field, other=other: (
                    ring if path == '/v1/keys' else {**real, field: other}
                )
            )
            page = self.look(f'migrations/{MIGRATION}/')
            self.assertIn(f'another {field}', self.row(page, 'Permit ✗'))


def _filled(value: Any) -> dict[str, Any]:
    """Every member that a page may look for."""
    one = dict.fromkeys(
        (
            'name status tier reasons ek_hash last_attested enforcing '
            'enforcer certificate policies id instance source dest kind '
            'created_at receipt documents taint state holder epoch issues '
            'ends exits refused migration revision rules updated_at hosts '
            'token findings differences measured_at satisfied host'
        ).split(),
        value,
    )
    lists = ('hosts', 'migrations', 'servers', 'policies', 'references')
    return {**one, **{name: [one] for name in lists}, 'next': value}
