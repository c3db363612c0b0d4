# SPDX-License-Identifier: Apache-2.0
"""Policies before they count: proposed from hosts, tried on the fleet."""

import typing

import yaml
from osc_lib import exceptions

from korora_nova import starters
from korora_nova.osc import policy
from tests.unit.osc.base import URL
from tests.unit.osc.test_steps import StepTestCase

MADE = {
    'name': 'debian-13',
    'uuid': '1b3f',
    'revision': 1,
    'hosts': ['*'],
    'rules': ['ima'],
    'created_at': 0,
    'updated_at': 0,
}
GOLDEN = [
    {
        'host': name,
        'tier': 'contraindicated',
        'reasons': ['NO_REFERENCE'],
        'measured_at': 60.0,
        'digest': digit * 64,
        'admitted': True,
    }
    for name, digit in (('h1', '1'), ('h2', '2'))
]


def verdict(
    host: str, satisfied: bool | None, *reasons: str, tier: str = 'affirming'
) -> dict[str, object]:
    return {
        'host': host,
        'tier': tier,
        'satisfied': satisfied,
        'reasons': list(reasons),
    }


FLEET = [
    verdict('h1', True),
    verdict('h2', True),
    verdict('h3', False, 'IMA_UNKNOWN_FILE', 'COMMAND_LINE'),
    verdict('h4', False, 'IMA_UNKNOWN_FILE'),
    verdict('h5', False, 'COMMAND_LINE', tier='contraindicated'),
    verdict('x9', None, 'RESULT_MISSING', tier='none'),
]
PAGE = {
    'policy': 'debian-13',
    'golden': GOLDEN,
    'differences': [
        {
            'component': 'command line',
            'values': {'h1': 'ro quiet', 'h2': 'ro'},
        }
    ],
    'hosts': FLEET,
    'next': '',
}
CHECK = {'policy': 'debian-13', 'revision': 4, 'next': ''}
LEARN = ('--starter', 'debian-13', '--learn', 'h1', 'h2')


