# SPDX-License-Identifier: Apache-2.0
"""The cached, verified, bounded view of all hosts."""

import dataclasses
import json
import os
import tempfile
import threading
import time
from unittest import mock

import jwt
import testtools

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import result as signed
from korora_nova.relying_party import results
from tests.support import faults

CLOUD = '3f2a0a3c-6a31-4f3d-8f43-65b5a4ad0b0c'


@dataclasses.dataclass
class Bulk:
    etag: str | None
    results: tuple


class Client:
    """An attestation service in memory."""

    def __init__(self):
        self.rows = {}
        self.reasons = {}
        self.etag = 1
        self.calls = []
        self.error = None
        self.gate = threading.Event()
        self.gate.set()

    def put(self, host, token):
        self.rows[host] = token
        self.etag += 1

    def results(self, *, etag=None):
        self.calls.append(etag)
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
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
    BUDGET = 5.0

    def setUp(self):
        super().setUp()
        self.key = keys.SigningKey.generate()
        handle, self.path = tempfile.mkstemp()
        os.close(handle)
        self.addCleanup(os.unlink, self.path)
        self.pin(self.key)
        self.client = Client()
        self.addCleanup(self.client.gate.set)
        self.clock = 1000.0
        self.now = 50_000.0
        self.made = 0
        self.results = results.Results(
            self.make,
            self.path,
            cache=5,
            budget=self.BUDGET,
            monotonic=lambda: self.clock,
            now=lambda: self.now,
        )

    def make(self):
        self.made += 1
        return self.client

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
    @faults.not_yet('L1', 'fleet', today='signatures of 50')
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
            self.clock += 10
        self.client.put('h1', self.token('h1'))
        self.require('h1')

    def test_unknown_host(self):
        self.refused('RESULT_MISSING', 'h1')

    def test_no_token(self):
        self.client.put('h1', None)
        self.refused('RESULT_MISSING', 'h1')

    def test_no_token_because_of_an_operator(self):
        self.client.reasons['h1'] = ['HOST_PENDING']
        self.client.put('h1', None)
        self.refused('HOST_PENDING', 'h1')
        # Also from the cache, and with keys read again.
        self.clock += 10
        self.refused('HOST_PENDING', 'h1')
        self.pin(self.key, keys.SigningKey.generate())
        self.clock += 10
        self.refused('HOST_PENDING', 'h1')
        self.client.put('h1', self.token('h1'))
        self.clock += 10
        self.require('h1')

    def test_unsigned_words_never_admit(self):
        """They tell one refusal from another, and change no verdict."""
        self.client.put('h1', self.token('h1'))
        self.client.reasons['h1'] = ['HOST_PENDING']
        self.require('h1')
        for reasons in ([], ['affirming'], None, 'HOST'):
            self.client.reasons['h2'] = reasons
            self.client.put('h2', None)
            self.clock += 10
            self.refused('RESULT_MISSING', 'h2')

    def test_contraindicated(self):
        self.client.put(
            'h1',
            self.token(
                'h1', tier='contraindicated', reasons=['PCR_NOT_GOLDEN']
            ),
        )
        self.refused('HOST_UNTRUSTED', 'h1')

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
            self.clock += 10
            self.refused('RESULT_FORGED', 'h1')

    def test_expired_on_arrival(self):
        self.client.put('h1', self.token('h1', issued=self.now - 200))
        self.refused('RESULT_EXPIRED', 'h1')

    def test_expires_in_the_cache(self):
        """T19: a good result outlives the service that gave it."""
        self.client.put('h1', self.token('h1', life=3))
        self.require('h1')
        self.now += 3
        self.refused('RESULT_EXPIRED', 'h1')
        self.assertEqual(1, len(self.client.calls))

    def test_max_age(self):
        self.client.put('h1', self.token('h1', issued=self.now - 40))
        self.require('h1', max_age=60)
        self.refused('RESULT_EXPIRED', 'h1', max_age=30)

    def test_one_bad_row_harms_no_other(self):
        self.client.put('h1', 'rubbish')
        self.client.put('h2', self.token('h2'))
        self.require('h2')
        self.refused('RESULT_FORGED', 'h1')


