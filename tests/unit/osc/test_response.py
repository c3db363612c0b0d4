# SPDX-License-Identifier: Apache-2.0
import io

import fixtures
from osc_lib import exceptions

from korora_nova.osc import response
from tests.unit.osc.base import CommandTest

WHY = ('--reason', 'a test')
HELD = {'since': 60.0, 'why': 'Too many.'}


def made(**changes):
    return {
        'id': 'r1',
        'host': 'h1',
        'driver': 'disable',
        'state': 'done',
        'reasons': ['PCR_NOT_GOLDEN'],
        'why': '',
        'detail': {'begun': True},
        'attempts': 0,
        'error': '',
        'created_at': 0.0,
        'updated_at': 60.0,
        'due_at': 60.0,
        'actor': '',
        'note': '',
        **changes,
    }


def page(*rows, hold=None, leads=True, after=''):
    return {
        'responses': list(rows),
        'hold': hold,
        'leader': {'name': 'x', 'leads': leads, 'until': 90.0},
        'next': after,
    }


class ResponseTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.said = self.useFixture(
            fixtures.MonkeyPatch('sys.stderr', io.StringIO())
        ).new_value
        self.useFixture(fixtures.MockPatchObject(response.time, 'sleep'))

    def states(self, *states):
        """What the service answers about r1, one after the other."""
        self.http.get(
            'https://attestation.example/v1/responses/r1',
            [{'json': made(state=state)} for state in states],
        )

    def test_list(self):
        self.answer('GET', '/v1/responses', page(made()))
        self.assertEqual(
            [
                {
                    'ID': 'r1',
                    'Host': 'h1',
                    'Driver': 'disable',
                    'State': 'done',
                    'Reasons': ['PCR_NOT_GOLDEN'],
                    'Why': '',
                    'Error': '',
                    'Since': '1970-01-01T00:00:00Z',
                }
            ],
            self.run_json(response.ListResponse),
        )
        self.assertEqual('', self.said.getvalue())

    def test_list_says_what_stands_above_all(self):
        self.answer('GET', '/v1/responses', page(hold=HELD, leads=False))
        self.assertEqual([], self.run_json(response.ListResponse))
        self.assertIn(
            'held since 1970-01-01T00:01:00Z: Too many.',
            self.said.getvalue(),
        )
        self.assertIn('No korora-enforcer runs', self.said.getvalue())

    def test_list_of_pages(self):
        pages = [page(made(), after='r1'), page(made(id='r2'))]
        self.http.get(
            'https://attestation.example/v1/responses',
            [{'json': one} for one in pages],
        )
        rows = self.run_json(response.ListResponse, '--all', '--host', 'h1')
        self.assertEqual(['r1', 'r2'], [row['ID'] for row in rows])
        self.assertEqual(
            ['all=true&host=h1', 'all=true&host=h1&marker=r1'],
            [one.query for one in self.http.request_history],
        )

    def test_show(self):
        self.states('done')
        shown = self.run_json(response.ShowResponse, 'r1')
        self.assertEqual({'begun': True}, shown['detail'])
        self.assertEqual('1970-01-01T00:01:00Z', shown['updated_at'])

    def test_decisions(self):
        for command, verb, state in (
            (response.ApproveResponse, 'approve', 'due'),
            (response.RejectResponse, 'reject', 'rejected'),
        ):
            for one in ('r1', 'r2'):
                self.answer(
                    'POST',
                    f'/v1/responses/{one}/{verb}',
                    made(id=one, state=state),
                )
            self.app.stdout = io.StringIO()
            rows = self.run_json(command, 'r1', 'r2', *WHY)
            self.assertEqual([state] * 2, [row['State'] for row in rows])
        self.assertEqual({'reason': 'a test'}, self.http.last_request.json())

    def listed(self, *pages):
        """What the service lists, one after the other."""
        self.http.get(
            'https://attestation.example/v1/responses',
            [{'json': one} for one in pages],
        )

    def test_revert_all_waits(self):
        rows = [made(state='undoing'), made(id='r2', state='rejected')]
        self.answer('POST', '/v1/responses/revert', page(*rows, hold=HELD))
        self.listed(page(made(state='undoing')), page(made(id='r3')))
        found = self.run_json(response.RevertResponse, '--all', *WHY)
        self.assertEqual(
            ['undone', 'rejected'], [row['State'] for row in found]
        )
        self.assertIn('response resume', self.said.getvalue())

    def test_revert_that_is_not_carried_out(self):
        self.answer('POST', '/v1/responses/r1/revert', made(state='undoing'))
        self.listed(page(made(state='undoing')))
        caught = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            response.RevertResponse,
            'r1',
            '--wait',
            '0.01',
            *WHY,
        )
        self.assertIn('1 responses are not carried out yet', str(caught))

    def test_revert_of_nothing_or_both(self):
        for names in ((), ('--all', 'r1')):
            self.assertRaises(
                exceptions.CommandError,
                self.run_command,
                response.RevertResponse,
                *names,
                *WHY,
            )
        self.assertEqual([], self.http.request_history)

    def test_resume(self):
        self.answer('POST', '/v1/responses/resume', page(made()))
        self.assertEqual(
            ['r1'],
            [
                row['ID']
                for row in self.run_json(response.ResumeResponse, *WHY)
            ],
        )

    def test_refused(self):
        error = {
            'code': 409,
            'reason': 'RESPONSE_STATE',
            'message': 'It is done.',
            'details': {},
        }
        self.answer('POST', '/v1/responses/r1/approve', {'error': error}, 409)
        caught = self.assertRaises(
            exceptions.CommandError,
            self.run_command,
            response.ApproveResponse,
            'r1',
            *WHY,
        )
        self.assertEqual('[RESPONSE_STATE] It is done.', str(caught))
