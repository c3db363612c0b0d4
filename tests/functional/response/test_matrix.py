# SPDX-License-Identifier: Apache-2.0
"""Every bad day that the administration guide has comes out as it says."""

import inspect
import pathlib
import re
from unittest import mock

from korora_nova import errors
from korora_nova.response.responder import LEASE
from korora_nova.verifier.db import models
from korora_nova.verifier.responses import leader
from tests.functional.response import test_leaders
from tests.functional.response.base import HOSTS, ResponseTestCase

GUIDE = (
    pathlib.Path(__file__).resolve().parents[3]
    / 'doc/source/admin/response.rst'
)
WHY = 'a test'
MARK = re.compile(r'korora response [0-9a-f-]{36}: PCR_NOT_GOLDEN')
DOWN = errors.Unavailable('DATABASE_UNAVAILABLE')


def rows():
    """What happens, in the order of the guide."""
    table = GUIDE.read_text().partition('.. response-matrix')[2]
    table = table.partition('\nWebhooks\n')[0]
    found = re.findall(r'^   \* - (.*)$', table, re.M)
    assert found.pop(0) == 'What happens'
    return found


class TestMatrix(ResponseTestCase):
    """One test for each row; T23 is among them."""

    def test_the_guide_has_what_is_tested_here(self):
        tested = [
            function.__doc__
            for name, function in inspect.getmembers(
                type(self), inspect.isfunction
            )
            if name.startswith('test_day_')
        ]
        self.assertEqual(sorted(rows()), sorted(tested))
        self.assertGreater(len(tested), 20)

    def assertUntouched(self):
        self.assertEqual([], self.nova.calls)

    def assertMarked(self, *hosts):
        found = self.nova.disabled()
        self.assertEqual(sorted(hosts), sorted(found))
        for reason in found.values():
            self.assertRegex(reason, MARK)

    def lost(self, *hosts, **settings):
        """A process that has responded to these hosts."""
        made = self.started(**settings)
        self.all.lose(made, *(hosts or ('h1',)))
        return made

    def held(self):
        return next(iter(self.admin.response_pages()))['hold']

    def test_day_policy(self):
        """A policy is wrong, and all hosts are bad"""
        made = self.started()
        for _ in range(3):
            # Each host attests in its own time.
            for host in HOSTS:
                self.all.bad(host)
                self.all.turns(made)
        self.assertUntouched()
        self.assertIn('6 of 6 hosts', self.held()['why'])
        self.assertIn(('lost', '*'), self.told.events)
        self.admin.revert_responses(WHY)
        self.all.turns(made, 3)
        self.assertEqual(
            set(),
            {
                row['driver']
                for row in self.admin.list_responses()
                if row['host'] != '*'
            },
        )
        self.all.regain(made, *HOSTS)
        self.admin.resume_responses(WHY)
        self.all.turns(made)
        self.assertIsNone(self.held())
        self.assertIn(('back', '*'), self.told.events)
        self.assertUntouched()
        self.all.lose(made, 'h1')
        self.assertMarked('h1')

    def test_day_approved(self):
        """An operator approved what was wrong"""
        made = self.lost(*HOSTS)
        self.nova.set('h5', 'disabled', 'mine')
        for host in HOSTS:
            self.admin.approve_response(self.one(host)['id'], WHY)
        self.all.turns(made)
        self.assertEqual(6, len(self.nova.disabled()))
        shown = self.admin.revert_responses(WHY)['responses']
        self.assertEqual(
            {'undoing'},
            {row['state'] for row in shown if row['driver'] == 'disable'},
        )
        self.all.turns(made)
        self.assertEqual({'h5': 'mine'}, self.nova.disabled())
        # The policy is as wrong as it was: nothing begins anew.
        for _ in range(4):
            self.all.bad(*HOSTS)
            self.all.turns(made)
        self.assertEqual({'h5': 'mine'}, self.nova.disabled())
        self.assertIsNotNone(self.held())

    def test_day_flapping(self):
        """A host flaps"""
        made = self.started()
        for _ in range(9):
            self.all.bad('h1')
            self.all.turns(made)
            self.all.bad('h1')
            self.all.turns(made)
            self.all.good('h1')
            self.all.turns(made)
        self.assertUntouched()

    def test_day_silent(self):
        """A host is silent"""
        made = self.started()
        for _ in range(99):
            self.all.good(*HOSTS[1:])
            self.all.turns(made, seconds=60)
        self.assertUntouched()
        self.assertEqual(1, made.counters.silent)

    def test_day_service(self):
        """The service is dead, and all results expire"""
        made = self.lost()
        self.all.turns(made, 99, seconds=600)
        self.assertMarked('h1')
        self.assertEqual(6, made.counters.silent)

    def test_day_database(self):
        """The database is dead"""
        made = self.lost()
        with mock.patch.object(made.lease, '_take', side_effect=DOWN):
            self.all.turns(made, 9)
        self.assertMarked('h1')
        self.all.regain(made, 'h1')
        self.assertMarked()

    def test_day_restored(self):
        """The database is restored from a backup"""
        made = self.lost()
        with self.korora.service.db.write() as session:
            session.query(models.Response).delete()
            session.query(models.ResponseHost).update({'lost': False})
        self.now.advance(600)
        self.all.turns(made, 2)
        self.assertMarked('h1')
        self.assertEqual('done', self.state('h1'))
        self.all.bad('h1')
        self.all.turns(made)
        self.assertMarked('h1')
        self.all.regain(made, 'h1')
        self.all.turns(made)
        self.assertEqual('undone', self.state('h1'))
        self.assertMarked()

    def test_day_two(self):
        """Two processes run"""
        first, second = self.started(), self.all.process()
        for _ in range(3):
            self.all.bad('h1')
            self.all.turns(first)
            self.all.turns(second)
        self.assertEqual([('disabled', 'h1')], self.nova.calls)
        self.assertEqual([('lost', 'h1')], self.told.events)

    def test_day_leader(self):
        """The leader dies"""
        made, other = self.started(), self.all.process()
        self.all.lose(made, 'h1', results=2)
        self.now.advance(LEASE)
        self.all.lose(other, 'h1', results=1)
        self.assertMarked('h1')

    def test_day_hangs(self):
        """The leader hangs, and comes back"""
        first, second = self.started(), self.all.process()
        self.all.lose(first, 'h1')
        marked = self.nova.disabled()['h1']
        self.now.advance(LEASE)
        self.all.regain(second, 'h1')
        self.assertMarked()
        # What the first one had asked for arrives only now.
        self.nova.set('h1', 'disabled', marked)
        self.all.turns(first)
        self.all.turns(second, 2)
        self.assertMarked()
        self.assertFalse(first.counters.leading)

    def test_day_dies(self):
        """The process dies between deciding and doing"""
        made = self.started()
        self.all.lose(made, 'h1', results=2)
        self.all.bad('h1')
        with mock.patch.object(leader, 'work', side_effect=test_leaders.Crash):
            self.assertRaises(test_leaders.Crash, made.turn)
        self.assertUntouched()
        self.now.advance(LEASE)
        self.all.turns(self.all.process())
        self.assertMarked('h1')

    def test_day_nova(self):
        """Nova is down"""
        made = self.started()
        self.nova.transport.down = True
        self.all.lose(made, 'h1')
        row = self.one('h1')
        self.assertEqual('due', row['state'])
        self.assertIn('NOVA_UNAVAILABLE', row['error'])
        self.nova.transport.down = False
        self.all.turns(made, 9)
        self.assertMarked('h1')

    def test_day_lost(self):
        """Nova answers, but a request is lost"""
        made = self.started()

        def lose(method, path):
            if method == 'PUT':
                self.nova.broken = 504

        self.nova.before = lose
        self.all.lose(made, 'h1')
        self.nova.before, self.nova.broken = lambda *_: None, 0
        self.all.turns(made, 9)
        self.assertMarked('h1')

    def test_day_before(self):
        """An administrator has disabled nova-compute before"""
        made = self.started()
        self.nova.set('h1', 'disabled', 'a new disk')
        self.all.lose(made, 'h1')
        self.assertEqual({'h1': 'a new disk'}, self.nova.disabled())
        self.assertIn('waits_for', self.one('h1')['detail'])
        self.nova.set('h1', 'enabled')
        self.all.turns(made, 15)
        self.assertMarked('h1')
        self.all.regain(made, 'h1')
        self.assertMarked()

    def test_day_enables(self):
        """An administrator enables what was disabled"""
        made = self.lost()
        self.nova.set('h1', 'enabled')
        for _ in range(9):
            self.all.bad('h1')
            self.all.turns(made)
        self.assertMarked()
        self.assertEqual('ended', self.state('h1'))
        self.all.regain(made, 'h1')
        self.all.lose(made, 'h1')
        self.assertMarked('h1')

    def test_day_other_reason(self):
        """An administrator disables it for another reason meanwhile"""
        made = self.lost()
        self.nova.set('h1', 'disabled', 'mine')
        self.all.regain(made, 'h1')
        self.all.turns(made, 3)
        self.assertEqual({'h1': 'mine'}, self.nova.disabled())

    def test_day_deleted(self):
        """The host is deleted in Nova"""
        made = self.lost()
        self.nova.forget('h1')
        self.all.turns(made, 3)
        self.all.regain(made, 'h1')
        self.assertEqual([], self.admin.list_responses())

    def test_day_forgotten(self):
        """The host is forgotten by the service"""
        made = self.lost()
        with self.korora.service.db.write() as session:
            session.delete(session.get(models.Host, 'h1'))
        self.all.turns(made, 9)
        self.assertMarked('h1')
        self.admin.revert_response(self.one('h1')['id'], WHY)
        self.all.turns(made)
        self.assertMarked()

    def test_day_ahead(self):
        """The clock jumps ahead"""
        made = self.started()
        self.all.lose(made, 'h1', results=2)
        self.now.advance(365 * 86400)
        self.all.turns(made, 9)
        self.assertUntouched()

    def test_day_back(self):
        """The clock jumps back"""
        made = self.started()
        self.all.lose(made, 'h1', results=2)
        self.now.advance(-365 * 86400)
        self.all.turns(made, 9)
        self.assertUntouched()
        self.all.good(*HOSTS)
        self.all.turns(made)
        self.all.lose(made, 'h1')
        self.assertMarked('h1')

    def test_day_lies(self):
        """A host lies"""
        self.lost('h1')
        self.assertMarked('h1')
        self.assertEqual({'h1'}, {host for host, _ in self.all.states()})

    def test_day_writes(self):
        """Somebody writes results into the database"""
        made = self.started()
        for _ in range(4):
            self.all.write('h1', tier='contraindicated', issued=self.now())
            self.all.turns(made)
        self.assertUntouched()

    def test_day_webhook(self):
        """The receiver of a webhook is down"""
        made = self.started()
        self.told.broken = errors.Unavailable('WEBHOOK_UNAVAILABLE')
        self.all.lose(made, 'h1')
        self.assertMarked('h1')
        self.told.broken = None
        self.all.turns(made, 20)
        self.assertEqual([('lost', 'h1')], self.told.events)

    def test_day_again(self):
        """Trust is lost again while it is undone"""
        made = self.lost()
        self.nova.broken = 503
        self.all.regain(made, 'h1')
        self.all.lose(made, 'h1')
        self.nova.broken = 0
        self.all.turns(made, 20)
        self.assertMarked('h1')
