# SPDX-License-Identifier: Apache-2.0
import argparse
import io
import time

import fixtures
import jwt
import requests
from osc_lib import exceptions

from korora_nova.osc import (
    base,
    host,
    migration,
    plugin,
    receipt,
    reference,
    result,
)
from tests.unit.osc.base import URL, CommandTest

HOST = {
    'name': 'h1',
    'status': 'approved',
    'ek_hash': 'ab' * 32,
    'ak_name': '000b' + 'cd' * 32,
    'srk_name': '000b' + 'ef' * 32,
    'enrolled_at': 0,
    'last_attested': 86400.0,
    'offline': {'until': 86460.0, 'servers': 3},
    'enforcing': True,
    'enforcer': {
        'driver': 'korora.Driver',
        'version': '1',
        'drift': '',
        'heard_at': 1.5,
    },
    'tier': 'contraindicated',
    'reasons': ['PCR_NOT_GOLDEN', 'IMA_UNKNOWN_FILE'],
}
MIGRATION = {
    'id': '1b3f',
    'instance': '9a',
    'source': 'h1',
    'dest': 'h2',
    'kind': 'cold',
    'status': 'moving',
    'source_word': 'kept',
    'dest_word': None,
    'epoch': 2,
    'receipt': None,
    'created_at': 60,
}
SIGNING_KEY = 'x' * 32


def signed(**claims: object) -> str:
    return jwt.encode(claims, SIGNING_KEY, algorithm='HS256')


#: What verifiers say, and how people see it.
SOURCES = [
    {
        'source': 'keylime',
        'required': True,
        'proof': True,
        'tier': 'none',
        'reasons': ['SOURCE_STALE'],
        'subject': 'd432fbb3',
        'issued': 0.0,
        'expires': 60.0,
    },
    {
        'source': 'static',
        'required': False,
        'proof': False,
        'tier': 'affirming',
        'reasons': [],
        'subject': '',
        'issued': 0.0,
        'expires': 0.0,
    },
]
READABLE = (
    'keylime (required): none SOURCE_STALE, as d432fbb3, '
    'until 1970-01-01T00:01:00Z',
    'static (advisory, NO PROOF): affirming',
)


class TestHost(CommandTest):
    def test_list(self) -> None:
        self.answer('GET', '/v1/hosts', {'hosts': [HOST]})
        self.assertEqual(
            [
                {
                    'Name': 'h1',
                    'Status': 'approved',
                    'Tier': 'contraindicated',
                    'Enforcing': True,
                    'Last Attested': '1970-01-02T00:00:00Z',
                    'Offline Window': '3 servers until 1970-01-02T00:01:00Z',
                    'Reasons': ['PCR_NOT_GOLDEN', 'IMA_UNKNOWN_FILE'],
                    'EK Hash': 'ab' * 32,
                }
            ],
            self.run_json(host.ListHost),
        )

    def test_list_as_a_table(self) -> None:
        self.answer('GET', '/v1/hosts', {'hosts': [HOST]})
        printed = self.run_command(host.ListHost, '-f', 'table')
        self.assertIn('PCR_NOT_GOLDEN, IMA_UNKNOWN_FILE', printed)

    def test_list_one_column_as_csv(self) -> None:
        self.answer('GET', '/v1/hosts', {'hosts': [HOST]})
        printed = self.run_command(
            host.ListHost, '-f', 'csv', '-c', 'Name', '--quote', 'none'
        )
        self.assertEqual(['Name', 'h1'], printed.split())

    def test_a_host_that_never_attested(self) -> None:
        bare = {'name': 'h2', 'status': 'preloaded', 'ek_hash': 'ab' * 32}
        self.answer('GET', '/v1/hosts', {'hosts': [bare]})
        shown = self.run_json(host.ListHost)[0]
        self.assertIsNone(shown['Tier'])
        self.assertIsNone(shown['Last Attested'])
        self.assertIsNone(shown['Offline Window'])

    def test_show(self) -> None:
        self.answer('GET', '/v1/hosts/h1', HOST)
        shown = self.run_json(host.ShowHost, 'h1')
        self.assertEqual('1970-01-01T00:00:00Z', shown['enrolled_at'])
        self.assertEqual(HOST['ak_name'], shown['ak_name'])
        self.assertEqual('korora.Driver 1', shown['enforcer'])
        self.assertIsNone(shown['certificate'])

    def test_show_what_other_verifiers_say(self) -> None:
        self.answer('GET', '/v1/hosts/h1', {**HOST, 'sources': SOURCES})
        self.assertEqual(
            SOURCES, self.run_json(host.ShowHost, 'h1')['sources']
        )
        printed = self.run_command(host.ShowHost, 'h1', '-f', 'table')
        for line in READABLE:
            self.assertIn(f'| {line}', printed)

    def test_show_a_certificate(self) -> None:
        known = {'name': 'x.korora.invalid', 'until': 60, 'serial': '1'}
        self.answer('GET', '/v1/hosts/h1', {**HOST, 'certificate': known})
        self.assertEqual(
            'x.korora.invalid until 1970-01-01T00:01:00Z',
            self.run_json(host.ShowHost, 'h1')['certificate'],
        )

    def test_show_a_driver_that_refuses(self) -> None:
        said = {**HOST['enforcer'], 'drift': '[NOVA_DRIFT] spawn'}
        self.answer('GET', '/v1/hosts/h1', {**HOST, 'enforcer': said})
        self.assertEqual(
            'korora.Driver 1: [NOVA_DRIFT] spawn',
            self.run_json(host.ShowHost, 'h1')['enforcer'],
        )

    def test_show_a_host_without_driver(self) -> None:
        self.answer('GET', '/v1/hosts/h1', {**HOST, 'enforcer': None})
        self.assertIsNone(self.run_json(host.ShowHost, 'h1')['enforcer'])

    def test_approve_sends_the_hash(self) -> None:
        self.answer('PUT', '/v1/hosts/h1/approval', HOST)
        shown = self.run_json(host.ApproveHost, 'h1', 'ab' * 32)
        self.assertEqual('approved', shown['status'])
        self.assertEqual({'ek_hash': 'ab' * 32}, self.http.last_request.json())

    def test_delete(self) -> None:
        self.answer('DELETE', '/v1/hosts/h1')
        self.assertEqual('', self.run_command(host.DeleteHost, 'h1', '--yes'))
        self.assertEqual('', self.http.last_request.query)
        self.run_command(host.DeleteHost, 'h1', '--force', '--yes')
        self.assertEqual('force=true', self.http.last_request.query)