class ProposalTest(StepTestCase):
    def proposes(self, *pages: dict) -> None:
        self.answers('/v1/policy-proposals', *pages)
        self.answer('POST', '/v1/policies', MADE)

    def refused(self, *argv: str) -> str:
        exc = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            policy.CreatePolicy,
            *argv,
        )
        self.assertEqual([], self.created())
        return str(exc)

    def created(self) -> list[typing.Any]:
        return [
            one.json()
            for one in self.http.request_history
            if one.path == '/v1/policies'
        ]

    def learned(self, untrusted: bool = False) -> list[dict[str, object]]:
        return [
            {
                'host': one['host'],
                'name': f'debian-13-{one["host"]}',
                'digest': one['digest'],
                'untrusted': untrusted,
            }
            for one in GOLDEN
        ]

    def test_what_is_confirmed_is_created(self) -> None:
        """Just what was shown: by the digests of the golden hosts."""
        self.proposes(PAGE)
        self.typed('y\n')
        shown = self.run_json(policy.CreatePolicy, *LEARN)
        self.assertEqual('debian-13', shown['name'])
        text = (starters.find('debian-13') / 'appraisal.yaml').read_text()
        document = yaml.safe_load(text)
        asked = self.sent()[0]
        self.assertEqual(
            (document, ['h1', 'h2']), (asked['document'], asked['learn'])
        )
        self.assertEqual(
            [{'document': document, 'learn': self.learned()}], self.created()
        )
        said = self.said.getvalue()
        for part in (
            'Policy debian-13 for the hosts *.',
            'Rules: event-log, pcrs, secure-boot,',
            'Reference debian-13-h1: what h1 (contraindicated: NO_REFERENCE)',
            'Either is good: command line\n  h1: ro quiet\n  h2: ro\n',
            'tried on: 6. It holds for 2.',
            'Trusted now, and would not be: 2 (h3, h4).',
            'Not trusted now, nor under the policy: 2 (h5, x9).',
            'IMA_UNKNOWN_FILE: 2 (h3, h4)',
        ):
            self.assertIn(part, said)

    def test_nothing_is_created_unless_confirmed(self) -> None:
        for text in ('n\n', '', 'yes please\n'):
            self.proposes(PAGE)
            self.typed(text)
            self.assertIn('Nothing was done', self.refused(*LEARN))
        self.proposes(PAGE)
        self.silent()
        self.assertIn('--yes', self.refused(*LEARN))
        self.proposes(PAGE)
        self.assertIn('--yes', self.refused('--starter', 'debian-13'))

    def test_with_yes_what_was_seen_is_learned(self) -> None:
        self.proposes({**PAGE, 'next': 'h3'})
        self.silent()
        self.run_json(policy.CreatePolicy, *LEARN, '--yes')
        self.assertEqual(2, len(self.sent()))
        (made,) = self.created()
        self.assertEqual(self.learned(), made['learn'])

    def test_dry_run(self) -> None:
        self.proposes({**PAGE, 'hosts': FLEET[:3], 'next': 'h3'}, PAGE)
        shown = self.run_json(policy.CreatePolicy, *LEARN, '--dry-run')
        self.assertEqual(['', 'h3'], [one['marker'] for one in self.sent()])
        self.assertEqual([], self.created())
        self.assertEqual(
            {
                'name': 'debian-13',
                'golden': GOLDEN,
                'differences': PAGE['differences'],
                'hosts': 6,
                'satisfied': 2,
                'would_fall': ['h3', 'h4'],
                'untrusted': ['h5', 'x9'],
                'unknown': [],
            },
            {
                name: shown[name]
                for name in shown.keys() - {'document', 'reasons'}
            },
        )
        self.assertEqual('debian-13', shown['document']['name'])

    def test_dry_run_as_a_table(self) -> None:
        self.proposes(PAGE)
        printed = self.run_command(
            policy.CreatePolicy, *LEARN, '--dry-run', '-f', 'table'
        )
        self.assertIn('Either is good: command line', printed)
        self.assertIn('- secure-boot:', printed)

    def test_another_name(self) -> None:
        self.proposes({**PAGE, 'policy': 'mine'})
        self.typed('y\n')
        self.run_json(policy.CreatePolicy, 'mine', *LEARN)
        (made,) = self.created()
        self.assertEqual('mine', made['document']['name'])
        self.assertEqual('mine-h1', made['learn'][0]['name'])

    def test_a_host_named_twice_is_learned_once(self) -> None:
        self.proposes(PAGE)
        self.typed('y\n')
        self.run_json(policy.CreatePolicy, *LEARN, '--learn', 'h1')
        self.assertEqual(['h1', 'h2'], self.sent()[0]['learn'])

    def test_a_bad_host_is_not_learned_silently(self) -> None:
        bad = {**GOLDEN[1], 'admitted': False, 'reasons': ['IMA_VIOLATION']}
        page = {**PAGE, 'golden': [GOLDEN[0], bad]}
        for more in ((), ('--yes',)):
            self.proposes(page)
            said = self.refused(*LEARN, *more)
            self.assertIn('h2 is not affirming (IMA_VIOLATION)', said)
            self.assertNotIn('Do it?', self.said.getvalue())
        self.proposes(page)
        self.run_json(policy.CreatePolicy, *LEARN, '--untrusted', '--yes')
        (made,) = self.created()
        self.assertEqual(self.learned(untrusted=True), made['learn'])

    def test_a_host_that_changed_meanwhile(self) -> None:
        self.answers('/v1/policy-proposals', PAGE)
        error = {
            'code': 409,
            'reason': 'POLICY_CONFLICT',
            'message': 'It has shown something new.',
            'details': {},
        }
        self.answer('POST', '/v1/policies', {'error': error}, code=409)
        exc = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            policy.CreatePolicy,
            *LEARN,
            '--yes',
        )
        self.assertIn('[POLICY_CONFLICT]', str(exc))

    def test_an_answer_that_is_none(self) -> None:
        for page in ({}, {**PAGE, 'golden': None}, {**PAGE, 'hosts': [1]}):
            self.proposes(page)
            self.typed('y\n')
            self.assertIn('SERVICE_UNAVAILABLE', self.refused(*LEARN))

    def test_one_source_and_one_that_is_there(self) -> None:
        for argv in (
            [],
            ['--starter', 'debian-1'],
            ['--starter', 'debian-13', '--file', 'x'],
        ):
            parser = policy.CreatePolicy(self.app, None).get_parser('x')
            self.assertRaises(SystemExit, parser.parse_args, argv)


