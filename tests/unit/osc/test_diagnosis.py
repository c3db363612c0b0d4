# SPDX-License-Identifier: Apache-2.0
"""``host diagnose`` and ``server check``: every line, good and bad."""

from __future__ import annotations

import time
from typing import Any

import jwt
import testtools
from osc_lib import exceptions

from korora_nova import checks, errors
from korora_nova.client import Answer
from korora_nova.osc import diagnose, diagnosis
from tests.unit.osc.base import CommandTest

NOW = 1_800_000_000.0
SERVER = '11111111-2222-4333-8444-555555555555'
OK, WARN, BAD = checks.Level


def host(name: str = 'h1', **changed: Any) -> Answer:
    return Answer(
        {
            'name': name,
            'status': 'approved',
            'ek_hash': 'ab' * 32,
            'certified': True,
            'last_attested': NOW - 20,
            'evicted_at': None,
            'tier': 'affirming',
            'reasons': [],
            'enforcing': True,
            'enforcer': {
                'driver': 'korora.KororaLibvirtDriver',
                'version': '1',
                'drift': '',
                'heard_at': NOW - 20,
            },
            'certificate': {'name': 'x', 'until': NOW + 7200},
            'streams': '',
            'policies': ['exact'],
            **changed,
        }
    )


def known(**changed: Any) -> diagnosis.Known:
    return diagnosis.Known(
        **{
            'host': host(),
            'result': Answer({'findings': []}),
            'claims': {'iat': NOW - 20, 'exp': NOW + 160},
            'servers': [],
            'offset': 0.0,
            'whose': 'the service',
            'now': NOW,
            **changed,
        }
    )


class Case(testtools.TestCase):
    def check(
        self, found: checks.Result, level: checks.Level, *words: str
    ) -> None:
        self.assertEqual(level, found.level, found)
        for word in words:
            self.assertIn(word, f'{found.text} | {found.advice}')
        if level is BAD:
            self.assertTrue(found.advice, found)


