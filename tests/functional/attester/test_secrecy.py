# SPDX-License-Identifier: Apache-2.0
"""I1: the passphrase is nowhere but in the TPMs' keeping and in libvirt."""

from __future__ import annotations

import base64
import io
import logging
import pathlib
from typing import Any
from unittest import mock

from korora_nova import errors
from korora_nova.attester.socket_client import AgentClient
from korora_nova.custody.transfer import Transfer, WrapRequest
from tests.support import custodian, hosts


class SecrecyTest(hosts.HostsTestCase):
    """A whole life with every log at DEBUG, and all that was written."""

    def setUp(self) -> None:
        self.log = io.StringIO()
        handler = logging.StreamHandler(self.log)
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        self.addCleanup(root.setLevel, level)
        self.addCleanup(root.removeHandler, handler)
        self.said_locally: list[tuple[str, bytes]] = []
        self.said_on_the_bus: list[str] = []
        self.said_to_the_service: list[bytes] = []
        self._record()
        super().setUp()

    def _record(self) -> None:
        exchange = AgentClient._exchange

        def local(client: Any, request: bytes, timeout: float) -> bytes:
            answer = exchange(client, request, timeout)
            op = 'seal' if b'"op": "seal"' in request else 'other'
            self.said_locally += [(op, request), ('answer', answer)]
            return answer

        self._patch(AgentClient, '_exchange', local)

    def _patch(self, target: Any, name: str, value: Any) -> None:
        patcher = mock.patch.object(target, name, value)
        patcher.start()
        self.addCleanup(patcher.stop)

    def _tap(self) -> None:
        """Keep what goes over the bus and to the service."""
        genuine = self.h2.agent.bus.ask

        def ask(source: str, request: WrapRequest) -> Transfer:
            answer = genuine(source, request)
            self.said_on_the_bus += [
                repr(request.to_json()),
                repr(answer.to_json()),
            ]
            return answer

        self.h2.agent.destination._ask = ask
        send = self.korora.transport.send

        def http(request: Any, **kw: Any) -> Any:
            response = send(request, **kw)
            body = request.body or b''
            self.said_to_the_service += [
                body.encode() if isinstance(body, str) else body,
                response.content,
            ]
            return response

        self.korora.transport.send = http

    def forms(self) -> list[bytes]:
        """The passphrase as it might be written: whole and in parts."""
        plain = self.passphrase
        return [
            plain,
            plain[64:128],
            plain.hex().encode(),
            repr(list(plain)).encode(),
            *(base64.b64encode(plain[shift:])[:-8] for shift in range(3)),
        ]

    def assert_clean(self, where: str, content: bytes) -> None:
        for form in self.forms():
            self.assertFalse(form in content, f'found in {where}')

    def test_nowhere(self) -> None:
        """T5: the passphrase on the bus, in logs or on disk."""
        self.create(self.h1)
        self._tap()
        self.migrate(self.h1, self.h2)
        self.open(self.h2)
        # and one that fails with the plaintext in hand
        migration = self.nova_migrates(self.h2, self.h1)
        self.h1.libvirt.down = True
        self.assertRaises(
            errors.KororaError, self.receive, self.h2, self.h1, migration
        )
        self.h1.client.call('status')
        for directory in (self.directory, self.korora.directory):
            for path in pathlib.Path(directory).rglob('*'):
                if path.is_file() and not path.is_socket():
                    self.assert_clean(str(path), path.read_bytes())
        self.assert_clean('the log', self.log.getvalue().encode())
        for text in self.said_on_the_bus:
            self.assert_clean('the bus', text.encode())
        for body in self.said_to_the_service:
            self.assert_clean('HTTP', body)
        sealed = [c for op, c in self.said_locally if op == 'seal']
        self.assertEqual(1, len(sealed))
        self.assertIn(base64.b64encode(self.passphrase), sealed[0])
        for op, content in self.said_locally:
            if op != 'seal':
                self.assert_clean('the socket', content)
        # the search itself works
        self.assertIn(b'outgoing', self._everything_said())
        self.assertTrue(self.said_on_the_bus and self.said_to_the_service)
        self.assertGreater(len(self.log.getvalue()), 1000)

    def _everything_said(self) -> bytes:
        status = self.h2.client.call('status')
        return repr(status).encode()

    def test_failures_at_each_step_say_nothing(self) -> None:
        """An unexpected error must not carry the values of its frames."""
        self.create(self.h1)
        for machine, job in (
            (self.h1, 'unseal'),
            (self.h1, 'wrap'),
            (self.h2, 'import'),
            (self.h2, 'seal'),
            (self.h2, 'define'),
        ):
            migration = self.nova_migrates(self.h1, self.h2)
            custodian.arm(
                machine.door_path, job, custodian.AFTER, custodian.FAIL
            )
            self.assertRaises(
                errors.KororaError, self.receive, self.h1, self.h2, migration
            )
            self.assertFalse(custodian.armed(machine.door_path))
            for one in (self.h2, self.h1):
                one.settle()
        self.assertIn('RuntimeError at custodian.py', self.log.getvalue())
        self.assert_clean('the log', self.log.getvalue().encode())
        for op, content in self.said_locally:
            if op != 'seal':
                self.assert_clean('the socket', content)
        self.open(self.h1)

    def test_files_are_private(self) -> None:
        self.create(self.h1)
        self.migrate(self.h1, self.h2)
        self.migrate(self.h2, self.h1)
        for machine in (self.h1, self.h2):
            for path in machine.state_dir.rglob('*'):
                mode = path.stat().st_mode & 0o777
                self.assertEqual(0o700 if path.is_dir() else 0o600, mode)
        self.assertTrue(self.h1.record_path(self.instance).exists())