class CheckTest(StepTestCase):
    def page(self, *hosts: dict, marker: str = '') -> dict[str, object]:
        return {**CHECK, 'hosts': list(hosts), 'next': marker}

    def checks(self, *pages: dict) -> None:
        self.http.register_uri(
            'GET',
            URL + '/v1/policies/debian-13/check',
            [{'json': page} for page in pages],
        )

    def test_who_would_fall_by_reason(self) -> None:
        self.checks(self.page(*FLEET[:3], marker='h3'), self.page(*FLEET[3:]))
        shown = self.run_json(policy.CheckPolicy, 'debian-13', code=2)
        self.assertEqual(
            {
                'name': 'debian-13',
                'revision': 4,
                'hosts': 6,
                'satisfied': 2,
                'would_fall': ['h3', 'h4'],
                'untrusted': ['h5', 'x9'],
                'unknown': [],
                'reasons': {
                    'COMMAND_LINE': ['h3', 'h5'],
                    'IMA_UNKNOWN_FILE': ['h3', 'h4'],
                    'RESULT_MISSING': ['x9'],
                },
            },
            shown,
        )
        first, last = self.http.request_history
        self.assertEqual({'all': ['false']}, first.qs)
        self.assertEqual({'all': ['false'], 'marker': ['h3']}, last.qs)

    def test_a_fleet_that_stays_as_it_is(self) -> None:
        """Neither a host without trust nor one that waits is in the way."""
        self.checks(self.page(*FLEET[:2], *FLEET[4:]))
        shown = self.run_json(policy.CheckPolicy, 'debian-13', '--all')
        self.assertEqual([], shown['would_fall'])
        self.assertEqual({'all': ['true']}, self.http.request_history[0].qs)

    def test_nobody_is_there(self) -> None:
        self.checks(self.page())
        self.assertEqual(
            0, self.run_json(policy.CheckPolicy, 'debian-13')['hosts']
        )

    def test_what_cannot_be_known_is_not_good(self) -> None:
        self.checks(self.page(verdict('h1', None, 'INTERNAL')))
        shown = self.run_json(policy.CheckPolicy, 'debian-13', code=2)
        self.assertEqual(['h1'], shown['unknown'])

    def test_pages_that_come_round(self) -> None:
        """What was not looked at must not count as good."""
        self.checks(self.page(FLEET[0], marker='h1'))
        exc = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            policy.CheckPolicy,
            'debian-13',
        )
        self.assertIn('again and again', str(exc))

    def test_order_is_the_database_s(self) -> None:
        """Markers need not grow as Python compares text."""
        self.checks(
            self.page(verdict('b', True), marker='b'),
            self.page(verdict('C', False, 'COMMAND_LINE')),
        )
        shown = self.run_json(policy.CheckPolicy, 'debian-13', code=2)
        self.assertEqual((2, ['C']), (shown['hosts'], shown['would_fall']))

    def test_as_a_table(self) -> None:
        many = [verdict(f'h{n:02}', False, 'COMMAND_LINE') for n in range(30)]
        self.checks(self.page(*many))
        printed = self.run_command(
            policy.CheckPolicy, 'debian-13', '-f', 'table', code=2
        )
        self.assertIn('COMMAND_LINE: 30 (h00, ', printed)
        self.assertIn('and 22 more)', printed)

    def test_no_such_policy(self) -> None:
        error = {
            'code': 404,
            'reason': 'NOT_FOUND',
            'message': 'There is no policy debian-13.',
            'details': {},
        }
        self.answer(
            'GET',
            '/v1/policies/debian-13/check',
            {'error': error},
            code=404,
        )
        exc = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            policy.CheckPolicy,
            'debian-13',
        )
        self.assertIn('[NOT_FOUND]', str(exc))