class HostTest(Case):
    def test_all_is_well(self) -> None:
        found = diagnosis.diagnose(known())
        self.assertEqual(OK, checks.worst(found), found)
        self.assertEqual(
            [
                'clock',
                'identity',
                'reachable',
                'trust',
                'policy',
                'enforcement',
                'streams',
                'custody',
            ],
            [one.id for one in found],
        )

    def test_clock(self) -> None:
        self.check(diagnosis.clock(None, ''), WARN, 'not compared')
        self.check(diagnosis.clock(-60.0, 'Keystone'), WARN, '-60 s', 'NTP')

    def test_identity(self) -> None:
        for status, word in (
            ('pending', f'host approve h1 {"ab" * 32}'),
            ('preloaded', 'korora-agent check'),
        ):
            found = diagnosis.identity(known(host=host(status=status)))
            self.check(found, BAD, word)
        evicted = host(status='evicted', evicted_at=NOW)
        self.check(
            diagnosis.identity(known(host=evicted)), BAD, '2027-01-15 08:00'
        )
        self.check(
            diagnosis.identity(known(host=host(certified=False))),
            WARN,
            'no TPM maker',
        )
        self.check(
            diagnosis.identity(known(host=host(status='of tomorrow'))), WARN
        )

    def test_reachable(self) -> None:
        for last, level, word in (
            (None, BAD, 'never'),
            (NOW - 20, OK, '20 s ago'),
            (NOW - 150, WARN, 'late'),
            (NOW - 7300, BAD, '2 h ago'),
        ):
            self.check(
                diagnosis.heard(known(host=host(last_attested=last))),
                level,
                word,
            )
        # Nobody says how long a result is good.
        self.check(
            diagnosis.heard(
                known(host=host(last_attested=NOW - 7300), claims={})
            ),
            OK,
            '2 h ago',
        )

    def test_trust(self) -> None:
        self.check(diagnosis.trust(known()), OK, 'for 2 min')
        untrusted = host(
            tier='contraindicated', reasons=['IMA_UNKNOWN_FILE', 'NO_SUCH_ID']
        )
        findings = [
            {'reason': 'IMA_UNKNOWN_FILE', 'message': '/bin/x is not known'}
        ]
        found = diagnosis.trust(
            known(host=untrusted, result=Answer({'findings': findings}))
        )
        self.check(
            found, BAD, '[IMA_UNKNOWN_FILE] /bin/x is not known', 'reference'
        )
        self.check(found, BAD, 'does not know the reason')
        # An expired one, of which the findings are gone.
        expired = host(tier='none', reasons=['RESULT_EXPIRED'])
        self.check(
            diagnosis.trust(
                known(host=expired, result=errors.NotFound('RESULT_MISSING'))
            ),
            BAD,
            '[RESULT_EXPIRED]',
            'korora-agent check',
        )

    def test_every_reason_has_words_and_advice(self) -> None:
        for reason in errors.REASONS:
            found = diagnosis.trust(
                known(host=host(tier='none', reasons=[reason]))
            )
            self.check(found, BAD, errors.REASONS[reason][:40])
            self.assertNotIn('{', found.advice)

    def test_policy(self) -> None:
        self.check(diagnosis.policy(known()), OK, 'exact')
        self.check(diagnosis.policy(known(host=host(policies=None))), WARN)

    def test_enforcement(self) -> None:
        silent = host(enforcer=None)
        self.check(diagnosis.enforcement(silent, NOW), BAD, 'compute_driver')
        drift = host(
            enforcer={'driver': 'd', 'version': '1', 'drift': '[NOVA_DRIFT]'}
        )
        self.check(diagnosis.enforcement(drift, NOW), BAD, '[NOVA_DRIFT]')
        self.check(
            diagnosis.enforcement(host(enforcing=False), NOW), BAD, '20 s ago'
        )

    def test_streams(self) -> None:
        for changed, level, word in (
            ({'streams': 'CERTIFICATE_MISSING'}, BAD, 'migration_tls_dir'),
            (
                {'streams': 'CERTIFICATE_AUTHORITY_MISSING'},
                BAD,
                'keys create tls',
            ),
            ({'certificate': None}, OK, 'none is required'),
            # A service of an earlier release does not say.
            ({'certificate': None, 'streams': None}, WARN, 'no certificate'),
            ({'certificate': {'until': NOW + 60}}, WARN, 'ends in 60 s'),
            ({'certificate': {'until': 'x'}}, WARN, 'ends in 0 s'),
        ):
            self.check(diagnosis.streams(host(**changed), NOW), level, word)

    def test_custody(self) -> None:
        servers = [
            Answer(
                {
                    'instance': f's{number}',
                    'issues': [{'id': 'pending', 'message': 'resolve it'}],
                }
            )
            for number in range(9)
        ]
        self.check(
            diagnosis.custody(known(servers=servers)),
            BAD,
            's0: resolve it',
            '4 more',
            'server show s4',
            '--issues --holder h1',
        )
        for server in servers:
            server['issues'][0]['id'] = 'old-key'
        self.check(diagnosis.custody(known(servers=servers[:2])), WARN)
        self.check(
            diagnosis.custody(known(servers=errors.Forbidden('FORBIDDEN'))),
            WARN,
            'not checked: [FORBIDDEN]',
        )

    def test_what_is_shown_is_one_plain_line(self) -> None:
        nasty = host(tier='none', reasons=['\x1b[2Jx\nok  trust'])
        for one in diagnosis.diagnose(known(host=nasty)):
            self.assertNotIn('\x1b', one.text)
            self.assertNotIn('\n', one.text)


class ServerTest(Case):
    def of(self, **changed: Any) -> dict[str, checks.Result]:
        server = Answer(
            {
                'instance': SERVER,
                'state': 'held',
                'holder': 'h1',
                **changed,
            }
        )
        return {
            one.id: one
            for one in diagnosis.of_server(server, {'h1': host()}, NOW)
        }

    def test_it_may_leave(self) -> None:
        found = self.of()
        self.check(found['key'], OK, 'h1 holds it')
        self.check(found['source'], OK)

    def test_it_may_not(self) -> None:
        for state, word in (
            ('pending', '[CUSTODY_PENDING]'),
            ('disputed', '[CUSTODY_DISPUTED]'),
            ('behind', '[LEDGER_BEHIND]'),
            ('forked', '[LEDGER_FORKED]'),
        ):
            self.check(
                self.of(state=state)['key'], BAD, word, f'show {SERVER}'
            )
        self.check(
            self.of(state='released', holder=None)['key'],
            BAD,
            f'reboot --hard {SERVER}',
        )
        self.check(self.of(holder='h9')['source'], BAD, 'h9')

    def test_destinations(self) -> None:
        for changed, level, word in (
            ({}, OK, 'trusted'),
            ({'status': 'pending'}, BAD, 'it is pending'),
            (
                {'tier': 'none', 'reasons': ['RESULT_EXPIRED']},
                BAD,
                '[RESULT_EXPIRED]',
            ),
            ({'tier': 'none'}, BAD, 'its tier is none'),
            ({'enforcing': False}, BAD, 'does not count'),
            ({'streams': 'CERTIFICATE_MISSING'}, BAD, 'CERTIFICATE_MISSING'),
            ({'certificate': None, 'streams': None}, WARN, 'certificate'),
        ):
            self.check(
                diagnosis.of_destination(host('h2', **changed), NOW),
                level,
                word,
            )