class TestCache(Base):
    def test_asks_once_within_the_cache(self):
        self.client.put('h1', self.token('h1'))
        for _ in range(5):
            self.require('h1')
            self.clock += 0.9
        self.assertEqual([None], self.client.calls)
        self.assertEqual(1, self.made)

    def test_revalidates_with_the_etag(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.clock += 6
        self.require('h1')
        self.assertEqual([None, '2'], self.client.calls)

    def test_a_change_is_seen(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.clock += 6
        self.refused('HOST_UNTRUSTED', 'h1')

    def test_a_removed_host_is_gone(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.rows.clear()
        self.client.etag += 1
        self.clock += 6
        self.refused('RESULT_MISSING', 'h1')

    def test_no_answer_is_not_the_last_answer(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        self.clock += 6
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.client.error = None
        self.require('h1')

    def test_an_unexpected_error_is_infrastructure(self):
        self.client.error = ValueError('boom')
        self.refused('SERVICE_UNAVAILABLE', 'h1')

    def test_a_withdrawn_key_counts_at_once(self):
        self.client.put('h1', self.token('h1'))
        self.require('h1')
        self.pin(keys.SigningKey.generate())
        self.clock += 6
        self.refused('RESULT_FORGED', 'h1')

    def test_a_new_key_counts_at_once(self):
        new = keys.SigningKey.generate()
        self.client.put('h1', self.token('h1', key=new))
        self.refused('RESULT_FORGED', 'h1')
        self.pin(self.key, new)
        self.clock += 6
        self.require('h1')

    def test_missing_keys(self):
        self.results = results.Results(
            self.make, self.path + '.gone', cache=5, budget=5
        )
        self.refused('KEYS_INVALID', 'h1')
        self.assertEqual([], self.client.calls)


class TestBudget(Base):
    BUDGET = 0.2

    def test_a_hanging_service_costs_one_budget_and_one_thread(self):
        self.client.gate.clear()
        began = time.monotonic()
        threads = threading.active_count()
        for _ in range(3):
            self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.assertEqual(threads + 1, threading.active_count())
        self.assertEqual(1, len(self.client.calls))
        self.assertLess(time.monotonic() - began, 3.0)

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

    def test_a_late_answer_is_as_old_as_its_request(self):
        """Whoever comes after it asks again."""
        self.client.put('h1', self.token('h1'))
        self.client.gate.clear()
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.clock += 10
        worker = self.results._worker
        self.client.gate.set()
        worker.join(10)
        self.results._budget = 10
        self.client.put('h1', self.token('h1', tier='contraindicated'))
        self.refused('HOST_UNTRUSTED', 'h1')
        self.assertEqual([None, '2'], self.client.calls)

    def test_after_a_request_that_was_given_up(self):
        self.client.put('h1', self.token('h1'))
        self.client.gate.clear()
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        worker = self.results._worker
        self.client.gate.set()
        worker.join(10)
        self.client.error = None
        self.results._budget = 10
        self.require('h1')

    def test_a_thread_that_is_gone_is_not_waited_for(self):
        """As after a fork, or if no thread could be started."""
        self.client.put('h1', self.token('h1'))
        self.client.gate.clear()
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.results._worker = threading.Thread()
        self.client.gate.set()
        self.results._budget = 10
        with mock.patch.object(
            threading.Thread, 'start', side_effect=RuntimeError
        ):
            self.assertRaises(RuntimeError, self.results.decide)
        self.require('h1')

    def test_a_thread_that_is_ended_wakes_who_waits(self):
        self.client.error = SystemExit()
        self.refused('SERVICE_UNAVAILABLE', 'h1')
        self.client.error = None
        self.client.put('h1', self.token('h1'))
        self.require('h1')
