# SPDX-License-Identifier: Apache-2.0
"""The service in this process, a person who looks, and a browser's requests.

Everything is real but Keystone and the network; what hosts say is signed by
software TPMs.
"""

from __future__ import annotations

import contextlib
import datetime
import html
import logging
import re
import time
import types
from typing import Any
from unittest import mock

import django
import requests
from django import test
from keystoneauth1 import noauth
from keystoneauth1 import session as ks_session

from tests.support import agent, service

django.setup()

from openstack_auth import user as auth_user  # noqa: E402

from korora_dashboard import service as panel_service  # noqa: E402

SERVER = 'c0ffee00-0000-4000-8000-000000000001'
MIGRATION = '5a1d6c0e-0d5e-4b35-9d9c-6f1c9b3e7a01'
ADMIN = '/admin/attestation/'
PROJECT = '/project/attestation/'
CATALOG = [
    {
        'type': 'attestation',
        'name': 'korora',
        'endpoints': [
            {
                'interface': 'public',
                'region': 'RegionOne',
                'region_id': 'RegionOne',
                'url': service.ENDPOINT,
            }
        ],
    }
]


class PanelTestCase(test.SimpleTestCase):
    """A service with real time; whoever looks is an administrator."""

    def setUp(self) -> None:
        super().setUp()
        # What is told to an operator's log is what these tests bring about.
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.korora = service.KororaFixture()
        self.korora.setUp()
        self.addCleanup(self.korora.cleanUp)
        self.korora.clock = time.time
        self.korora.restart()
        self.admin = self.korora.client_as('admin')
        self.roles = ['admin']
        self.catalog: list[dict[str, Any]] = CATALOG
        for target, stand_in in (
            ('openstack_auth.utils.get_user', self._user),
            ('django.contrib.auth.get_user', self._user),
            ('django.contrib.auth.middleware.auth.get_user', self._user),
            # Another panel asks Keystone for its version.
            (
                'openstack_dashboard.api.keystone.get_identity_api_version',
                lambda _: (3, 14),
            ),
        ):
            self.patch(target, stand_in)
        self.real_session = panel_service._session
        self.patch('korora_dashboard.service._session', self._session)

    def patch(self, target: str, stand_in: Any) -> None:
        patcher = mock.patch(target, stand_in)
        patcher.start()
        self.addCleanup(patcher.stop)

    def _user(self, *_: Any) -> Any:
        expires = datetime.datetime.now(
            datetime.timezone.utc
        ) + datetime.timedelta(hours=1)
        token = types.SimpleNamespace(
            id='token',
            unscoped_token='token',
            expires=expires,
            project={'id': 'p', 'name': 'p'},
            tenant={'id': 'p', 'name': 'p'},
            user={'id': 'u', 'name': 'u'},
            user_domain_id='default',
        )
        return auth_user.User(
            id='u',
            token=token,
            user='somebody',
            tenant_id='p',
            tenant_name='p',
            service_catalog=self.catalog,
            roles=[{'name': one} for one in self.roles],
            enabled=True,
            authorized_tenants=[],
            endpoint='http://keystone.invalid/v3',
            services_region='RegionOne',
            user_domain_id='default',
            user_domain_name='Default',
        )

    def _session(self, request: Any) -> ks_session.Session:
        """As the real one: the same refusal without an endpoint."""
        self.real_session(request)
        http = requests.Session()
        http.mount('http://', self.korora.transport)
        return ks_session.Session(
            auth=noauth.NoAuth(endpoint=service.ENDPOINT),
            session=http,
            additional_headers={'X-Test-Roles': ','.join(self.roles)},
        )

    # Hosts

    def stranger(self, name: str) -> agent.SimAgent:
        return agent.SimAgent(
            name, self.korora.client_as('attester'), self.korora.vendor
        )

    def host(self, name: str) -> agent.SimAgent:
        """Approved and affirming."""
        made = self.stranger(name)
        made.join(self.admin)
        made.attest_now()
        if not self.admin.list_references():
            self.admin.create_reference('golden', name)
        made.attest_now()
        return made

    def moved(self, *, decided: bool = True) -> tuple[Any, Any]:
        """A hand-over from h1 to h2; returns both."""
        source, dest = self.host('h1'), self.host('h2')
        source.claim(SERVER)
        msk = dest.receive(MIGRATION, SERVER, source.name)
        self.korora.nova.migrations.add(
            (MIGRATION, SERVER, source.name, dest.name)
        )
        answer = source.send(MIGRATION, SERVER, dest.name, msk.name)
        if decided:
            permit = source.read(answer['permit'])
            dest.sealed(permit)
            source.start(permit)
            dest.state(MIGRATION, 'activated')
            source.state(MIGRATION, 'stream_completed')
        return source, dest

    # Pages

    def look(self, path: str = '', code: int = 200, **query: str) -> str:
        """The panel's part of a page, as HTML."""
        answer = self.client.get(ADMIN + path, query)
        return self.body(answer, code)

    def body(self, answer: Any, status: int = 200) -> str:
        text = answer.content.decode()
        found = re.search(
            r'<div class="attestation">(.*)<div id="footer">', text, re.DOTALL
        )
        said = self.words(found[1] if found else text)[-1500:]
        self.assertEqual(status, answer.status_code, said)
        assert found is not None, said
        return found[1]

    def words(self, page: str) -> str:
        """What a person reads."""
        plain = re.sub(r'<[^>]*>', ' ', page)
        return ' '.join(html.unescape(plain).split())

    def row(self, page: str, begin: str) -> str:
        """The row of a table whose heading begins so, as it is read."""
        for found in re.findall(r'<tr>(.*?)</tr>', page, re.DOTALL):
            if self.words(found).startswith(begin):
                return self.words(found)
        raise AssertionError(f'no row {begin} in {self.words(page)}')

    @contextlib.contextmanager
    def as_one_who_is(self, *roles: str) -> Any:
        before, self.roles = self.roles, list(roles)
        try:
            yield
        finally:
            self.roles = before
