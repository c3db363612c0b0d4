# SPDX-License-Identifier: Apache-2.0
"""A stream under way: its source waits for news, and gets them in time."""

import concurrent.futures
import contextlib
import threading
import time

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.verifier.custody import watching
from korora_nova.verifier.db import models
from tests.functional.api import base, test_custody

MIGRATION, OTHER = test_custody.MIGRATION, test_custody.OTHER
LOST = 'TRUST_LOST_IN_FLIGHT'
#: Seconds within which an answer comes that waits for nothing; those that
#: wait do so for 20.
SOON = 10.0


class WatchTestCase(test_custody.CustodyTestCase):
    """h1 streams to h2."""

    def setUp(self) -> None:
        super().setUp()
        self.started()
        self.pool = concurrent.futures.ThreadPoolExecutor(4)
        self.addCleanup(self.pool.shutdown)

    def watch(self, wait=0.0, heard=0.0, migration=MIGRATION, host=None):
        api = (host or self.source).api
        return api.watch_migration(migration, wait=wait, heard=heard)

    def waiting(self, **more):
        """A request that waits, and has begun to."""
        looked, look = threading.Event(), watching.look

        def see(*args):
            looked.set()
            return look(*args)

        with contextlib.ExitStack() as stack:
            stack.callback(setattr, watching, 'look', look)
            watching.look = see
            waiting = self.pool.submit(self.watch, 20.0, **more)
            self.assertTrue(looked.wait(10))
        return waiting

    def answer(self, waiting):
        try:
            return waiting.result(SOON)
        except concurrent.futures.TimeoutError:
            self.fail('the stream goes on')

    def assert_lost(self, answer, host='h2', *reasons):
        self.assertEqual((LOST, host), (answer['reason'], answer['host']))
        if reasons:
            self.assertEqual(list(reasons), answer['reasons'])

    def assert_goes_on(self, answer):
        self.assertEqual('', answer['reason'], answer)

    def turns_bad(self, host):
        host.measure('/tmp/rootkit')
        host.attest_now()

    def audited(self, action='trust lost'):
        table = models.Audit
        with self.korora.service.db.read() as session:
            return session.execute(
                sa.select(table.actor, table.subject, table.note).where(
                    table.action == action
                )
            ).all()


class TestWatch(WatchTestCase):
    def test_goes_on(self):
        self.assert_goes_on(self.watch())
        began = time.monotonic()
        self.assert_goes_on(self.watch(wait=0.7))
        self.assertGreater(time.monotonic() - began, 0.6)

    def test_destination_turns_bad(self):
        """T13: the destination changes after it was checked."""
        waiting = self.waiting()
        self.turns_bad(self.dest)
        known = time.monotonic()
        self.assert_lost(self.answer(waiting), 'h2', 'IMA_UNKNOWN_FILE')
        self.assertLess(time.monotonic() - known, SOON)

    def test_source_turns_bad(self):
        """T13: the guest stays where it is, on a bad host."""
        waiting = self.waiting()
        self.turns_bad(self.source)
        self.assert_lost(self.answer(waiting), 'h1', 'IMA_UNKNOWN_FILE')

    def test_it_is_noted_once(self):
        self.turns_bad(self.dest)
        for _ in range(2):
            self.assert_lost(self.watch())
        (row,) = self.audited()
        self.assertEqual(('h2', MIGRATION), (row.actor, row.subject))
        self.assertEqual(f'{test_custody.SERVER} IMA_UNKNOWN_FILE', row.note)
        shown = self.admin.get_migration(MIGRATION)
        self.assertEqual(['IMA_UNKNOWN_FILE', LOST], shown['taint'])
        self.assertEqual('moving', shown['status'])

    def test_operators(self):
        """What an operator decides of a host counts at once."""
        for decide in (
            lambda: self.admin.evict_host('h2', 'stolen'),
            lambda: self.admin.delete_host('h2', force=True),
        ):
            waiting = self.waiting()
            decide()
            self.assert_lost(self.answer(waiting))

    def test_another_tpm(self):
        self.admin.delete_host('h2', force=True)
        self.stranger('h2', ek='impostor').join(self.admin)
        self.assert_lost(self.watch(), 'h2', 'HOST_UNTRUSTED')

    def test_policy(self):
        """A change counts from the host's next attestation on."""
        self.admin.create_policy(
            {
                'version': 1,
                'name': 'strict',
                'hosts': ['h2'],
                'rules': [
                    {'pcrs': {'registers': [4, 7], 'references': True}},
                    {'secure-boot': {'enabled': True}},
                    {'ima': 'not-appraised'},
                ],
            }
        )
        self.assert_goes_on(self.watch())
        self.dest.attest_now()
        self.assert_lost(self.watch(), 'h2', 'SECURE_BOOT_OFF')

    def test_driver_is_of_no_use_any_more(self):
        self.dest.enforcer = self.dest.enforcer._replace(drift='NOVA_DRIFT')
        self.dest.attest_now()
        self.assert_lost(self.watch(), 'h2', 'ENFORCER_DRIFT')

    def test_source_is_given_up(self):
        """Its copy is dead: the guest had better arrive."""
        waiting = self.waiting()
        self.admin.evict_host('h1', 'it dies')
        answer = self.answer(waiting)
        self.assert_goes_on(answer)
        self.assertEqual(watching.SELDOM, answer['retry_after'])
        self.assertEqual([], self.audited())

    def test_operator_keeps_the_key_at_the_destination(self):
        """He has decided who gets the guest; nothing to end is left."""
        self.admin.resolve_migration(MIGRATION, 'destination', 'enough')
        self.turns_bad(self.dest)
        self.assert_goes_on(self.watch())

    def test_operator_keeps_the_key_at_the_source(self):
        waiting = self.waiting()
        self.admin.resolve_migration(MIGRATION, 'source', 'enough')
        self.assertEqual('MIGRATION_SPENT', self.answer(waiting)['reason'])
        self.assertEqual([], self.audited())

    def test_before_the_stream(self):
        """In the hand-over the gates refuse by themselves."""
        self.source.claim(OTHER)
        third = '00000000-0000-0000-0000-0000000000ff'
        permit = self.sealed_over(self.source, self.dest, OTHER, third)[1]
        self.assert_goes_on(self.watch(migration=third))
        self.turns_bad(self.dest)
        with self.refused('HOST_UNTRUSTED'):
            self.source.start(permit)
        self.assert_lost(self.watch(migration=third))


