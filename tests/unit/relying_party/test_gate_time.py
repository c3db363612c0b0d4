# SPDX-License-Identifier: Apache-2.0
"""How long a host takes to decide, and whom it lets wait."""

import threading

from korora_nova import errors
from korora_nova.relying_party import gate
from tests.unit.relying_party import test_gate


class TestTime(test_gate.Base):
    """How long a host may take."""

    HUNG = errors.Unavailable('AGENT_UNAVAILABLE')

    def connect(self, timeout):
        """An agent that takes all of the time that it is given."""
        self.time += timeout
        return super().connect(timeout)

    def hang(self):
        self.agent.fail['protection'] = self.HUNG

    def test_one_budget_for_all(self):
        with self.gate.within(45):
            standing = self.standing(test_gate.TRUSTED)
            self.gate.admit(standing)
            error = self.refused(
                'AGENT_UNAVAILABLE', self.gate.admit, standing
            )
            self.refused('AGENT_UNAVAILABLE', self.standing, test_gate.CUSTODY)
        self.assertIn('is over', error.message)
        self.assertEqual([gate.QUICK, 40], self.waits)
        self.assertEqual(['attest'], self.agent.ops())
        # And it ends with what it was for.
        self.gate.admit(standing)
        self.assertEqual(60, self.waits[-1])

    def test_a_budget_inside_another(self):
        with self.gate.within(30):
            with self.gate.within(700):
                self.gate.agent(20)
            self.gate.agent()
            with self.gate.within(700):
                self.assertRaises(errors.Unavailable, self.gate.agent)
        self.assertEqual([20, 10], self.waits)

    def test_a_budget_is_of_its_thread(self):
        with self.gate.within(1):
            self.gate.agent()
            other = threading.Thread(target=self.gate.agent)
            other.start()
            other.join()
        self.assertEqual([1, 60], self.waits)

    def test_a_refusal_ends_a_budget(self):
        self.cloud.untrusted.add('h1')

        def check():
            with self.gate.within(3):
                self.gate.admit(self.standing(test_gate.TRUSTED))

        self.refused('AGENT_UNAVAILABLE', check)
        self.gate.agent()
        self.assertEqual(60, self.waits[-1])

    def test_plain_servers_wait_once(self):
        self.hang()
        for _ in range(7):
            self.assertEqual('unknown', self.standing(test_gate.PLAIN).state)
        self.assertEqual([gate.QUICK], self.waits)
        # Whoever may be protected is not guessed at.
        for what, vtpm in (
            (test_gate.CUSTODY, False),
            (test_gate.PLAIN, True),
        ):
            self.refused('AGENT_UNAVAILABLE', self.standing, what, vtpm)
        self.assertEqual([gate.QUICK] * 3, self.waits)

    def test_and_again_after_a_while(self):
        self.hang()
        self.standing(test_gate.PLAIN)
        self.time += gate.HUNG
        self.agent.fail.clear()
        self.hold()
        self.assertTrue(self.standing(test_gate.PLAIN).custody)

    def test_an_answer_ends_it(self):
        self.hang()
        self.standing(test_gate.PLAIN)
        self.agent.fail.clear()
        self.standing(test_gate.CUSTODY)
        self.hold()
        self.assertTrue(self.standing(test_gate.PLAIN).custody)

    def test_an_agent_that_is_not_there_is_asked_each_time(self):
        self.connect = super().connect
        self.gate._agent = self.connect
        self.hang()
        self.standing(test_gate.PLAIN)
        self.agent.fail.clear()
        self.hold()
        self.assertTrue(self.standing(test_gate.PLAIN).custody)

    def test_an_agent_that_is_slow_to_refuse_does_not_hang(self):
        self.agent.fail['protection'] = errors.Forbidden('PEER_DENIED')
        for _ in range(2):
            self.assertEqual('unknown', self.standing(test_gate.PLAIN).state)
        self.assertEqual(2, len(self.waits))
