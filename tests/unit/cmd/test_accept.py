# SPDX-License-Identifier: Apache-2.0
"""An operator accepts the state that a vTPM has."""

from __future__ import annotations

import contextlib
import io
import pathlib
import tempfile
from unittest import mock

import testtools

from korora_nova.attester import vtpm_state
from korora_nova.attester.accepted import Accepted
from korora_nova.cmd import accept

SERVER = '6b6f726f-7261-4000-8000-000000000001'


class AcceptTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.base = self.directory / 'swtpm'
        self.base.mkdir()
        self.accepted = Accepted(self.directory / 'state')
        patcher = mock.patch.object(vtpm_state, 'DIRECTORY', self.base)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.config = self.directory / 'agent.conf'
        self.config.write_text(
            f'[attester]\nstate_dir = {self.directory / "state"}\n'
        )

    def run_command(self, server: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = accept.main(['--config-file', str(self.config), server])
        return code, out.getvalue(), err.getvalue()

    def test_what_there_is(self) -> None:
        directory = self.base / SERVER / 'tpm2'
        directory.mkdir(parents=True)
        (directory / 'tpm2-00.permall').write_bytes(b'state')
        code, out, _err = self.run_command(SERVER.upper())
        found = vtpm_state.measure(SERVER, self.base)
        self.assertEqual(0, code)
        self.assertIn(found, out)
        self.assertTrue(self.accepted.has(SERVER, found))
        self.assertFalse(self.accepted.has(SERVER, ''))
        for path in (self.directory / 'state').rglob('*'):
            self.assertEqual(0, path.stat().st_mode & 0o077)

    def test_none(self) -> None:
        code, out, _err = self.run_command(SERVER)
        self.assertEqual(0, code)
        self.assertIn('its vTPM is new', out)
        self.assertTrue(self.accepted.has(SERVER, ''))

    def test_no_server(self) -> None:
        for name in ('../vault', 'web1'):
            code, out, err = self.run_command(name)
            self.assertEqual((1, ''), (code, out))
            self.assertIn('is no UUID', err)

    def test_unreadable(self) -> None:
        (self.base / SERVER).symlink_to('elsewhere')
        code, _out, err = self.run_command(SERVER)
        self.assertEqual(1, code)
        self.assertIn('[VTPM_STATE_UNREADABLE]', err)
        self.assertFalse((self.directory / 'state').exists())
