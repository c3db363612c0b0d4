# SPDX-License-Identifier: Apache-2.0
"""``host diagnose`` and ``server check`` against the real service."""

from __future__ import annotations

import io
import json
import types
import uuid
from typing import Any
from unittest import mock

from korora_nova.osc import diagnose
from tests.functional.api import base


class DiagnoseTest(base.ApiTestCase):
    SETTINGS = {'migration_tls': 'attested'}

    def told(self, command: type, *argv: str, code: int = 0) -> dict[str, Any]:
        app = types.SimpleNamespace(
            client_manager=types.SimpleNamespace(attestation=self.admin),
            stdout=io.StringIO(),
            options=None,
        )
        made = command(app, None)
        parsed = made.get_parser('x').parse_args([*argv, '-f', 'json'])
        with mock.patch.object(
            diagnose.time, 'time', lambda: self.korora.clock()
        ):
            self.assertEqual(code, made.run(parsed))
        return {row['Check']: row for row in json.loads(app.stdout.getvalue())}

    def test_a_host(self) -> None:
        self.host('h1')
        found = self.told(diagnose.DiagnoseHost, 'h1', code=2)
        self.assertEqual(
            {'streams': 'bad'},
            {
                one: row['Level']
                for one, row in found.items()
                if row['Level'] == 'bad'
            },
        )
        self.assertIn('keys create tls', found['streams']['Advice'])

    def test_a_host_in_trouble(self) -> None:
        bad = self.host('h1')
        instance = str(uuid.uuid4())
        bad.claim(instance)
        bad.tpm.extend(4, b'\1' * 32)
        bad.attest_now()
        found = self.told(diagnose.DiagnoseHost, 'h1', code=2)
        self.assertIn('PCR', found['trust']['Found'])
        self.assertIn(instance, found['custody']['Found'])
        self.korora.clock.advance(1000)
        found = self.told(diagnose.DiagnoseHost, 'h1', code=2)
        self.assertIn('RESULT_EXPIRED', found['trust']['Found'])
        self.assertIn('silent', found['reachable']['Found'])


class CheckTest(DiagnoseTest):
    SETTINGS = {'migration_tls': 'site'}

    def test_a_host(self) -> None:
        self.host('h1')
        self.told(diagnose.DiagnoseHost, 'h1')

    def test_a_server(self) -> None:
        h1, _ = self.host('h1'), self.host('h2')
        self.stranger('h3').enrol()
        instance = str(uuid.uuid4())
        h1.claim(instance)
        found = self.told(diagnose.CheckServer, instance)
        self.assertEqual(
            {'key': 'ok', 'source': 'ok', 'h2': 'ok', 'h3': 'bad'},
            {one: row['Level'] for one, row in found.items()},
        )
        h1.tpm.extend(4, b'\1' * 32)
        h1.attest_now()
        found = self.told(diagnose.CheckServer, instance, code=2)
        self.assertEqual('bad', found['source']['Level'])
