# SPDX-License-Identifier: Apache-2.0
"""korora-enforcer as processes, of which one leads, over MariaDB and HTTP."""

import configparser
import os
import pathlib
import signal
import socketserver
import subprocess
import sys
import threading
import time
from wsgiref import simple_server

import fixtures

from korora_nova.verifier.db import models
from tests.functional.response.base import HOSTS, MariaDbTestCase

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True


class Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass


class TestDaemon(MariaDbTestCase):
    def setUp(self):
        super().setUp()
        # Processes have the time of the world.
        self.korora.clock.now = time.time()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        server = simple_server.make_server(
            '127.0.0.1', 0, self.nova, Server, Quiet
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.conf = self.directory / 'enforcer.conf'
        self.conf.write_text(
            '[database]\n'
            f'connection = {self.korora.conf.database.connection}\n'
            '[response]\n'
            'auth_type = none\n'
            f'endpoint = http://127.0.0.1:{server.server_port}\n'
            f'trusted_keys = {self.korora.keys_file}\n'
            'drivers = disable\n'
            'interval = 0.2\n'
            'bad_results = 2\n'
            'max_share = 0.5\n'
        )
        self._entry_points()

    def _entry_points(self):
        """Those of this tree, whatever is installed."""
        setup = configparser.ConfigParser()
        setup.read(ROOT / 'setup.cfg')
        info = self.directory / 'korora_nova-0.0.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(
            'Metadata-Version: 2.1\nName: korora-nova\nVersion: 0.0.0\n'
        )
        (info / 'entry_points.txt').write_text(
            '[korora.response]\n' + setup['entry_points']['korora.response']
        )

    def begin(self):
        log = (self.directory / f'log-{time.monotonic_ns()}').open('wb')
        self.addCleanup(log.close)
        made = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'korora_nova.cmd.response',
                '--config-file',
                str(self.conf),
            ],
            cwd='/',
            env={
                **os.environ,
                'PYTHONPATH': f'{self.directory}:{ROOT}',
            },
            stdout=log,
            stderr=log,
        )
        self.addCleanup(self.end, made, signal.SIGKILL)
        return made

    def end(self, process, number):
        if process.poll() is None:
            process.send_signal(number)
        return process.wait(30)

    def wait(self, true, what):
        end = time.monotonic() + 60
        while not true():
            if time.monotonic() > end:
                logs = [
                    path.read_text() for path in self.directory.glob('log-*')
                ]
                self.fail(f'not {what}: {logs}')
            time.sleep(0.1)

    def term(self):
        with self.korora.service.db.read() as session:
            row = session.get_one(models.ResponseLease, 1)
            return row.term, row.until

    def leader(self, *processes):
        """The process that leads now."""
        with self.korora.service.db.read() as session:
            row = session.get_one(models.ResponseLease, 1)
            pid = int(row.holder.split('/')[1])
        return next(one for one in processes if one.pid == pid)

    def test_two(self):
        first, second = self.begin(), self.begin()
        self.wait(lambda: self.term()[0] == 1, 'led')
        self.all.good(*HOSTS)
        self.wait(lambda: self._known() == len(HOSTS), 'known')
        # Stopped: the other one leads at once.
        leads = self.leader(first, second)
        self.assertEqual(0, self.end(leads, signal.SIGTERM))
        self.wait(lambda: self.term()[0] == 2, 'led again')
        other = self.leader(first, second)
        self.assertIsNot(leads, other)
        self.wait(lambda: self._disabled('h1'), 'disabled')
        # Killed: once its lease is over.
        third = self.begin()
        self.end(other, signal.SIGKILL)
        with self.korora.service.db.write() as session:
            session.get_one(models.ResponseLease, 1).until = 0.0
        self.wait(lambda: self.term()[0] == 3, 'led once more')
        self.assertIs(third, self.leader(first, second, third))
        shown = self.admin.revert_responses('enough')['responses']
        self.assertEqual(['h1'], [one['host'] for one in shown])
        self.wait(lambda: not self.nova.disabled(), 'reverted')
        self.assertEqual(
            [('disabled', 'h1'), ('enabled', 'h1')], self.nova.calls
        )
        self.assertEqual(0, self.end(third, signal.SIGTERM))

    def _known(self):
        with self.korora.service.db.read() as session:
            return session.query(models.ResponseHost).count()

    def _disabled(self, host):
        """Whether it is, after one more bad result."""
        self.korora.clock.now = time.time()
        self.all.bad(host)
        time.sleep(1.0)
        return list(self.nova.disabled()) == [host]

    def test_unusable(self):
        text = self.conf.read_text()
        for old, new, said in (
            ('drivers = disable', 'drivers = nosuch', 'RESPONSE_DRIVER'),
            (self.korora.keys_file, '/nonexistent', 'KEYS_INVALID'),
        ):
            self.conf.write_text(text.replace(old, new))
            self.assertEqual(1, self.begin().wait(60))
            log = max(self.directory.glob('log-*'))
            self.assertIn(said, log.read_text())
