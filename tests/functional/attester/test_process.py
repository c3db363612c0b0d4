# SPDX-License-Identifier: Apache-2.0
"""korora-agent as a process, with nothing else running."""

from __future__ import annotations

import ctypes
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import testtools

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.attester import rpc
from korora_nova.attester.socket_client import AgentClient
from korora_nova.custody.transfer import WrapRequest
from tests.support.custodian import children

_COMMAND = 'from korora_nova.cmd.agent import main; main()'
_CONFIG = """
[DEFAULT]
debug = true
[attester]
host = h1
socket = {directory}/agent.sock
allowed_users = {uid}
tcti = swtpm:path={directory}/no-tpm
state_dir = {directory}/state
trusted_keys = {directory}/keys.json
libvirt_uri = test:///default
lock_memory = false
[handover]
transport_url = rabbit://nobody:nothing@127.0.0.1:1/none
[service_auth]
auth_type = none
endpoint_override = http://127.0.0.1:1
"""
ROOT = pathlib.Path(__file__).resolve().parents[3]


def _without_locked_memory() -> None:
    """What a container, or a user that is not root, may have."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    if not os.geteuid():
        # PR_CAPBSET_DROP, CAP_IPC_LOCK: gone with the next exec
        ctypes.CDLL(None).prctl(24, 14, 0, 0, 0)


class BusTest(testtools.TestCase):
    def test_who_did_not_answer_is_named(self) -> None:
        bus = rpc.Bus(options.parse([], []), 'fake://', 'h2', 0.2)
        self.addCleanup(bus.stop)
        request = WrapRequest('migration', 'instance', b'key', 'h2')
        error = self.assertRaises(errors.Unavailable, bus.ask, 'h1', request)
        self.assertEqual(errors.Reason.BUS_UNAVAILABLE, error.reason)
        self.assertIn('host h1', error.message)
        self.assertIn('MessagingTimeout', error.message)


class ProcessTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.config = self.directory / 'agent.conf'
        self.config.write_text(
            _CONFIG.format(directory=self.directory, uid=os.getuid())
        )
        self.client = AgentClient(str(self.directory / 'agent.sock'), 10)

    def start(
        self,
        config: pathlib.Path | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> subprocess.Popen[bytes]:
        environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
        process = subprocess.Popen(
            [
                sys.executable,
                '-c',
                _COMMAND,
                '--config-file',
                str(config or self.config),
            ],
            env=environment,
            stdout=subprocess.PIPE if config else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if config else subprocess.DEVNULL,
            preexec_fn=prepare,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def spoil(self) -> None:
        """Make the configuration unusable."""
        good = self.config.read_text()
        self.config.write_text(
            good.replace('auth_type = none', 'auth_type = no_such')
        )

    def status(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """What a process that has just been started answers."""
        deadline = time.monotonic() + 90
        while True:
            try:
                return self.client.call('status')
            except errors.Unavailable:
                self.assertIsNone(process.poll())
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.1)

    def test_a_second_agent_on_the_state_directory_ends(self) -> None:
        first = self.start()
        self.status(first)
        other = self.config.with_name('other.conf')
        other.write_text(
            self.config.read_text().replace('/agent.sock', '/other.sock')
        )
        second = self.start(other)
        self.assertEqual(1, second.wait(90))
        assert second.stdout is not None
        said = second.stdout.read().decode()
        self.assertIn('STATE_DIR_IN_USE', said)
        self.assertIn(str(self.directory / 'state'), said)
        self.assertIn(f'process {first.pid}', said)
        self.assertFalse((self.directory / 'other.sock').exists())
        self.assertEqual('h1', self.status(first)['host'])
        # However the first one ends, the directory is free then.
        first.kill()
        first.wait()
        self.assertEqual('h1', self.status(self.start())['host'])

    def test_memory_that_cannot_be_locked(self) -> None:
        """It says what to do, and serves nobody; unless an operator may."""
        lax = self.config.read_text()
        self.config.write_text(lax.replace('lock_memory = false\n', ''))
        process = self.start(self.config, _without_locked_memory)
        self.assertEqual(1, process.wait(90))
        assert process.stdout is not None
        said = process.stdout.read().decode()
        self.assertIn('[MEMORY_NOT_LOCKED]', said)
        self.assertIn('LimitMEMLOCK=infinity', said)
        self.assertFalse((self.directory / 'agent.sock').exists())
        self.config.write_text(lax)
        process = self.start(prepare=_without_locked_memory)
        self.assertEqual('h1', self.status(process)['host'])

    def test_zygote_ends_with_it(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            process = self.start()
            self.status(process)
            (zygote,) = children(process.pid)
            self.assertEqual(
                'korora-zygote',
                pathlib.Path(f'/proc/{zygote}/comm').read_text().strip(),
            )
            process.send_signal(number)
            process.wait(60)
            deadline = time.monotonic() + 60
            while os.path.exists(f'/proc/{zygote}'):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)

    def test_serves_and_stops_with_everything_down(self) -> None:
        process = self.start()
        status = self.status(process)
        self.assertEqual(('h1', 'none'), (status['host'], status['tier']))
        error = self.assertRaises(
            errors.Unavailable, self.client.call, 'attest'
        )
        self.assertEqual(errors.Reason.SERVICE_UNAVAILABLE, error.reason)
        time.sleep(1)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, process.wait(60))
        self.assertFalse((self.directory / 'agent.sock').exists())

    def test_starts_without_eventlet_or_its_warnings(self) -> None:
        """It is installed: other parts of OpenStack still need it."""
        code = (
            'import os, sys\n'
            'os._exit = lambda code: None\n'
            f'{_COMMAND}\n'
            'sys.exit(sys.modules["eventlet"] is not None)\n'
        )
        self.spoil()
        done = subprocess.run(
            [sys.executable, '-c', code, '--config-file', str(self.config)],
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(0, done.returncode, done)
        self.assertNotIn('Warning', done.stderr)
        self.assertIn('cannot start', done.stdout)

    def test_unusable_configuration(self) -> None:
        self.spoil()
        self.assertEqual(1, self.start().wait(90))