class TestUncertified(CommandTest):
    def test_what_is_lost_is_said(self) -> None:
        said = io.StringIO()
        self.useFixture(fixtures.MonkeyPatch('sys.stderr', said))
        self.answer(
            'PUT', '/v1/hosts/h1/approval', {**HOST, 'certified': False}
        )
        self.run_json(host.ApproveHost, 'h1', 'ab' * 32, '--uncertified')
        self.assertEqual(
            {'ek_hash': 'ab' * 32, 'uncertified': True},
            self.http.last_request.json(),
        )
        self.assertIn('No TPM maker vouches for h1', said.getvalue())

    def test_others_are_approved_as_ever(self) -> None:
        self.answer(
            'PUT', '/v1/hosts/h1/approval', {**HOST, 'certified': True}
        )
        self.run_json(host.ApproveHost, 'h1', 'ab' * 32)
        self.assertEqual({'ek_hash': 'ab' * 32}, self.http.last_request.json())


class TestErrors(CommandTest):
    def test_a_refusal_shows_its_reason_id(self) -> None:
        error = {
            'code': 409,
            'reason': 'IDENTITY_CONFLICT',
            'message': 'The hash differs.',
            'details': {},
        }
        self.answer('PUT', '/v1/hosts/h1/approval', {'error': error}, code=409)
        exc = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            host.ApproveHost,
            'h1',
            'ab' * 32,
        )
        self.assertEqual('[IDENTITY_CONFLICT] The hash differs.', str(exc))

    def test_no_service(self) -> None:
        self.http.get(f'{URL}/v1/hosts', exc=requests.ConnectionError)
        exc = self.assertRaises(
            exceptions.CommandError, self.run_command, host.ListHost
        )
        self.assertIn('[SERVICE_UNAVAILABLE]', str(exc))


