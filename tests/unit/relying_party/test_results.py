# SPDX-License-Identifier: Apache-2.0
"""The view of all hosts that is always at hand."""

import dataclasses
import json
import os
import signal
import tempfile
import threading
import time
from unittest import mock

import jwt
import testtools

from korora_nova import errors
from korora_nova.rats.signed import keys, snapshot
from korora_nova.rats.signed import result as signed
from korora_nova.rats.signed import token as tokens
from korora_nova.relying_party import results

CLOUD = '3f2a0a3c-6a31-4f3d-8f43-65b5a4ad0b0c'
INCARNATION = '9c5b94b1-35ad-49bb-b118-8e8fc24abf80'


@dataclasses.dataclass
class Bulk:
    etag: str | None
    results: tuple


class Client:
    """An attestation service in memory.

    :ivar old: it knows no snapshots.
    :ivar calls: entity tags of lists and bases of snapshots.
    :ivar answer: called with each update before it goes out.
    """

    def __init__(self, test):
        self.test = test
        self.old = False
        self.rows = {}
        self.reasons = {}
        self.etag = 1
        self.calls = []
        self.error = None
        self.gate = threading.Event()
        self.gate.set()
        self.incarnation = INCARNATION
        self.key = None
        self.iat = None
        self.answer = lambda update: update
        self.history = {}

    def put(self, host, token):
        self.rows[host] = token
        self.etag += 1

    def drop(self, host):
        del self.rows[host]
        self.etag += 1

    def _called(self, what):
        self.calls.append(what)
        self.gate.wait(30)
        if self.error is not None:
            raise self.error

    def _line(self, host, token):
        """As the service: a row is what it signed."""
        try:
            claims = tokens.authentic(token, self.test.ring(), signed.KIND)
            return snapshot.Row.claimed(claims).text()
        except (tokens.TokenError, AttributeError):
            reasons = tuple(self.reasons.get(host) or ('RESULT_FORGED',))
            return snapshot.Row(host, 'none', reasons=reasons).text()

    def snapshot(self, base=''):
        if self.old:
            raise errors.NotFound('NOT_FOUND')
        self._called(base)
        lines = {
            host: self._line(host, token) for host, token in self.rows.items()
        }
        head = snapshot.Head(
            CLOUD,
            self.incarnation,
            self.etag,
            len(lines),
            snapshot.digest(lines),
            self.test.now if self.iat is None else self.iat,
        )
        before = self.history.get(base)
        self.history[head.mark] = lines
        return self.answer(
            snapshot.Update(
                snapshot.sign(head, self.key or self.test.key),
                base if before is not None else '',
                '\n'.join(
                    lines[host]
                    for host in sorted(lines)
                    if (before or {}).get(host) != lines[host]
                ),
                tuple(sorted(set(before or ()) - set(lines))),
            )
        )

    def results(self, *, etag=None):
        self._called(etag)
        if etag == str(self.etag):
            return None
        return Bulk(
            str(self.etag),
            tuple(
                {
                    'host': host,
                    'tier': 'affirming',
                    'token': token,
                    'reasons': self.reasons.get(host, []),
                }
                for host, token in self.rows.items()
            ),
        )