class TestSilence(WatchTestCase):
    """The guest comes first: that nothing is heard ends nothing."""

    def expire(self):
        self.korora.clock.advance(181)

    def test_destination_is_silent(self):
        self.expire()
        self.source.attest_now()
        self.assert_goes_on(self.watch(heard=89))
        self.assert_lost(self.watch(heard=91), 'h2', 'RESULT_EXPIRED')

    def test_the_service_was_down(self):
        """All results are too old; whoever is there attests soon."""
        self.expire()
        self.assert_goes_on(self.watch(heard=0))
        waiting = self.waiting(heard=0)
        self.dest.attest_now()
        self.source.attest_now()
        self.assert_goes_on(self.watch(heard=91))
        self.assertFalse(waiting.done())
        self.turns_bad(self.dest)
        self.assert_lost(self.answer(waiting))

    def test_heard_grows_while_it_waits(self):
        self.expire()
        self.source.attest_now()
        self.assert_lost(self.watch(wait=5, heard=89.0), 'h2')

    def test_nova_compute_of_the_destination_is_silent(self):
        self.dest.enforcer = None
        self.dest.attest_now()
        self.assert_goes_on(self.watch(heard=1))
        self.assert_lost(self.watch(heard=91), 'h2', 'ENFORCER_ABSENT')

    def test_restored_database(self):
        """The hand-over is not known any more."""
        with self.korora.service.db.write() as session:
            session.execute(sa.delete(models.Migration))
        with self.refused('MIGRATION_UNKNOWN'):
            self.watch()

    def test_database_goes_down_while_it_waits(self):
        waiting = self.waiting()
        database = self.korora.service.db

        def read():
            raise errors.Unavailable('DATABASE_UNAVAILABLE')

        database.read = read
        exc = self.assertRaises(errors.Unavailable, self.answer, waiting)
        self.assertEqual('DATABASE_UNAVAILABLE', exc.reason)
        del database.read
        self.assert_goes_on(self.watch())

    def test_it_cannot_be_noted(self):
        """The source is told all the same."""
        self.turns_bad(self.dest)
        database = self.korora.service.db

        def write():
            raise errors.Unavailable('DATABASE_UNAVAILABLE')

        database.write = write
        self.addCleanup(delattr, database, 'write')
        self.assert_lost(self.watch())