class CommandsTest(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        now = time.time()
        self.h1 = self.young('h1')
        token = jwt.encode(
            {'iat': now - 20, 'exp': now + 160}, 'x' * 32, algorithm='HS256'
        )
        self.answer('GET', '/', {'versions': []})
        self.answer('GET', '/v1/hosts/h1', self.h1)
        self.answer('GET', '/v1/results/h1', {'token': token, 'findings': []})
        self.answer('GET', '/v1/servers', {'servers': [], 'next': ''})
        self.held = {'instance': SERVER, 'state': 'held', 'holder': 'h1'}
        self.answer('GET', f'/v1/servers/{SERVER}', self.held)
        self.hosts(self.h1, self.young('h2'), self.young('h3', tier='none'))

    def young(self, name: str, **changed: Any) -> Answer:
        now = time.time()
        return host(
            name,
            **{
                'last_attested': now - 20,
                'certificate': {'until': now + 7200},
                **changed,
            },
        )

    def hosts(self, *found: Answer) -> None:
        self.answer('GET', '/v1/hosts', {'hosts': list(found)})

    def test_diagnose(self) -> None:
        rows = self.run_json(diagnose.DiagnoseHost, 'h1')
        self.assertEqual({'ok', 'warn'}, {row['Level'] for row in rows}, rows)
        self.assertEqual({'Level', 'Check', 'Found', 'Advice'}, rows[0].keys())

    def test_diagnose_as_a_table(self) -> None:
        printed = self.run_command(diagnose.DiagnoseHost, 'h1', '-f', 'table')
        self.assertIn('enforcement', printed)

    def test_something_is_bad(self) -> None:
        self.answer('GET', '/v1/hosts/h1', {**self.h1, 'enforcer': None})
        rows = self.run_json(diagnose.DiagnoseHost, 'h1', code=2)
        self.assertEqual(
            ['enforcement'],
            [row['Check'] for row in rows if row['Level'] == 'bad'],
        )

    def test_unknown_host(self) -> None:
        refusal = {'reason': 'HOST_UNKNOWN', 'message': 'x', 'details': {}}
        self.answer('GET', '/v1/hosts/h9', {'error': refusal}, 404)
        rows = self.run_json(diagnose.DiagnoseHost, 'h9', code=2)
        self.assertIn('hypervisor list', rows[0]['Advice'])

    def test_without_all_roles(self) -> None:
        refusal = {'reason': 'FORBIDDEN', 'message': 'x', 'details': {}}
        for path in ('/v1/servers', '/v1/results/h1'):
            self.answer('GET', path, {'error': refusal}, 403)
        rows = self.run_json(diagnose.DiagnoseHost, 'h1')
        self.assertIn('FORBIDDEN', rows[-1]['Found'])

    def test_no_service(self) -> None:
        self.answer('GET', '/v1/hosts/h1', {}, 503)
        self.assertRaises(
            exceptions.CommandError,
            self.run_json,
            diagnose.DiagnoseHost,
            'h1',
        )

    def test_check(self) -> None:
        rows = self.run_json(diagnose.CheckServer, SERVER)
        self.assertEqual(
            [
                ('key', 'ok'),
                ('source', 'ok'),
                ('h2', 'ok'),
                ('h3', 'bad'),
            ],
            [(row['Check'], row['Level']) for row in rows],
        )

    def test_check_one(self) -> None:
        for name, code in (('h2', 0), ('h3', 2), ('h9', 2), ('h1', 0)):
            self.app.stdout.truncate(0)
            self.app.stdout.seek(0)
            rows = self.run_json(
                diagnose.CheckServer, SERVER, '--host', name, code=code
            )
            self.assertEqual(name, rows[-1]['Check'])

    def test_nowhere_to_go(self) -> None:
        self.hosts(self.h1, self.young('h3', tier='none'))
        self.run_json(diagnose.CheckServer, SERVER, code=2)

    def test_it_cannot_leave(self) -> None:
        self.answer(
            'GET',
            f'/v1/servers/{SERVER}',
            {**self.held, 'state': 'disputed'},
        )
        self.run_json(diagnose.CheckServer, SERVER, code=2)