class Base(testtools.TestCase):
    """Each decision waits for a refresh, unless IDLE is more than 0."""

    BUDGET = 5.0
    CACHE = 5.0
    IDLE = 0.0
    OLD = False

    def setUp(self):
        super().setUp()
        self.key = keys.SigningKey.generate()
        handle, self.path = tempfile.mkstemp()
        os.close(handle)
        self.addCleanup(os.unlink, self.path)
        self.pin(self.key)
        self.client = Client(self)
        self.client.old = self.OLD
        self.clock = 1000.0
        self.now = 50_000.0
        self.made = 0
        self.results = self.make_results()
        self.addCleanup(self.end)

    def make_results(self, **changed):
        return results.Results(
            self.make,
            self.path,
            **{
                'cache': self.CACHE,
                'budget': self.BUDGET,
                'idle': self.IDLE,
                'monotonic': lambda: self.clock,
                'now': lambda: self.now,
                **changed,
            },
        )

    def end(self):
        """Nobody has used it for long."""
        self.client.gate.set()
        self.clock += 1e6
        worker = self.results._worker
        self.results._wake.set()
        if worker is not None:
            worker.join(10)
            self.assertFalse(worker.is_alive())

    def make(self):
        self.made += 1
        return self.client

    def advance(self, seconds):
        """Time passes, by both clocks."""
        self.clock += seconds
        self.now += seconds

    def ring(self):
        return keys.KeyRing.load(self.path)

    def pin(self, *pinned):
        ring = keys.KeyRing.build(
            CLOUD,
            result=[key.public for key in pinned],
            custody=[],
            approval=[],
        )
        with open(self.path, 'w') as stream:
            json.dump(ring.to_json(), stream)
        os.utime(self.path, ns=(time.time_ns(), time.time_ns()))

    def token(
        self,
        host,
        *,
        tier='affirming',
        reasons=(),
        issued=None,
        life=180.0,
        key=None,
        cloud=CLOUD,
        enforcer='',
    ):
        issued = self.now if issued is None else issued
        return signed.sign_result(
            signed.Result(
                host=host,
                ak_name='00' * 34,
                tier=tier,
                reasons=tuple(reasons),
                enforcer=enforcer,
                issued=issued,
                expires=issued + life,
                cloud=cloud,
            ),
            key or self.key,
        )

    def require(self, host, **kwargs):
        self.results.decide().require(host, self.now, **kwargs)

    def refused(self, reason, host, **kwargs):
        error = self.assertRaises(
            errors.KororaError, self.require, host, **kwargs
        )
        self.assertEqual(reason, error.reason)