class TestLiars(WatchTestCase):
    """I15: what a host says moves nothing beyond it."""

    def test_destination_that_says_it_has_the_guest(self):
        """Its word decides the hand-over, and does not hide what it is."""
        self.dest.state(MIGRATION, 'activated')
        self.assertEqual('committed', self.status())
        self.turns_bad(self.dest)
        self.assert_lost(self.watch())
        self.assertEqual([], self.audited())

    def test_destination_that_says_it_has_none(self):
        self.dest.state(MIGRATION, 'no_domain')
        self.assert_goes_on(self.watch())

    def test_another_host(self):
        """It can make itself untrusted, and nobody else."""
        third = self.host('h3')
        for word in ('no_domain', 'kept'):
            with self.refused('STATEMENT_NOT_ALLOWED'):
                third.state(MIGRATION, word)
        self.turns_bad(third)
        self.assert_goes_on(self.watch())

    def test_only_migrations_of_the_bad_host(self):
        """Those from and to h3 end, the one from h1 to h2 does not."""
        third = self.host('h3')
        self.source.claim(OTHER)
        other = '00000000-0000-0000-0000-0000000000ff'
        self.moving(self.source, third, OTHER, other)
        self.turns_bad(third)
        self.assert_lost(self.watch(migration=other), 'h3')
        self.assert_goes_on(self.watch())


class TestPlaces(WatchTestCase):
    """Requests that wait keep threads: there are only so many."""

    SETTINGS = {'waiting_requests': 1}

    def test_who_finds_none_asks_again(self):
        waiting = self.waiting()
        began = time.monotonic()
        answer = self.watch(wait=20)
        self.assertLess(time.monotonic() - began, SOON)
        self.assert_goes_on(answer)
        self.assertEqual(1.0, answer['retry_after'])
        self.turns_bad(self.dest)
        self.assert_lost(self.watch(wait=20))
        self.assert_lost(self.answer(waiting))

    def test_worker_with_one_thread(self):
        """Nobody else would be served meanwhile."""
        path = f'/v1/migrations/{MIGRATION}/watch?wait=20'
        began = time.monotonic()
        answer = self.korora.request('GET', path, roles='attester')
        self.assertLess(time.monotonic() - began, SOON)
        self.assertEqual(1.0, answer.json['retry_after'])

    def test_the_place_is_free_again(self):
        for _ in range(2):
            self.assertEqual(0, self.watch(wait=0.1)['retry_after'])
        with self.refused('MIGRATION_UNKNOWN'):
            self.watch(wait=0.1, migration=OTHER)
        self.assertEqual(0, self.watch(wait=0.1)['retry_after'])


class TestCalls(WatchTestCase):
    def test_roles(self):
        path = f'/v1/migrations/{MIGRATION}/watch'
        for roles, code in (
            ('attester', 200),
            ('admin', 403),
            ('attestation_reader', 403),
            ('service', 403),
        ):
            answer = self.korora.request('GET', path, roles=roles)
            self.assertEqual(code, answer.status_code, roles)

    def test_malformed(self):
        path = f'/v1/migrations/{MIGRATION}/watch'
        for query in (
            'wait=-1',
            'wait=x',
            'wait=nan',
            'wait=1e9',
            'heard=',
            'heard=1.2345',
            'wait=1&wait=2',
            'else=1',
        ):
            answer = self.korora.request(
                'GET', f'{path}?{query}', roles='attester'
            )
            self.assertEqual(400, answer.status_code, query)

    def test_unknown(self):
        with self.refused('MIGRATION_UNKNOWN'):
            self.watch(migration=OTHER)


class TestMariaDb(base.MariaDbTestCase, WatchTestCase):
    """Another worker attests: the one that waits sees it."""

    def test_destination_turns_bad(self):
        waiting = self.waiting()
        self.turns_bad(self.dest)
        self.assert_lost(self.answer(waiting))
        self.assertEqual(1, len(self.audited()))

    def test_nothing_of_the_database_is_kept(self):
        """No transaction while it waits; writers go on."""
        waiting = self.waiting()
        time.sleep(watching.LOOK / 2)
        with self.korora.service.db.engine.connect() as connection:
            held = connection.execute(
                sa.text('SELECT COUNT(*) FROM information_schema.innodb_trx')
            ).scalar()
        self.assertEqual(0, held)
        self.dest.attest_now()
        self.turns_bad(self.dest)
        self.answer(waiting)
