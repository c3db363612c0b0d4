# SPDX-License-Identifier: Apache-2.0
"""The agent may come after nova-compute, and much later."""

import logging
import threading
from unittest import mock

import fixtures
import testtools

from korora_nova import errors
from korora_nova.relying_party import arrival

GONE = errors.Unavailable('AGENT_UNAVAILABLE', 'Nobody at /run/agent.sock.')


class TestArrival(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(
            fixtures.FakeLogger(
                format='%(levelname)s %(message)s', level=logging.INFO
            )
        )
        self.outcomes = []
        self.arrival = arrival.Arrival(self.attempt)

    def attempt(self):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def steps(self, *outcomes):
        self.outcomes = list(outcomes)
        return [self.arrival.step() for _ in outcomes]

    def lines(self):
        return self.log.output.splitlines()

    def test_waiting_is_one_line(self):
        self.assertEqual([False] * 3, self.steps(GONE, GONE, GONE))
        (line,) = self.lines()
        self.assertTrue(line.startswith('INFO Waiting'), line)
        self.assertIn('tried again without restart', line)
        self.assertIn('/run/agent.sock', line)

    def test_an_answer_after_waiting_is_told(self):
        self.assertEqual([False, False, True], self.steps(GONE, False, True))
        self.assertEqual(2, len(self.lines()))
        self.assertIn('answers', self.lines()[1])

    def test_nothing_to_tell_without_waiting(self):
        self.assertEqual([True], self.steps(True))
        self.assertEqual([], self.lines())

    def test_another_trouble_is_another_line(self):
        self.steps(GONE, errors.Forbidden('PEER_DENIED'), GONE)
        self.assertEqual(
            ['INFO', 'WARNING', 'INFO'],
            [line.split()[0] for line in self.lines()],
        )

    def test_goes_on_after_what_nobody_expected(self):
        self.assertEqual(
            [False, False, True],
            self.steps(ValueError('database'), ValueError('database'), True),
        )
        self.assertEqual(1, self.log.output.count('ERROR'))

    def test_the_thread_ends_when_all_is_done(self):
        self.outcomes = [GONE, False, True]
        with mock.patch.object(arrival, 'FIRST_WAIT', 0.01):
            self.arrival.start()
            self.arrival.start()
            self.arrival._thread.join(10)
        self.assertFalse(self.arrival._thread.is_alive())
        self.assertEqual([], self.outcomes)

    def test_the_thread_ends_when_it_is_told(self):
        tried = threading.Event()

        def attempt():
            tried.set()
            return False

        patient = arrival.Arrival(attempt)
        patient.start()
        self.assertTrue(tried.wait(10))
        patient.stop()
        patient._thread.join(10)
        self.assertFalse(patient._thread.is_alive())