class TestDecision(Base):
    def test_first_answer_costs_few_signatures(self):
        """L1: 10,000 results are 10,000 signatures, 4 s; few should do."""
        for number in range(50):
            self.client.put(f'h{number}', self.token(f'h{number}'))
        with mock.patch.object(jwt, 'decode', wraps=jwt.decode) as decode:
            self.require('h7')
        self.assertLess(decode.call_count, 10, 'signatures of 50')

    def test_affirming(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')

    def test_host_that_enforces_nothing(self):
        """H3: stock Nova on a host in the best of states."""
        for reason in ('ENFORCER_ABSENT', 'ENFORCER_DRIFT'):
            self.client.put('h1', self.token('h1', enforcer=reason))
            self.refused(reason, 'h1')
        self.client.put('h1', self.token('h1'))
        self.require('h1')

    def test_unknown_host(self):
        self.refused('RESULT_MISSING', 'h1')

    def test_no_token_because_of_an_operator(self):
        self.client.reasons['h1'] = ['HOST_PENDING']
        self.client.put('h1', None)
        self.refused('HOST_PENDING', 'h1')
        self.pin(self.key, keys.SigningKey.generate())
        self.refused('HOST_PENDING', 'h1')
        self.client.put('h1', self.token('h1'))
        self.require('h1')

    def test_unsigned_words_never_admit(self):
        """They tell one refusal from another, and change no verdict."""
        self.client.put('h1', self.token('h1'))
        self.client.reasons['h1'] = ['HOST_PENDING']
        self.require('h1')
        for reasons in ([], ['affirming'], None, 'HOST'):
            self.client.reasons['h2'] = reasons
            self.client.put('h2', None)
            error = self.assertRaises(errors.Untrusted, self.require, 'h2')
            self.assertIn(error.reason, ('RESULT_MISSING', 'RESULT_FORGED'))

    def test_contraindicated(self):
        self.client.put(
            'h1',
            self.token(
                'h1', tier='contraindicated', reasons=['PCR_NOT_GOLDEN']
            ),
        )
        self.refused('HOST_UNTRUSTED', 'h1')

    def test_expired_on_arrival(self):
        self.client.put('h1', self.token('h1', issued=self.now - 200))
        self.refused('RESULT_EXPIRED', 'h1')

    def test_expires_at_hand(self):
        """T19: a good result outlives the service that gave it."""
        self.client.put('h1', self.token('h1', life=3))
        decision = self.results.decide()
        decision.require('h1', self.now + 2.9)
        error = self.assertRaises(
            errors.Untrusted, decision.require, 'h1', self.now + 3
        )
        self.assertEqual('RESULT_EXPIRED', error.reason)

    def test_from_the_future(self):
        self.client.put('h1', self.token('h1', issued=self.now + 40))
        self.refused('RESULT_EXPIRED', 'h1')
        self.now += 10
        self.require('h1')

    def test_max_age(self):
        self.client.put('h1', self.token('h1', issued=self.now - 40))
        self.require('h1', max_age=60)
        self.refused('RESULT_EXPIRED', 'h1', max_age=30)

    def test_a_year_is_a_day(self):
        self.client.put('h1', self.token('h1', life=3e7))
        decision = self.results.decide()
        decision.require('h1', self.now + 86399)
        self.assertRaises(
            errors.Untrusted, decision.require, 'h1', self.now + 86400
        )


class TestOldService(TestDecision):
    """A service of an earlier release: a signature for each host."""

    OLD = True
    test_first_answer_costs_few_signatures = None
    # It is verified again when there is another one.
    test_from_the_future = None

    def test_no_token(self):
        self.client.put('h1', None)
        self.refused('RESULT_MISSING', 'h1')

    def test_forgeries(self):
        other = keys.SigningKey.generate()
        for token in (
            self.token('h2'),
            self.token('h1', key=other),
            self.token('h1', cloud='another'),
            'eyJhbGciOiJub25lIn0.e30.',
            'rubbish',
        ):
            self.client.put('h1', token)
            self.refused('RESULT_FORGED', 'h1')

    def test_one_bad_row_harms_no_other(self):
        self.client.put('h1', 'rubbish')
        self.client.put('h2', self.token('h2'))
        self.require('h2')
        self.refused('RESULT_FORGED', 'h1')

    def test_revalidates_with_the_etag(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.require('h1')
        self.assertEqual([None, '2'], self.client.calls)

    def test_a_new_key_counts_at_once(self):
        new = keys.SigningKey.generate()
        self.client.put('h1', self.token('h1', key=new))
        self.refused('RESULT_FORGED', 'h1')
        self.pin(self.key, new)
        self.require('h1')

    def test_a_snapshot_once_the_service_has_them(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.old = False
        self.require('h1')
        self.assertEqual([None, '2'], self.client.calls)
        self.advance(61)
        self.require('h1')
        self.assertEqual([None, '2', ''], self.client.calls)


class TestChanges(Base):
    def test_only_what_changed_is_asked_for(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.put('h2', self.token('h2'))
        self.require('h2')
        self.require('h1')
        marks = [f'{seq}-{INCARNATION}' for seq in (2, 3)]
        self.assertEqual(['', *marks], self.client.calls)
        self.assertEqual(1, self.made)

    def test_a_change_is_seen(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.refused('HOST_UNTRUSTED', 'h1')

    def test_a_removed_host_is_gone(self):
        self.client.put('h1', self.token('h1'))
        self.client.put('h2', self.token('h2'))
        self.require('h1')
        self.client.drop('h1')
        self.refused('RESULT_MISSING', 'h1')
        self.require('h2')
        self.assertNotIn('', self.client.calls[1:])

    def test_changes_that_hide_something_are_asked_for_whole(self):
        """A removal or a change that is left out is noticed."""
        for hidden in ({'gone': ()}, {'rows': ''}):
            self.client.put('h1', self.token('h1'))
            self.client.put('h2', self.token('h2'))
            self.require('h1')
            self.client.drop('h1')
            self.client.put('h2', self.token('h2', tier='contraindicated'))
            self.client.answer = lambda update, hidden=hidden: (
                update._replace(**hidden) if update.base else update
            )
            self.refused('RESULT_MISSING', 'h1')
            self.refused('HOST_UNTRUSTED', 'h2')
            self.assertIn('', self.client.calls[1:])

    def test_a_service_that_forgot_what_was_asked(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.history.clear()
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.refused('HOST_UNTRUSTED', 'h1')


class TestLies(Base):
    """What is refused leaves what was there, until that expires."""

    def setUp(self):
        super().setUp()
        self.client.put('h1', self.token('h1'))
        self.require('h1')

    def assertKept(self):
        """h1 counts until it expires, and nothing that came after does."""
        self.client.put('h2', self.token('h2'))
        self.require('h1')
        self.refused('RESULT_MISSING', 'h2')
        self.advance(180)
        self.refused('RESULT_EXPIRED', 'h1')

    def test_unpinned_key(self):
        self.client.key = keys.SigningKey.generate()
        self.assertKept()

    def test_replay(self):
        self.client.iat = self.now - 61
        self.assertKept()

    def test_from_the_future(self):
        self.client.iat = self.now + 31
        self.assertKept()

    def test_malformed(self):
        self.client.answer = lambda update: update._replace(rows='[')
        self.assertKept()

    def test_another_host(self):
        other = self.token('h1', tier='contraindicated')
        line = self.client._line('h1', other)
        self.client.answer = lambda update: update._replace(rows=line)
        self.assertKept()

    def test_an_answer_that_is_none(self):
        self.client.answer = lambda update: None
        self.assertKept()

    def test_first_of_all(self):
        """Nothing is there: the reason is told."""
        self.client.key = keys.SigningKey.generate()
        self.results = self.make_results()
        self.refused('RESULT_FORGED', 'h1')


class TestKeys(Base):
    def test_a_withdrawn_key_counts_at_once(self):
        """Also while the service hangs."""
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        self.pin(keys.SigningKey.generate())
        self.refused('RESULT_FORGED', 'h1')

    def test_a_new_key(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        new = keys.SigningKey.generate()
        self.pin(self.key, new)
        self.client.key = new
        self.client.put('h2', self.token('h2', key=new))
        self.require('h1')
        self.require('h2')

    def test_another_cloud(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        ring = keys.KeyRing.build(
            'other', result=[self.key.public], custody=[], approval=[]
        )
        with open(self.path, 'w') as stream:
            json.dump(ring.to_json(), stream)
        self.refused('RESULT_FORGED', 'h1')

    def test_missing_keys(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        os.rename(self.path, self.path + '.gone')
        self.addCleanup(os.rename, self.path + '.gone', self.path)
        self.refused('KEYS_INVALID', 'h1')
        self.assertEqual(1, len(self.client.calls))


class TestService(Base):
    def test_results_outlive_the_service(self):
        """T19: not one second longer than was signed."""
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        self.require('h1')
        self.advance(179)
        self.require('h1')
        self.advance(1)
        self.refused('RESULT_EXPIRED', 'h1')

    def test_a_clock_that_is_set_back(self):
        """It makes no result valid again."""
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        self.clock += 180
        self.now -= 3600
        self.refused('RESULT_EXPIRED', 'h1')

    def test_never_heard_of(self):
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.client.error = ValueError('boom')
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.client.error = None
        self.client.put('h1', self.token('h1'))
        self.require('h1')

    def restored(self, **rows):
        """Its database is that of an earlier time, with these hosts."""
        self.client.rows = rows
        self.client.etag = 1
        self.client.history.clear()
        self.advance(1)

    def test_a_restored_database_makes_no_host_trusted(self):
        """I13: a good result from before the bad one."""
        good = {name: self.token(name) for name in ('h1', 'h2', 'h3')}
        self.advance(1)
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.client.put('h2', self.token('h2'))
        self.refused('HOST_UNTRUSTED', 'h1')
        self.restored(**good)
        # h1 was bad later, h3 was removed.
        self.refused('RESULT_EXPIRED', 'h1')
        self.refused('RESULT_EXPIRED', 'h3')
        self.require('h2')
        # They attest again.
        for name in ('h1', 'h3'):
            self.client.put(name, self.token(name))
            self.require(name)

    def test_what_is_withheld_stays_so(self):
        good = self.token('h1')
        self.advance(1)
        self.client.put('h1', self.token('h1', enforcer='ENFORCER_ABSENT'))
        self.client.put('h2', self.token('h2'))
        self.refused('ENFORCER_ABSENT', 'h1')
        self.restored(h1=good, h2=self.client.rows['h2'])
        self.refused('RESULT_EXPIRED', 'h1')
        self.client.put('h2', self.token('h2'))
        self.refused('RESULT_EXPIRED', 'h1')
        self.client.history.clear()
        self.refused('RESULT_EXPIRED', 'h1')

    def test_another_database(self):
        good = self.token('h1')
        self.advance(1)
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.refused('HOST_UNTRUSTED', 'h1')
        self.restored(h1=good)
        self.client.incarnation = '00000000-35ad-49bb-b118-8e8fc24abf80'
        self.client.etag = 1000
        self.refused('RESULT_EXPIRED', 'h1')

    def test_an_older_answer_of_another_worker(self):
        """It was read before: nothing of it counts."""
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        first = self.client.snapshot('')
        self.advance(1)
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.refused('HOST_UNTRUSTED', 'h1')
        self.client.answer = lambda update: first
        self.refused('HOST_UNTRUSTED', 'h1')


class TestThread(Base):
    """The refresh in the background."""

    IDLE = 100.0
    BUDGET = 5.0
    CACHE = 0.01

    def eventually(self, call, *args, **kwargs):
        """It comes true soon."""
        for _ in range(500):
            try:
                call(*args, **kwargs)
                return
            except (AssertionError, errors.KororaError):
                time.sleep(0.01)
        call(*args, **kwargs)

    def test_requests_do_not_ask(self):
        self.results._cache = 1000
        self.client.put('h1', self.token('h1'))
        for _ in range(5):
            self.require('h1')
        self.assertEqual([''], self.client.calls)

    def test_it_is_refreshed_while_it_is_used(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.put('h2', self.token('h2'))
        self.eventually(self.require, 'h2')

    def test_it_rests_when_nobody_asks(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        worker = self.results._worker
        self.clock += 101
        worker.join(10)
        self.assertFalse(worker.is_alive())
        # The next request waits, and knows what happened meanwhile.
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.refused('HOST_UNTRUSTED', 'h1')

    def test_a_hanging_service_costs_nothing(self):
        """I10: what was signed counts, and one thread waits."""
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.gate.clear()
        calls = len(self.client.calls)
        self.eventually(lambda: self.assertLess(calls, len(self.client.calls)))
        threads = set(threading.enumerate())
        calls = len(self.client.calls)
        began = time.monotonic()
        for _ in range(100):
            self.require('h1')
        self.assertLess(time.monotonic() - began, self.BUDGET)
        self.assertEqual(set(), set(threading.enumerate()) - threads)
        self.assertEqual(calls, len(self.client.calls))
        self.now += 180
        self.refused('RESULT_EXPIRED', 'h1')

    def test_it_is_asked_ever_more_seldom(self):
        self.results._cache = 5.0
        pauses = []
        for self.results._failures in range(12):
            pauses.append(self.results._pause())
        for pause, middle in zip(
            pauses, (5, 5, 10, 20, 30, 30, 30, 30), strict=False
        ):
            self.assertLess(abs(pause - middle), middle * 0.21)
        self.assertNotEqual(pauses[-1], pauses[-2])

    def test_a_refresh_that_crashes(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.answer = mock.Mock(side_effect=ZeroDivisionError)
        self.eventually(lambda: self.assertTrue(self.client.answer.called))
        self.require('h1')
        self.assertTrue(self.results._worker.is_alive())

    def test_a_thread_that_is_ended(self):
        self.client.error = SystemExit()
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.client.error = None
        self.client.put('h1', self.token('h1'))
        self.eventually(self.require, 'h1')

    def test_no_thread(self):
        self.client.put('h1', self.token('h1'))
        with mock.patch.object(
            threading.Thread, 'start', side_effect=RuntimeError
        ):
            self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.require('h1')

    def test_a_fork(self):
        """A child has a thread, a lock and connections of its own."""
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        before = self.made
        reads, writes = os.pipe()
        with self.results._lock:
            child = os.fork()
            if child == 0:
                try:
                    signal.alarm(30)
                    self.client.gate = threading.Event()
                    self.client.gate.set()
                    self.require('h1')
                    alive = self.results._worker.is_alive()
                    os.write(writes, b'%d %d' % (self.made - before, alive))
                finally:
                    os._exit(0)
        os.close(writes)
        with os.fdopen(reads) as said:
            self.assertEqual('1 1', said.read())
        os.waitpid(child, 0)


class TestBudget(Base):
    BUDGET = 0.2
    IDLE = 100.0

    def test_a_hanging_service_costs_one_budget_and_one_thread(self):
        self.client.gate.clear()
        began = time.monotonic()
        threads = set(threading.enumerate())
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        first = time.monotonic() - began
        self.assertGreaterEqual(first, self.BUDGET)
        for _ in range(50):
            self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.assertEqual(1, len(set(threading.enumerate()) - threads))
        self.assertEqual(1, len(self.client.calls))
        self.assertLess(time.monotonic() - began - first, 40 * self.BUDGET)

    def test_a_dead_service_costs_nothing(self):
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        began = time.monotonic()
        for _ in range(50):
            self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.assertLess(time.monotonic() - began, 40 * self.BUDGET)
        self.assertEqual(1, len(self.client.calls))

    def test_parallel_requests_share_one_question(self):
        self.client.put('h1', self.token('h1'))
        self.client.gate.clear()
        self.results._budget = 10
        outcomes = []

        def ask():
            try:
                self.require('h1')
                outcomes.append('ok')
            except errors.KororaError as exc:
                outcomes.append(exc.reason)

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        self.client.gate.set()
        for thread in threads:
            thread.join(10)
        self.assertEqual(['ok'] * 20, outcomes)
        self.assertEqual(1, len(self.client.calls))

    def test_a_late_answer_counts_when_it_is_there(self):
        self.client.put('h1', self.token('h1'))
        self.client.gate.clear()
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        first = self.results._first
        self.client.gate.set()
        first.wait(10)
        self.require('h1')


class TestAgain(Base):
    """A request that finds no host looks once for what is newer."""

    BUDGET = 0.3
    CACHE = 1000.0
    IDLE = 10_000.0

    def setUp(self):
        super().setUp()
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.last = self.results.decide()
        self.client.put('h1', self.token('h1'))
        self.advance(2)

    def test_trusted_again(self):
        newer = self.results.again(self.last)
        newer.require('h1', self.now)

    def test_not_twice_in_a_second(self):
        self.results.again(self.last)
        self.advance(0.9)
        self.assertIsNone(self.results.again(self.last))
        self.assertEqual(2, len(self.client.calls))
        self.advance(0.2)
        self.results.again(self.last)
        self.assertEqual(3, len(self.client.calls))

    def test_many_share_one_question(self):
        self.results._budget = 10
        self.client.gate.clear()
        newer = []
        threads = [
            threading.Thread(
                target=lambda: newer.append(self.results.again(self.last))
            )
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        while not all(thread.is_alive() for thread in threads):
            time.sleep(0.01)
        while len(self.client.calls) < 2:
            time.sleep(0.01)
        self.client.gate.set()
        for thread in threads:
            thread.join(10)
        self.assertEqual(20, len(newer))
        self.assertLessEqual(len(self.client.calls), 3)
        for one in newer:
            one.require('h1', self.now)

    def test_a_hanging_service_costs_one_budget(self):
        self.client.gate.clear()
        began = time.monotonic()
        for _ in range(50):
            self.assertIsNone(self.results.again(self.last))
        self.assertLess(time.monotonic() - began, 20 * self.BUDGET)
        self.client.gate.set()
        for _ in range(500):
            if not self.results._in_vain:
                break
            time.sleep(0.01)
        self.advance(2)
        self.results.again(self.last).require('h1', self.now)

    def test_a_dead_service_costs_one_question(self):
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        for _ in range(50):
            self.assertIsNone(self.results.again(self.last))
        self.assertEqual(2, len(self.client.calls))

    def test_without_a_thread(self):
        self.end()
        self.results._budget = 20
        began = time.monotonic()
        self.assertIsNone(self.results.again(self.last))
        self.assertLess(time.monotonic() - began, 20)
