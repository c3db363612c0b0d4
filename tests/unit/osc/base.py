# SPDX-License-Identifier: Apache-2.0
"""Run a command of the plugin against an HTTP endpoint that is a mock."""

import io
import json
import types
import typing

import requests_mock
import testtools
from keystoneauth1 import session as ks_session
from keystoneauth1 import token_endpoint

from korora_nova.osc import plugin

URL = 'https://attestation.example'


class CommandTest(testtools.TestCase):
    """Gives ``self.run_command`` and ``self.http``."""

    def setUp(self) -> None:
        super().setUp()
        self.http = requests_mock.Mocker()
        self.http.start()
        self.addCleanup(self.http.stop)
        session = ks_session.Session(auth=token_endpoint.Token(URL, 'a-token'))
        manager = types.SimpleNamespace(
            session=session, interface='public', region_name='RegionOne'
        )
        manager.attestation = plugin.make_client(manager)
        self.app = types.SimpleNamespace(
            client_manager=manager, stdout=io.StringIO(), options=None
        )

    def answer(
        self, method: str, path: str, body: typing.Any = None, code: int = 200
    ) -> None:
        if body is None:
            self.http.register_uri(method, URL + path, status_code=204)
        else:
            self.http.register_uri(
                method, URL + path, json=body, status_code=code
            )

    def run_command(self, command: type, *argv: str, code: int = 0) -> str:
        """Parse and run; returns what was printed."""
        made = command(self.app, None)
        options = made.get_parser('attestation').parse_args(list(argv))
        self.assertEqual(code, made.run(options))
        return self.app.stdout.getvalue()

    def run_json(self, command: type, *argv: str, code: int = 0) -> typing.Any:
        printed = self.run_command(command, *argv, '-f', 'json', code=code)
        return json.loads(printed)
