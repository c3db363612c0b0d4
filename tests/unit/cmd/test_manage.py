# SPDX-License-Identifier: Apache-2.0
"""korora-manage and korora-status, as an operator runs them."""

import contextlib
import datetime
import io
import json
import os
import pathlib
import time

import fixtures
import testtools

from korora_nova import conf as options
from korora_nova.api.openapi import document
from korora_nova.cmd import manage, status
from korora_nova.rats.signed import keys
from korora_nova.verifier.db import api, migration, models
from tests.support import makers


class CommandTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.config = self.write(
            'korora.conf',
            f"""
[database]
connection = sqlite:///{self.directory}/korora.db
[verifier]
keys_dir = {self.directory}/private
trusted_keys = {self.directory}/keys.json
ek_roots = {self.directory}
migration_tls = transition
[oslo_policy]
policy_file = {self.directory}/policy.yaml
""",
        )

    def configure(self, text: str) -> None:
        with open(self.config, 'a') as file:
            file.write(text)

    def write(self, name: str, text: str) -> str:
        path = os.path.join(self.directory, name)
        with open(path, 'w') as file:
            file.write(text)
        return path

    def run_command(self, main, *args: str) -> tuple[int, str]:
        """Exit status and all output."""
        output = io.StringIO()
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            try:
                code = main(['--config-file', self.config, *args])
            except SystemExit as exc:
                code = exc.code
        return code, output.getvalue()

    def manage(self, *args: str) -> tuple[int, str]:
        return self.run_command(manage.main, *args)


