# SPDX-License-Identifier: Apache-2.0
"""korora-sources: asks once, or until it is told to stop."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time

import sqlalchemy as sa
import testtools

from korora_nova.cmd import sources
from korora_nova.verifier.db import models
from tests.support import service


class TestSources(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.korora = self.useFixture(service.KororaFixture())
        directory = self.korora.directory
        self.verdicts = os.path.join(directory, 'verdicts.json')
        self.file = os.path.join(directory, 'korora.conf')
        conf = self.korora.conf
        with open(self.file, 'w') as file:
            file.write(
                f'[verifier]\n'
                f'keys_dir = {directory}\n'
                f'trusted_keys = {self.korora.keys_file}\n'
                f'ek_roots = {directory}\n'
                f'[anchor]\nbackend = database\n'
                f'connection = {conf.anchor.connection}\n'
                f'[database]\nconnection = {conf.database.connection}\n'
                f'[sources]\nrequired = native, static\ninterval = 1\n'
                f'static_file = {self.verdicts}\n'
            )
        with self.korora.service.db.write() as session:
            session.add(
                models.Host(
                    name='h1',
                    ek_hash='00' * 32,
                    ek_name='000b' + '00' * 32,
                    approved=True,
                )
            )
        self.say('affirming')

    def say(self, tier):
        with open(self.verdicts, 'w') as file:
            json.dump({'h1': tier}, file)

    def run_it(self, *args):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            with contextlib.redirect_stderr(printed):
                code = sources.main(['--config-file', self.file, *args])
        return code, printed.getvalue()

    def tiers(self):
        with self.korora.service.db.read() as session:
            return list(session.scalars(sa.select(models.SourceVerdict.tier)))

    def test_once(self):
        self.assertEqual(0, self.run_it('--once')[0])
        self.assertEqual(['affirming'], self.tiers())

    def test_once_without_answer(self):
        os.unlink(self.verdicts)
        self.assertEqual(1, self.run_it('--once')[0])
        self.assertEqual([], self.tiers())

    def test_forget(self):
        code, said = self.run_it('--forget', 'keylime=x')
        self.assertEqual(1, code)
        self.assertIn('keylime has no x.\n', said)
        with self.korora.service.db.write() as session:
            session.add(
                models.SourceSubject(
                    source='keylime',
                    subject='x',
                    ek_name='000b',
                    agrees=False,
                    count=1,
                    read_at=1.0,
                )
            )
        code, said = self.run_it('--forget', 'keylime=x')
        self.assertEqual(0, code)
        self.assertIn('x of keylime is read anew.\n', said)

    def test_what_cannot_work(self):
        with open(self.file, 'a') as file:
            file.write('advisory = static\n')
        code, said = self.run_it('--once')
        self.assertEqual(1, code)
        self.assertIn('[SOURCE_INVALID]', said)

    def test_until_a_signal(self):
        process = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'korora_nova.cmd.sources',
                '--config-file',
                self.file,
            ],
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.wait_for(['affirming'])
        self.say('contraindicated')
        self.wait_for(['contraindicated'])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, process.wait(30))

    def wait_for(self, tiers):
        end = time.monotonic() + 60
        while self.tiers() != tiers:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
