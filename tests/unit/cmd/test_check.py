# SPDX-License-Identifier: Apache-2.0
"""``korora-agent check`` as a command: it ends, and says no secret."""

import contextlib
import io
import json
import pathlib
import threading

import fixtures
import testtools
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.attester.check import sources
from korora_nova.cmd import check

CONFIG = """
[attester]
host = h1
tcti = swtpm:path={directory}/no-tpm
state_dir = {directory}/state
uefi_log = {directory}/uefi
ima_log = {directory}/ima
trusted_keys = {directory}/keys.json
libvirt_uri = test:///default
[handover]
transport_url = rabbit://somebody:hunter2@127.0.0.1:1/none
[service_auth]
auth_type = none
endpoint_override = http://127.0.0.1:1
"""
NOVA = """
[DEFAULT]
compute_driver = korora.KororaLibvirtDriver
host = h1
transport_url = rabbit://nova:hunter2@controller/
[libvirt]
swtpm_enabled = true
live_migration_inbound_addr = h1
live_migration_scheme = ssh
[korora]
auth_type = password
password = hunter2
trusted_keys = {directory}/keys.json
"""


def raiser(exc):
    def look():
        raise exc

    return look


class RunTest(testtools.TestCase):
    def test_what_hangs_ends(self):
        never = threading.Event()
        self.addCleanup(never.set)
        found = check.run('x', never.wait, 0.1)
        self.assertEqual('bad', found.level.word)
        self.assertIn('no answer within 0.1 s', found.text)

    def test_a_check_that_fails_is_a_line(self):
        for exc, level, words in (
            (sources.Missing('the TPM'), 'warn', 'the TPM could not be read'),
            (PermissionError(13, 'denied', '/x'), 'warn', '/x is not for'),
            (OSError(5, 'I/O error', '/x'), 'bad', '/x: I/O error'),
            (
                errors.Unavailable(errors.Reason.LIBVIRT_UNAVAILABLE),
                'bad',
                'LIBVIRT_UNAVAILABLE',
            ),
            (RuntimeError('hunter2'), 'bad', 'RuntimeError'),
            (cfg.ConfigFileValueError('hunter2'), 'bad', 'ConfigFileValue'),
            (cfg.ConfigFilesNotFoundError(['/x']), 'bad', 'there is no /x'),
            (
                cfg.ConfigFilesPermissionDeniedError(['/x']),
                'warn',
                '/x is not for',
            ),
        ):
            found = check.run('x', raiser(exc), 5)
            self.assertEqual(level, found.level.word, found)
            self.assertIn(words, found.text)
            self.assertNotIn('hunter2', found.text + found.advice)


class CommandTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.nova = self.file('nova.conf', NOVA)

    def file(self, name, text):
        path = self.directory / name
        path.write_text(text.replace('{directory}', str(self.directory)))
        path.chmod(0o600)
        return str(path)

    def main(self, *args):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = check.main([*args, '--nova-config-file', self.nova])
        self.assertNotIn('hunter2', printed.getvalue())
        return code, printed.getvalue()

    def run_json(self, *args):
        code, said = self.main(*args, '-f', 'json')
        return (
            code,
            {one['id']: one for one in json.loads(said)['checks']},
            json.loads(said),
        )

    def test_a_host_with_nothing(self):
        config = self.file('agent.conf', CONFIG)
        before = sorted(self.directory.iterdir())
        code, found, said = self.run_json('--config-file', config)
        self.assertEqual((2, 'bad'), (code, said['level']))
        self.assertIn('TPM_UNAVAILABLE', found['tpm']['text'])
        self.assertEqual(
            'not checked: the TPM could not be read',
            found['uefi-log']['text'],
        )
        for name, level in (
            ('agent-conf', 'ok'),
            ('nova-conf', 'ok'),
            ('certificates', 'ok'),
            ('state-dir', 'ok'),
            ('libvirt', 'ok'),
            ('clock', 'warn'),
            ('service', 'bad'),
            ('bus', 'bad'),
            ('trusted-keys', 'bad'),
        ):
            self.assertEqual(level, found[name]['level'], found[name])
        self.assertIn('127.0.0.1:1: ', found['bus']['text'])
        self.assertEqual(before, sorted(self.directory.iterdir()))

    def test_every_check_is_in_the_guide(self):
        conf = check._parse(
            ['--config-file', self.file('agent.conf', CONFIG)], []
        )
        guide = pathlib.Path('doc/source/cli/agent.rst').read_text()
        for name in check.checks(check.Host(conf, '')):
            self.assertIn(f'``{name}``', guide)

    def test_a_configuration_that_is_not_there(self):
        code, found, _ = self.run_json('--config-file', '/no/such')
        self.assertEqual(2, code)
        self.assertEqual('there is no /no/such', found['agent-conf']['text'])

    def test_a_configuration_that_is_broken(self):
        config = self.file('agent.conf', CONFIG + '\npassword hunter2\n')
        code, found, _ = self.run_json(f'--config-file={config}')
        self.assertEqual(2, code)
        self.assertIn('ConfigFileParseError', found['agent-conf']['text'])

    def test_nova_conf_that_is_broken(self):
        self.file('nova.conf', NOVA + '\npassword hunter2\n')
        config = self.file('agent.conf', CONFIG)
        _, found, _ = self.run_json('--config-file', config)
        self.assertIn('ConfigFileParseError', found['nova-conf']['text'])
        self.assertEqual('warn', found['certificates']['level'])

    def test_libvirt_by_plain_tcp(self):
        """Nova's default, and one that is spelled out."""
        config = self.file('agent.conf', CONFIG)
        scheme = 'live_migration_scheme = ssh'
        uri = 'live_migration_uri = qemu+{}://%s/system'
        for line, level in (
            ('', 'warn'),
            (uri.format('tcp'), 'warn'),
            (uri.format('ssh'), 'ok'),
        ):
            self.file('nova.conf', NOVA.replace(scheme, line))
            _, found, _ = self.run_json('--config-file', config)
            self.assertEqual(level, found['nova-conf']['level'], line)

    def test_an_url_that_is_malformed(self):
        config = self.file(
            'agent.conf', CONFIG.replace('127.0.0.1:1/', '127.0.0.1:x/')
        )
        _, found, _ = self.run_json('--config-file', config)
        self.assertEqual('bad', found['bus']['level'])

    def test_unusable_credentials(self):
        config = self.file('agent.conf', CONFIG.replace('= none', '= no_such'))
        _, found, _ = self.run_json('--config-file', config)
        self.assertIn('SERVICE_UNAVAILABLE', found['service']['text'])

    def test_text(self):
        config = self.file('agent.conf', CONFIG)
        code, said = self.main('--config-file', config)
        self.assertEqual(2, code)
        self.assertLessEqual(max(map(len, said.splitlines())), 79)
        self.assertIn('ok    nova-conf ', said)


class AgentCommandTest(testtools.TestCase):
    def test_check_is_a_word_of_the_agents_command_line(self):
        from korora_nova.cmd import agent

        given = []
        self.patch(check, 'main', lambda args: given.append(args) or 1)
        self.assertEqual(1, agent._run(['check', '-f', 'json']))
        self.assertEqual([['-f', 'json']], given)
        self.assertEqual('/etc/korora/agent.conf', check.CONFIG_FILE)
        self.assertEqual('attester', options.ATTESTER)
