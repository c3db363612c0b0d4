# SPDX-License-Identifier: Apache-2.0
"""Two processes, a crash between any two steps, a database of any kind."""

import time
from unittest import mock

from korora_nova import errors
from korora_nova.response.responder import LEASE
from korora_nova.verifier.responses import leader, lease
from tests.functional.response.base import (
    HOSTS,
    MariaDbTestCase,
    PostgreSqlTestCase,
    ResponseTestCase,
)


class Crash(BaseException):
    """The process ends here."""


class LeadersMixin:
    def leads(self, *processes):
        return [one.counters.leading for one in processes]

    def test_one_leads_and_the_other_takes_over(self):
        first, second = self.started(), self.all.process()
        self.all.turns(second)
        self.assertEqual([True, False], self.leads(first, second))
        self.all.lose(first, 'h1', results=2)
        # It is not heard of any more. The other one goes on where it was.
        self.now.advance(LEASE)
        self.all.good(*HOSTS[2:])
        self.all.bad('h1')
        self.all.turns(second)
        self.assertEqual(['h1'], list(self.nova.disabled()))
        self.all.turns(first)
        self.assertEqual([False, True], self.leads(first, second))

    def test_who_stops_lets_the_other_lead_at_once(self):
        first, second = self.started(), self.all.process()
        stop = mock.Mock(is_set=mock.Mock(side_effect=[False, True]))
        first.run(stop, 1.0)
        self.all.turns(second)
        self.assertTrue(second.counters.leading)

    def test_an_old_leader_writes_nothing(self):
        first, second = self.started(), self.all.process()
        self.all.lose(first, 'h1', results=2)
        self.now.advance(LEASE)
        self.all.turns(second)
        # By its own clock, which stood still, it leads.
        first.lease._until = self.now() + LEASE
        for call in (leader.work, leader.time):
            first.lease.term = 1
            self.assertRaises(lease.NotLeader, call, first.lease)
        self.assertIsNone(first.lease.term)

    def test_a_term_that_is_there_twice(self):
        """The database was restored, and another one leads by it."""
        first, second = self.started(), self.all.process()
        with first.lease.transaction() as (_, row):
            row.holder, row.term, row.until = 'x', row.term - 1, 0.0
        self.all.turns(second)
        self.assertEqual(first.lease.term, second.lease.term)
        self.assertRaises(lease.NotLeader, leader.work, first.lease)
        self.assertEqual([], leader.work(second.lease))

    def test_what_was_begun_in_another_term_is_left(self):
        first, second = self.started(), self.all.process()
        self.now.advance(LEASE)
        self.all.turns(second)
        self.now.advance(LEASE)
        self.assertRaises(lease.NotLeader, first.lease.require, 1.0)
        # It leads anew; what it was at is another one's.
        first.lease.require(1.0)

    def test_an_old_leader_asks_nova_for_nothing(self):
        """It hung between its decision and its request."""
        first, second = self.started(), self.all.process()
        hung = []

        def hang(method, path):
            if not hung:
                hung.append(path)
                self.now.advance(LEASE + 1)
                self.nova.before = lambda method, path: None
                self.all.turns(second)

        self.all.lose(first, 'h1', results=2)
        self.all.bad('h1')
        self.nova.before = hang
        self.all.turns(first)
        self.assertEqual([False, True], self.leads(first, second))
        self.all.turns(second, 20)
        # Whoever asked, it was asked once.
        self.assertEqual([('disabled', 'h1')], self.nova.calls)
        self.assertEqual('done', self.state('h1'))

    def test_a_clock_that_goes_back_stops_nobody_for_long(self):
        first, second = self.started(), self.all.process()
        self.all.turns(first)
        self.now.advance(-86400)
        self.all.turns(second)
        self.assertTrue(second.counters.leading)

    def test_crash_at_every_step(self):
        for step in ('look', 'work', 'begin', 'note', 'finish'):
            for after in (False, True):
                with self.subTest(step=step, after=after):
                    self.crash(step, after)

    def crash(self, step, after):
        real = getattr(leader, step)

        def fail(*args, **kwargs):
            if after:
                real(*args, **kwargs)
            raise Crash

        first = self.all.process()
        self.all.good(*HOSTS)
        self.all.turns(first, 2)
        self.nova.calls.clear()
        self.all.lose(first, 'h1', results=2)
        self.all.bad('h1')
        with mock.patch.object(leader, step, fail):
            self.assertRaises(Crash, first.turn)
        second = self.all.process()
        self.now.advance(LEASE)
        self.all.bad('h1')
        self.all.turns(second, 4)
        self.assertEqual(['h1'], list(self.nova.disabled()))
        self.assertEqual('done', self.state('h1'))
        self.assertEqual([('disabled', 'h1')], self.nova.calls)
        self.all.regain(second, 'h1')
        self.all.turns(second)
        self.assertEqual({}, self.nova.disabled())
        second.lease.give_up()


class TestLeaders(LeadersMixin, ResponseTestCase):
    pass


class TestLeadersMariaDb(LeadersMixin, MariaDbTestCase):
    pass


class TestLeadersPostgreSql(LeadersMixin, PostgreSqlTestCase):
    pass


class TimeMixin:
    def test_the_database_tells_the_time(self):
        with self.korora.service.db.read() as session:
            said = lease.database_time(session)
        self.assertLess(abs(said - time.time()), 60)

    def test_a_dead_database_is_no_loss_of_trust(self):
        made = self.started()
        self.all.lose(made, 'h1', results=2)
        with mock.patch.object(
            made.lease,
            '_take',
            side_effect=errors.Unavailable('DATABASE_UNAVAILABLE'),
        ):
            self.all.turns(made, 3)
        self.assertEqual({}, self.all.states())


class TestTime(TimeMixin, ResponseTestCase):
    pass


class TestTimeMariaDb(TimeMixin, MariaDbTestCase):
    pass


class TestTimePostgreSql(TimeMixin, PostgreSqlTestCase):
    pass
