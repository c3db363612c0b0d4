# SPDX-License-Identifier: Apache-2.0
"""The software TPM of the DevStack plugin: devstack/software-tpm."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import tempfile
import time

import testtools

from korora_nova.rats import eventlog, ima
from korora_nova.tpm import device, keys

COMMAND = pathlib.Path(__file__).resolve().parents[3] / 'devstack/software-tpm'


class TestSoftwareTpm(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # Short: it holds unix sockets.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='ktpm-', dir='/tmp'))
        self.addCleanup(shutil.rmtree, self.dir)
        self.ca = self.dir / 'ca'
        self.root = self.dir / 'tpm'
        self.make()

    def make(self) -> bytes:
        """The EK certificate after a (further) stack.sh."""
        subprocess.run(
            [COMMAND, 'make', self.root, '--ca', self.ca],
            check=True,
            capture_output=True,
        )
        return (self.root / 'tpm/ek-rsa2048.crt').read_bytes()

    def power_on(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([COMMAND, 'run', self.root])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        end = time.monotonic() + 20
        while not (self.root / 'sock').exists():
            self.assertIsNone(process.poll(), 'it ended')
            self.assertGreater(end, time.monotonic(), 'it does not serve')
            time.sleep(0.05)
        return process

    def pcrs(self) -> dict[int, bytes]:
        tpm = device.Tpm(f'swtpm:path={self.root}/sock')
        with tpm.operation() as operation:
            return keys.read_pcrs(operation)

    def test_a_boot_is_measured_and_logged(self) -> None:
        self.power_on()
        pcrs, logs = self.pcrs(), self.root / 'logs'
        firmware = eventlog.parse(
            (logs / 'binary_bios_measurements').read_bytes()
        ).replay()
        self.assertNotEqual(bytes(32), firmware[4])
        self.assertEqual(
            {index: pcrs[index] for index in range(10)},
            {index: firmware[index] for index in range(10)},
        )
        programs = ima.parse(
            (logs / 'binary_runtime_measurements').read_bytes()
        ).verify(pcrs)
        self.assertIn(b'/usr/bin/swtpm', [entry.path for entry in programs])

    def test_tampering_shows_until_the_next_boot(self) -> None:
        process = self.power_on()
        before = self.pcrs()
        subprocess.run([COMMAND, 'tamper', self.root], check=True)
        self.assertNotEqual(before[4], self.pcrs()[4])
        process.terminate()
        self.assertEqual(0, process.wait(10))
        (self.root / 'sock').unlink(missing_ok=True)
        self.power_on()
        self.assertEqual(before, self.pcrs())

    def test_it_is_made_once_for_each_maker(self) -> None:
        first = (self.root / 'tpm/ek-rsa2048.crt').read_bytes()
        self.assertEqual(first, self.make())
        shutil.rmtree(self.ca)
        self.assertNotEqual(first, self.make())

    def test_only_certificates_are_given_away(self) -> None:
        for path in (self.root / 'roots').iterdir():
            self.assertNotIn('PRIVATE KEY', path.read_text())

    def test_it_says_what_is_missing(self) -> None:
        done = subprocess.run(
            [COMMAND, 'tamper', self.root], capture_output=True, text=True
        )
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stderr, '^software-tpm tamper: .*No such file')
