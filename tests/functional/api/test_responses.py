# SPDX-License-Identifier: Apache-2.0
"""What operators see of responses, and order; while a process carries out."""

import json
import uuid

from tests.functional.api.test_concurrency import together
from tests.functional.response.base import (
    HOSTS,
    MariaDbTestCase,
    ResponseTestCase,
)

WHY = 'a test'


class OrdersMixin:
    def request(self, method, path, **kwargs):
        return self.korora.request(method, path, **kwargs)

    def order(self, path, roles='admin', **body):
        return self.request(
            'POST',
            f'/v1/responses/{path}',
            roles=roles,
            body=json.dumps(body).encode(),
            content_type='application/json',
        )

    def test_nothing(self):
        page = self.request('GET', '/v1/responses').json
        self.assertEqual(
            {
                'responses': [],
                'hold': None,
                'leader': {'name': '', 'leads': False, 'until': 0.0},
                'next': '',
            },
            page,
        )

    def test_what_does_not_exist(self):
        gone = uuid.uuid4()
        for answer in (
            self.request('GET', f'/v1/responses/{gone}'),
            self.request('GET', f'/v1/responses?marker={gone}'),
            *(
                self.order(f'{gone}/{verb}', reason=WHY)
                for verb in ('approve', 'reject', 'revert')
            ),
        ):
            self.assertEqual(
                (404, 'RESPONSE_UNKNOWN'),
                (answer.status_code, answer.json['error']['reason']),
            )

    def test_malformed(self):
        gone = uuid.uuid4()
        for answer in (
            self.request('GET', '/v1/responses?all=yes'),
            self.request('GET', '/v1/responses?limit=0'),
            self.request('GET', '/v1/responses?state=due'),
            self.order('revert'),
            self.order('resume', reason=''),
            self.order('resume', reason=WHY, force=True),
            self.order(f'{gone}/approve'),
        ):
            self.assertEqual(400, answer.status_code, answer.json)

    def test_what_the_state_does_not_admit(self):
        made = self.started()
        self.all.lose(made, 'h1')
        one = self.one('h1')
        self.assertEqual('done', one['state'])
        for verb in ('reject',):
            answer = self.order(f'{one["id"]}/{verb}', reason=WHY)
            self.assertEqual(
                (409, 'RESPONSE_STATE', 'done'),
                (
                    answer.status_code,
                    answer.json['error']['reason'],
                    answer.json['error']['details']['state'],
                ),
            )
        self.all.regain(made, 'h1')
        for verb in ('approve', 'reject'):
            answer = self.order(f'{one["id"]}/{verb}', reason=WHY)
            self.assertEqual(409, answer.status_code)
        # Undone is undone.
        self.assertEqual(
            200, self.order(f'{one["id"]}/revert', reason=WHY).status_code
        )

    def test_each_order_is_audited_once(self):
        made = self.started(approval=True)
        self.all.lose(made, 'h1')
        one = self.one('h1')['id']
        for _ in range(2):
            self.order(f'{one}/approve', reason=WHY)
            self.order('revert', reason=WHY)
            self.order('resume', reason=WHY)
            self.order('resume', reason=WHY)
        self.assertEqual(
            {
                ('response disable due', 'h1'): 1,
                ('response disable rejected', 'h1'): 1,
                ('responses reverted', '*'): 2,
                ('responses resumed', '*'): 2,
            },
            self.counted('user'),
        )

    def counted(self, actor):
        found = {}
        for who, action, subject in self.all.audit():
            if who == actor and 'told' not in action:
                key = action, subject
                found[key] = found.get(key, 0) + 1
        return found

    def test_revert_before_it_was_begun(self):
        made = self.started()
        self.nova.broken = 503
        self.all.lose(made, 'h1', 'h2')
        states = {
            one['host']: one['state']
            for one in self.admin.revert_responses(WHY)['responses']
            if one['driver'] == 'disable'
        }
        # Of the one that Nova was asked for nobody knows what came of it.
        self.assertEqual(
            ['rejected', 'undoing'], sorted(states.values()), states
        )
        self.nova.broken = 0
        self.all.turns(made, 9)
        self.assertEqual({}, self.nova.disabled())
        self.assertEqual([], self.nova.calls)

    def test_hold_until_resume(self):
        made = self.started()
        self.admin.revert_responses(WHY)
        self.all.lose(made, 'h1')
        self.assertEqual('waiting', self.one('h1')['state'])
        page = self.admin.resume_responses(WHY)
        self.assertIsNone(page['hold'])
        self.all.turns(made, 3)
        self.assertEqual('waiting', self.one('h1')['state'])
        self.all.lose(made, 'h2')
        self.assertEqual('done', self.one('h2')['state'])


class TestOrders(OrdersMixin, ResponseTestCase):
    pass


class TestOrdersMariaDb(OrdersMixin, MariaDbTestCase):
    def test_at_once(self):
        """Operators and the process: all that was done is undone."""
        made = self.started(max_share=1.0, max_hosts=99)
        for _ in range(2):
            self.all.bad(*HOSTS)
            self.all.turns(made)
        self.all.bad(*HOSTS)
        together(
            made.turn,
            *[lambda: self.admin.revert_responses(WHY)] * 3,
        )
        self.admin.revert_responses(WHY)
        self.all.turns(made, 3)
        self.assertEqual({}, self.nova.disabled())
        # Whichever came first.
        self.assertLessEqual(
            {
                state
                for (host, driver), state in self.all.states().items()
                if driver == 'disable'
            },
            {'rejected', 'undone'},
        )