class TestResult(CommandTest):
    def one(self, expires: float) -> dict[str, object]:
        return {
            'host': 'h1',
            'tier': 'affirming',
            'reasons': [],
            'token': signed(iat=0, exp=expires),
        }

    def test_a_result_past_its_time_is_shown_as_expired(self) -> None:
        self.answer(
            'GET',
            '/v1/results',
            {'results': [self.one(60), self.one(time.time() + 60)]},
        )
        old, new = self.run_json(result.ListResult)
        self.assertTrue(old['Expired'])
        self.assertEqual('1970-01-01T00:01:00Z', old['Expires'])
        self.assertFalse(new['Expired'])

    def test_a_host_that_waits_for_approval_is_listed(self) -> None:
        waiting = {
            'host': 'h2',
            'tier': 'none',
            'token': None,
            'reasons': ['HOST_PENDING'],
        }
        self.answer('GET', '/v1/results', {'results': [waiting]})
        (shown,) = self.run_json(result.ListResult)
        self.assertEqual(
            ('h2', ['HOST_PENDING'], None),
            (shown['Host'], shown['Reasons'], shown['Expires']),
        )

    def test_a_result_without_readable_times_counts_as_expired(self) -> None:
        self.answer(
            'GET', '/v1/results/h1', {**self.one(60), 'token': 'rubbish'}
        )
        shown = self.run_json(result.ShowResult, 'h1')
        self.assertTrue(shown['expired'])
        self.assertIsNone(shown['issued'])

    FINDINGS = [
        {
            'reason': 'PCR_NOT_GOLDEN',
            'message': 'PCR 4 differs.',
            'details': {'rule': 'rules/1/pcrs'},
        },
        {
            'reason': 'IMA_UNKNOWN_FILE',
            'message': '/bin/x is unknown.',
            'details': {},
        },
    ]

    def test_findings_are_sentences_for_people(self) -> None:
        answer = {**self.one(time.time() + 60), 'findings': self.FINDINGS}
        self.answer('GET', '/v1/results/h1', answer)
        shown = self.run_json(result.ShowResult, 'h1')
        self.assertEqual(self.FINDINGS, shown['findings'])
        printed = self.run_command(result.ShowResult, 'h1', '-f', 'table')
        self.assertIn('| PCR_NOT_GOLDEN: PCR 4 differs.', printed)
        self.assertIn('| IMA_UNKNOWN_FILE: /bin/x is unknown.', printed)

    def test_the_token_is_shown_only_if_asked_for(self) -> None:
        answer = {**self.one(time.time() + 60), 'token': 'x' * 900}
        self.answer('GET', '/v1/results/h1', answer)
        for argv, shown in (
            ((), False),
            (('-f', 'value'), False),
            (('-f', 'yaml'), False),
            (('--token',), True),
            (('-f', 'value', '--token'), True),
            (('-f', 'value', '-c', 'token'), True),
            (('-f', 'json'), True),
        ):
            self.app.stdout.truncate(0)
            self.app.stdout.seek(0)
            printed = self.run_command(result.ShowResult, 'h1', *argv)
            self.assertEqual(shown, 'x' * 900 in printed, argv)
            if not shown:
                widest = max(map(len, printed.splitlines()))
                self.assertLess(widest, 130, argv)

    def test_service_of_an_earlier_release(self) -> None:
        self.answer('GET', '/v1/results/h1', self.one(60))
        shown = self.run_json(result.ShowResult, 'h1')
        self.assertEqual([], shown['findings'])
        self.assertEqual([], shown['sources'])

    def test_which_verifier_said_what(self) -> None:
        self.answer(
            'GET', '/v1/results/h1', {**self.one(60), 'sources': SOURCES}
        )
        shown = self.run_json(result.ShowResult, 'h1')
        self.assertEqual(SOURCES, shown['sources'])
        printed = self.run_command(result.ShowResult, 'h1', '-f', 'table')
        for line in READABLE:
            self.assertIn(f'| {line}', printed)