class TestManage(CommandTestCase):
    def test_endorsers(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        maker = makers.Authority('maker', until=now + makers.DAY)
        makers_dir = self.useFixture(fixtures.TempDir()).path
        check = ('endorsers', 'check', '--directory', makers_dir)
        self.assertEqual((0, ''), self.manage(*check))
        pathlib.Path(makers_dir, 'maker.der').write_bytes(maker.der)
        code, output = self.manage(*check)
        self.assertEqual(0, code, output)
        self.assertIn('ok  maker.der: CN=maker: anchor, until', output)
        pathlib.Path(makers_dir, 'bad.pem').write_bytes(b'bad')
        code, output = self.manage(*check)
        self.assertEqual(1, code)
        self.assertIn('bad bad.pem: ', output)
        self.assertEqual(0, self.manage('endorsers', 'check')[0])
        code, output = self.manage(*check[:-1], f'{makers_dir}/missing')
        self.assertEqual(1, code)
        self.assertIn('KEYS_INVALID', output)

    def test_database(self):
        self.assertIn('none', self.manage('db', 'version')[1])
        for _ in range(2):
            self.assertEqual(0, self.manage('db', 'sync')[0])
        self.assertIn(migration.head(), self.manage('db', 'version')[1])

    def purge(self, *args: str) -> tuple[int, str]:
        return self.manage('db', 'purge', *args)

    def test_purge(self):
        self.assertIn('DATABASE_UNAVAILABLE', self.purge()[1])
        self.manage('db', 'sync')
        conf = options.parse([], [self.config])
        with api.Database(conf).write() as session:
            for at in (1.0, 2.0, time.time()):
                session.add(
                    models.Audit(
                        at=at, actor='a', action='b', subject='c', note=''
                    )
                )
        aged = ('--audit', '1', '--documents', '1', '--evidence', '1')
        code, output = self.purge(*aged)
        self.assertEqual((1, True), (code, '--archive' in output), output)
        aged = (*aged, '--archive', self.directory)
        code, output = self.purge(*aged, '--dry-run')
        self.assertEqual(0, code, output)
        self.assertIn('audit: 2 would be deleted', output)
        for left in (2, 0):
            code, output = self.purge(*aged, '--batch', '1')
            self.assertEqual(0, code, output)
            self.assertIn(f'audit: {left} deleted', output)
            self.assertIn('challenges: 0 deleted', output)
        files = list(pathlib.Path(self.directory).glob('korora-audit-*'))
        self.assertEqual(2, len(files))

    def test_purge_of_what_is_new(self):
        self.manage('db', 'sync')
        for wrong in ('0', '-1', 'nan', 'x'):
            code, output = self.purge('--evidence', wrong)
            self.assertEqual(2, code, output)
        self.assertEqual(2, self.purge('--batch', '0')[0])

    def test_audit(self):
        self.manage('keys', 'create')
        self.manage('db', 'sync')
        code, output = self.manage('audit', 'verify')
        self.assertEqual(
            (0, True), (code, '0 documents of 0 servers verify' in output)
        )

    def test_audit_of_no_database(self):
        self.manage('keys', 'create')
        code, output = self.manage('audit', 'verify')
        self.assertEqual((1, True), (code, 'DATABASE_UNAVAILABLE' in output))

    def test_no_anchor(self):
        self.manage('db', 'sync')
        code, output = self.manage('anchor', 'create')
        self.assertEqual((1, True), (code, 'backend is none' in output))
        code, output = self.manage('anchor', 'show')
        self.assertEqual(0, code)
        self.assertIn('a restored database is noticed: no', output)

    def test_anchor(self):
        server = '6f1b3c1e-6a34-4f7b-8d7c-3f0b8ad5d1c2'
        self.configure(
            '[anchor]\nbackend = database\n'
            f'connection = sqlite:///{self.directory}/anchor.db\n'
        )
        code, output = self.manage('anchor', 'create')
        self.assertEqual((1, True), (code, 'DATABASE_UNAVAILABLE' in output))
        self.manage('db', 'sync')
        code, output = self.manage('anchor', 'show')
        self.assertEqual((1, True), (code, 'ANCHOR_MISSING' in output))
        code, output = self.manage('anchor', 'create')
        self.assertEqual(0, code, output)
        code, output = self.manage('anchor', 'create')
        self.assertEqual((1, True), (code, 'ANCHOR_EXISTS' in output))
        code, output = self.manage('anchor', 'show', server)
        self.assertEqual(0, code, output)
        self.assertIn('a restored database is noticed: yes', output)
        self.assertIn(f'{server}: none', output)

    def test_anchor_of_an_unknown_kind(self):
        self.configure('[anchor]\nbackend = nonsense\n')
        self.manage('db', 'sync')
        code, output = self.manage('anchor', 'show')
        self.assertEqual((1, True), (code, 'ANCHOR_UNAVAILABLE' in output))

    def test_openapi(self):
        code, printed = self.run_command(manage.main, 'openapi')
        self.assertEqual(0, code)
        self.assertEqual(document.build(), json.loads(printed))

    def test_wrong_usage(self):
        self.assertEqual(2, self.manage('db')[0])
        self.assertEqual(2, self.manage('x', 'y')[0])

    def test_no_configuration(self):
        self.config = '/nonexistent'
        code, output = self.manage('db', 'sync')
        self.assertEqual((1, True), (code, '/nonexistent' in output))


class TestStatus(CommandTestCase):
    def check(self) -> tuple[int, dict[str, int]]:
        code, output = self.run_command(
            status.main, 'upgrade', 'check', '--json'
        )
        return code, {
            one['check']: one['result']
            for one in json.loads(output.splitlines()[-1])['checks']
        }

    def test_all_is_well(self):
        self.manage('db', 'sync')
        self.manage('keys', 'create')
        code, checks = self.check()
        self.assertEqual((0, {0}), (code, set(checks.values())))
        self.assertEqual(7, len(checks))

    def test_anchor(self):
        self.manage('db', 'sync')
        self.manage('keys', 'create')
        with open(self.config, 'a') as file:
            file.write(
                '[anchor]\nbackend = database\n'
                f'connection = sqlite:///{self.directory}/anchor.db\n'
            )
        self.assertEqual(2, self.check()[1]['Anchor'])
        self.assertEqual(0, self.manage('anchor', 'create')[0])
        self.assertEqual((0, 0), (self.check()[0], self.check()[1]['Anchor']))

    def test_host_without_the_driver(self):
        self.manage('db', 'sync')
        self.manage('keys', 'create')
        conf = options.parse([], [self.config])
        driver = {'driver': 'd', 'version': '1', 'drift': '', 'seen': 1}
        with api.Database(conf).write() as session:
            for name, enforcer, ak in (
                ('h1', None, 'a'),
                ('h2', driver, 'b'),
                ('h3', None, None),
            ):
                session.add(
                    models.Host(
                        name=name,
                        ek_hash=name,
                        ak_name=ak,
                        approved=True,
                        enforcer=enforcer,
                    )
                )
        code, output = self.run_command(status.main, 'upgrade', 'check')
        self.assertEqual(1, code)
        self.assertIn('h1. While', ' '.join(output.split()).replace('| ', ''))
        self.assertEqual(1, self.check()[1]['Enforcement on hosts'])

    def streams(self, mode: str) -> int:
        self.configure(f'[verifier]\nmigration_tls = {mode}\n')
        return self.check()[1]['Certificates of streams']

    def test_certificates_of_streams(self):
        self.manage('db', 'sync')
        self.manage('keys', 'create')
        for mode, result in (('attested', 1), ('site', 0), ('transition', 0)):
            self.assertEqual(result, self.streams(mode), mode)
        self.manage('keys', 'create', 'tls')
        self.assertEqual(0, self.streams('attested'))
        conf = options.parse([], [self.config])
        fields = {'name': 'h1', 'ek_hash': 'x', 'ak_name': 'x'}
        with api.Database(conf).write() as session:
            session.add(models.Host(approved=True, **fields))
        for mode, result in (('attested', 1), ('site', 0), ('transition', 0)):
            self.assertEqual(result, self.streams(mode), mode)
        kid = keys.KeyRing.load(f'{self.directory}/keys.json').streams.kid
        with api.Database(conf).write() as session:
            row = session.get(models.Host, 'h1')
            row.tls_name, row.tls_authority = 'x', kid
            row.tls_until = time.time() + 700
        self.assertEqual(0, self.streams('attested'))

    def test_nothing_is_there(self):
        code, checks = self.check()
        self.assertEqual(2, code)
        self.assertEqual(
            (2, 2), (checks['Database schema'], checks['Signing keys'])
        )

    def test_private_key_is_not_here(self):
        self.manage('db', 'sync')
        self.manage('keys', 'create')
        (path,) = pathlib.Path(self.directory).glob('private/custody-*.pem')
        path.unlink()
        self.assertEqual(2, self.check()[1]['Signing keys'])

    def test_policy(self):
        for text, result in (
            ('"attestation:hosts:list": "role:auditor"\n', 0),
            ('"attestation:hosts:lst": "role:auditor"\n', 2),
            ('"attestation:hosts:list": "rule:none"\n', 2),
            ('["', 2),
        ):
            self.write('policy.yaml', text)
            self.assertEqual(result, self.check()[1]['Policy file'], text)
