# SPDX-License-Identifier: Apache-2.0
"""One agent per state directory."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

import testtools

from korora_nova import errors
from korora_nova.attester import lock

ROOT = pathlib.Path(__file__).resolve().parents[3]
_HOLD = """
import pathlib, sys
from korora_nova.attester import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    sys.stdin.read()
"""


class LockTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name) / 'state'

    def hold(self) -> subprocess.Popen[bytes]:
        """Another process has the lock when this returns."""
        process = subprocess.Popen(
            [sys.executable, '-c', _HOLD, str(self.directory)],
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.assertEqual(b'held\n', process.stdout.readline())
        return process

    def take(self) -> None:
        with lock.held(self.directory):
            content = (self.directory / lock.NAME).read_text()
            self.assertEqual(f'{os.getpid()}\n', content)

    def test_another_process(self) -> None:
        process = self.hold()
        error = self.assertRaises(errors.Conflict, self.take)
        self.assertEqual(errors.Reason.STATE_DIR_IN_USE, error.reason)
        self.assertEqual(str(process.pid), error.details['pid'])
        self.assertIn(str(self.directory), error.message)
        self.assertIn(f'process {process.pid}', error.message)

    def test_dropped_when_the_process_is_killed(self) -> None:
        process = self.hold()
        process.kill()
        process.wait()
        self.take()

    def test_dropped_at_the_end(self) -> None:
        self.take()
        self.take()
        self.hold()

    def test_private(self) -> None:
        self.take()
        self.assertEqual(0o700, self.directory.stat().st_mode & 0o777)
        mode = (self.directory / lock.NAME).stat().st_mode
        self.assertEqual(0o600, mode & 0o777)