class TestReference(CommandTest):
    REFERENCE = {
        'name': 'gold',
        'pcrs': {'10': ['aa'], '0': ['bb', 'cc']},
        'ima_digests': ['d1', 'd2', 'd3'],
        'host': 'h1',
        'created_at': 60,
        'boot': {'components': [{'name': 'shim'}, {'name': 'grub'}]},
        'firmware_version': 0x2019102300163636,
    }

    def test_create(self) -> None:
        self.answer('POST', '/v1/references', self.REFERENCE)
        shown = self.run_json(
            reference.CreateReference, 'gold', '--host', 'h1'
        )
        self.assertEqual(
            {
                'name': 'gold',
                'host': 'h1',
                'pcrs': [0, 10],
                'ima_digests': 3,
                'components': 2,
                'firmware': '0x2019102300163636',
                'created_at': '1970-01-01T00:01:00Z',
            },
            shown,
        )
        self.assertEqual(
            {'name': 'gold', 'host': 'h1'}, self.http.last_request.json()
        )

    def test_list_and_show(self) -> None:
        self.answer('GET', '/v1/references', {'references': [self.REFERENCE]})
        self.answer('GET', '/v1/references/gold', self.REFERENCE)
        self.assertEqual(
            [
                {
                    'Name': 'gold',
                    'Host': 'h1',
                    'PCRs': [0, 10],
                    'IMA Digests': 3,
                    'Components': 2,
                    'TPM Firmware': '0x2019102300163636',
                    'Created At': '1970-01-01T00:01:00Z',
                }
            ],
            self.run_json(reference.ListReference),
        )
        self.app.stdout.truncate(0)
        self.app.stdout.seek(0)
        self.assertEqual(
            self.REFERENCE, self.run_json(reference.ShowReference, 'gold')
        )

    def test_list_of_an_earlier_release(self) -> None:
        brief = {
            'name': 'old',
            'pcrs': {},
            'ima_digest_count': 7,
            'components': None,
            'firmware_version': None,
        }
        self.answer('GET', '/v1/references', {'references': [brief]})
        shown = self.run_json(reference.ListReference)[0]
        self.assertEqual(7, shown['IMA Digests'])
        self.assertIsNone(shown['Components'])
        self.assertIsNone(shown['TPM Firmware'])

    def test_list_and_show_as_tables(self) -> None:
        self.answer('GET', '/v1/references', {'references': [self.REFERENCE]})
        self.answer('GET', '/v1/references/gold', self.REFERENCE)
        self.assertIn(
            '| 0, 10 |',
            self.run_command(reference.ListReference, '-f', 'table'),
        )
        self.assertIn(
            'd1, d2, d3',
            self.run_command(reference.ShowReference, 'gold', '-f', 'table'),
        )

    def test_delete(self) -> None:
        self.answer('DELETE', '/v1/references/gold')
        self.run_command(reference.DeleteReference, 'gold', '--yes')
        self.assertEqual('DELETE', self.http.last_request.method)


class TestMigration(CommandTest):
    def test_list(self) -> None:
        self.answer('GET', '/v1/migrations', {'migrations': [MIGRATION]})
        shown = self.run_json(migration.ListMigration)[0]
        self.assertEqual('moving', shown['Status'])
        self.assertEqual('kept', shown['Source Says'])
        self.assertEqual('cold', shown['Kind'])
        self.assertEqual('1970-01-01T00:01:00Z', shown['Created At'])

    def test_show(self) -> None:
        self.answer('GET', '/v1/migrations/1b3f', MIGRATION)
        shown = self.run_json(migration.ShowMigration, '1b3f')
        self.assertEqual('h2', shown['dest'])


class TestReceipt(CommandTest):
    def test_list(self) -> None:
        token = signed(version=3, outcome='committed', instance='9a', iat=60)
        self.answer('GET', '/v1/receipts', {'receipts': [token]})
        shown = self.run_json(receipt.ListReceipt, '--since', '2')[0]
        self.assertEqual(3, shown['Version'])
        self.assertEqual('committed', shown['Outcome'])
        self.assertEqual('1970-01-01T00:01:00Z', shown['Issued'])
        self.assertNotIn('Receipt', shown)
        self.assertEqual('since=2', self.http.last_request.query)

    def test_pages(self) -> None:
        self.http.get(
            f'{URL}/v1/receipts',
            [
                {'json': {'receipts': [signed(version=1)], 'next': 7}},
                {'json': {'receipts': [signed(version=2)], 'next': 7}},
            ],
        )
        shown = self.run_json(receipt.ListReceipt)
        self.assertEqual([1, 2], [one['Version'] for one in shown])
        self.assertEqual('since=7', self.http.last_request.query)

    def test_signed_form(self) -> None:
        token = signed(version=3)
        self.answer('GET', '/v1/receipts', {'receipts': [token]})
        shown = self.run_json(receipt.ListReceipt, '--signed')[0]
        self.assertEqual(token, shown['Receipt'])


class TestPlugin(CommandTest):
    def test_option(self) -> None:
        parser = plugin.build_option_parser(argparse.ArgumentParser())
        options = parser.parse_args([])
        self.assertEqual('1', getattr(options, plugin.API_VERSION_OPTION))
        self.assertIn('1', plugin.API_VERSIONS)

    def test_claims_of_nothing(self) -> None:
        self.assertEqual({}, base.unverified_claims(None))
        self.assertEqual({}, base.unverified_claims('rubbish'))
