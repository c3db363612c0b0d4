# SPDX-License-Identifier: Apache-2.0
"""The command lines against the services of the lab."""

import json
import os
import subprocess
import tempfile
import typing
import unittest

from korora_tools import checkout
from korora_tools.lab import paths, processes

POLICY = """\
version: 1
name: rehearsal
hosts: [nobody]
rules:
- pcrs: {registers: [0, 2, 4, 7], references: true}
- ima: not-appraised
"""
WRONG_HASH = '00' * 32


class CommandLineTest(unittest.TestCase):
    """What an operator types."""

    def setUp(self) -> None:
        super().setUp()
        self.lab = paths.Lab.default()

    def run_command(
        self, *argv: str, **variables: str
    ) -> 'subprocess.CompletedProcess[str]':
        env = {**os.environ, **self.lab.openrc(), **variables}
        del env['PYTHONPATH']
        return subprocess.run(
            [
                *processes.into(self.lab, 'ctl'),
                str(checkout.BIN / argv[0]),
                *argv[1:],
            ],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def attestation(self, *argv: str, **variables: str) -> typing.Any:
        done = self.run_command('openstack', 'attestation', *argv, **variables)
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, reason: str, *argv: str, **variables: str) -> None:
        done = self.run_command('openstack', 'attestation', *argv, **variables)
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn(f'[{reason}]', done.stderr)

    def manage(self, *argv: str) -> 'subprocess.CompletedProcess[str]':
        return self.run_command(
            argv[0],
            '--config-file',
            str(self.lab.etc / 'korora/korora.conf'),
            *argv[1:],
        )

    def test_hosts_and_results(self) -> None:
        hosts = {
            host['Name']: host['Tier']
            for host in self.attestation('host', 'list', '-f', 'json')
        }
        self.assertEqual(
            {'h1': 'affirming', 'h2': 'affirming', 'h3': 'contraindicated'},
            hosts,
        )
        for result in self.attestation('result', 'list', '-f', 'json'):
            self.assertFalse(result['Expired'], result)
        shown = self.attestation('result', 'show', 'h3', '-f', 'json')
        self.assertIn('PCR_NOT_GOLDEN', shown['reasons'])

    def test_approval(self) -> None:
        host = self.attestation('host', 'show', 'h1', '-f', 'json')
        again = self.attestation(
            'host', 'approve', 'h1', host['ek_hash'], '-f', 'json'
        )
        self.assertEqual('approved', again['status'])
        self.refused('IDENTITY_CONFLICT', 'host', 'approve', 'h1', WRONG_HASH)
        self.refused(
            'IDENTITY_CONFLICT', 'host', 'approve', 'h9', host['ek_hash']
        )
        self.refused('HOST_UNKNOWN', 'host', 'delete', 'h9', '--yes')

    def test_preload_and_delete(self) -> None:
        host = self.attestation(
            'host', 'approve', 'h8', WRONG_HASH, '-f', 'json'
        )
        self.assertEqual('preloaded', host['status'])
        self.attestation('host', 'delete', 'h8', '--yes')
        self.refused('HOST_UNKNOWN', 'host', 'show', 'h8')

    def test_references(self) -> None:
        made = self.attestation(
            'reference', 'create', 'cli', '--host', 'h1', '-f', 'json'
        )
        self.assertNotIn(10, made['pcrs'])
        names = [
            one['Name']
            for one in self.attestation('reference', 'list', '-f', 'json')
        ]
        self.assertIn('cli', names)
        shown = self.attestation('reference', 'show', 'cli', '-f', 'json')
        self.assertIn('0', shown['pcrs'])
        self.attestation('reference', 'delete', 'cli', '--yes')
        self.refused('NOT_FOUND', 'reference', 'show', 'cli')

    def test_policies(self) -> None:
        """A rehearsal: the policy names no host of the lab."""
        with tempfile.NamedTemporaryFile('w', suffix='.yaml') as file:
            file.write(POLICY)
            file.flush()
            made = self.attestation(
                'policy', 'create', '--file', file.name, 'cli', '-f', 'json'
            )
            self.assertEqual(1, made['revision'])
            self.refused(
                'POLICY_CONFLICT',
                'policy',
                'create',
                '--file',
                file.name,
                'cli',
            )
            made = self.attestation(
                'policy', 'set', 'cli', '--file', file.name, '-f', 'json'
            )
            self.assertEqual(2, made['revision'])
        names = [
            one['Name']
            for one in self.attestation('policy', 'list', '-f', 'json')
        ]
        self.assertIn('cli', names)
        shown = self.attestation('policy', 'show', 'cli', '-f', 'json')
        self.assertEqual('cli', shown['document']['name'])
        for policy in ('cli', 'exact'):
            self.assertEqual(
                [],
                self.attestation('policy', 'diff', policy, 'h1', '-f', 'json'),
            )
            rows = self.attestation(
                'policy', 'diff', policy, 'h3', '-f', 'json'
            )
            self.assertIn('PCR_NOT_GOLDEN', [row['Reason'] for row in rows])
        self.attestation('policy', 'delete', 'cli', '--yes')
        self.refused('NOT_FOUND', 'policy', 'show', 'cli')

    def test_what_may_be_empty(self) -> None:
        for noun in ('migration', 'receipt'):
            self.assertIsInstance(
                self.attestation(noun, 'list', '-f', 'json'), list
            )

    def test_agents_decide_nothing(self) -> None:
        """T21: an agent's credentials on operators' calls."""
        agent = {'OS_USERNAME': 'korora-agent', 'OS_PROJECT_NAME': 'service'}
        self.refused('FORBIDDEN', 'host', 'approve', 'h1', WRONG_HASH, **agent)
        self.refused('FORBIDDEN', 'host', 'delete', 'h1', '--yes', **agent)
        self.refused(
            'FORBIDDEN', 'reference', 'create', 'x', '--host', 'h1', **agent
        )
        self.refused(
            'FORBIDDEN', 'reference', 'delete', 'lab', '--yes', **agent
        )
        self.refused('FORBIDDEN', 'policy', 'list', **agent)
        self.refused('FORBIDDEN', 'policy', 'delete', 'x', '--yes', **agent)

    def test_manage(self) -> None:
        done = self.manage('korora-manage', 'audit', 'verify')
        self.assertEqual(0, done.returncode, done.stderr)
        # The host that was tampered with gets no certificate for streams.
        done = self.manage('korora-status', 'upgrade', 'check')
        said = done.stdout + done.stderr
        self.assertEqual(1, done.returncode, said)
        self.assertEqual(1, said.count('Result: Warning'), said)
        words = said.replace('|', ' ').split()
        self.assertIn('from or to h3, which have', ' '.join(words))
