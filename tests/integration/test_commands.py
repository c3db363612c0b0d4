# SPDX-License-Identifier: Apache-2.0
"""The operator's commands, as typed, against the lab's real service."""
import json
import subprocess
import unittest

from lablib import paths

LAB = str(paths.CHECKOUT / 'tools' / 'lab')


class CommandsTest(unittest.TestCase):

    def _run(self, *arguments: str, **env: str
             ) -> subprocess.CompletedProcess[str]:
        variables = [f'{name}={value}' for name, value in env.items()]
        return subprocess.run(
            [LAB, 'run', 'env', *variables, *arguments],
            capture_output=True, text=True, timeout=120)

    def _json(self, *arguments: str):  # type: ignore[no-untyped-def]
        done = self._run('openstack', 'attestation', *arguments,
                         '-f', 'json')
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)

    def test_host_list_shows_who_is_trusted(self) -> None:
        tiers = {row['Name']: row['Tier']
                 for row in self._json('host', 'list')}
        self.assertEqual({'h1': 'affirming', 'h2': 'affirming',
                          'h3': 'contraindicated'}, tiers)

    def test_host_show_gives_the_reasons(self) -> None:
        host = self._json('host', 'show', 'h3')
        self.assertIn('PCR_NOT_GOLDEN', host['reasons'])

    def test_result_show(self) -> None:
        self.assertEqual('affirming',
                         self._json('result', 'show', 'h1')['tier'])

    def test_references_are_learned_from_h1(self) -> None:
        names = [row['Name'] for row in self._json('reference', 'list')]
        self.assertEqual(1, len(names))
        self.assertEqual(
            names[0], self._json('reference', 'show', names[0])['name'])

    def test_migration_list(self) -> None:
        self.assertIsInstance(self._json('migration', 'list'), list)

    def test_unknown_host_is_a_reason_id(self) -> None:
        done = self._run('openstack', 'attestation', 'host', 'show', 'h9')
        self.assertNotEqual(0, done.returncode)
        self.assertIn('[HOST_UNKNOWN]', done.stderr)

    def test_an_agent_cannot_approve_hosts(self) -> None:
        done = self._run(
            'openstack', 'attestation', 'host', 'approve', 'h9', 'ab' * 32,
            OS_USERNAME='korora-agent', OS_PROJECT_NAME='service')
        self.assertNotEqual(0, done.returncode)
        self.assertIn('[FORBIDDEN]', done.stderr)

    def test_receipt_chain_verifies(self) -> None:
        config = str(paths.Lab.default().etc / 'korora' / 'korora.conf')
        done = self._run('korora-manage', '--config-file', config,
                         'audit', 'verify')
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)

    def test_upgrade_check(self) -> None:
        config = str(paths.Lab.default().etc / 'korora' / 'korora.conf')
        done = self._run('korora-status', '--config-file', config,
                         'upgrade', 'check')
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
