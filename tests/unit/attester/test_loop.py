# SPDX-License-Identifier: Apache-2.0
"""Periodic attestation: it backs off, recovers, and never ends."""

from __future__ import annotations

import contextlib
import pathlib
import threading
import time
from typing import Any
from unittest import mock

import fixtures
import testtools

from korora_nova import errors, metrics
from korora_nova.attester import attest, boot, enrol, loop
from korora_nova.attester.attest import Answered
from korora_nova.custody import bodies
from korora_nova.custody.exchange import Answer, Challenge, Heard
from korora_nova.custody.words import ChallengeClass

_R = errors.Reason


def challenge(number: int) -> Challenge:
    return Challenge(
        number.to_bytes(32, 'big'), ChallengeClass.STEADY, 0.0, 90.0, 'i'
    )


class FakeAttester:
    """Records which challenges are answered; fails as told."""

    host = 'h1'

    def __init__(self) -> None:
        self.answered: list[int] = []
        self.whole: list[bool] = []
        self.failures: list[errors.KororaError] = []
        self.result: Any = mock.Mock(tier='affirming', reasons=())
        self.asked = 0
        self.wanted: tuple[str, ...] = ()
        self.client: Any = mock.Mock()
        self.identity: Any = mock.Mock(ak_name=b'\x01')
        self.client.get_host.return_value = {
            'status': 'approved',
            'ak_name': '01',
        }
        self.gate = threading.Event()
        self.gate.set()
        self.following: list[Challenge] = []
        self._log_there = ''
        self.distrusted = mock.Mock()

    def challenge(self, _class: str) -> Challenge:
        self.asked += 1
        return challenge(1000 + self.asked)

    def spare(self) -> Challenge | None:
        return self.following.pop() if self.following else None

    continuing = attest.Attester.continuing

    def answer(
        self,
        given: Challenge,
        body: bodies.Body,
        kind: type[Heard],
        *,
        whole: bool = False,
    ) -> Answered[Heard]:
        if self.failures:
            raise self.failures.pop(0)
        self.whole.append(whole)
        self.answered.append(int.from_bytes(given.value, 'big'))
        following = challenge(len(self.answered))
        self.following = [following]
        answer = Answer('a.b.c', 0, following, kind(self.wanted))
        return Answered(answer, self.result, mock.Mock(), given)

    def attest_for(
        self, body: bodies.Body, kind: type[Heard]
    ) -> Answered[Heard]:
        self.gate.wait(30)
        return self.answer(self.challenge(''), body, kind)


class LoopTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.attester = FakeAttester()
        self.heard: list[Heard] = []
        self.loop = loop.Attestation(
            self.attester,  # type: ignore[arg-type]
            60,
            lambda: bodies.Attest(()),
            self.heard.append,
        )

    def test_it_says_whom_the_service_does_not_trust(self) -> None:
        """O4: also to an agent that was started after it was evicted."""
        self.loop.step()
        self.attester.distrusted.assert_not_called()
        for number, status in enumerate(('pending', 'evicted'), 1):
            self.loop._enrolled = False
            self.attester.client.get_host.return_value['status'] = status
            self.loop.step()
            self.assertEqual(number, self.attester.distrusted.call_count)
        self.loop._enrolled = True
        self.attester.failures = [errors.Conflict(_R.IDENTITY_CONFLICT)]
        self.loop.step()
        self.assertEqual(3, self.attester.distrusted.call_count)
        self.attester.client.get_host.side_effect = errors.Unreachable(
            _R.SERVICE_UNAVAILABLE
        )
        self.loop.step()
        self.assertEqual(3, self.attester.distrusted.call_count)

    def test_answers_the_next_challenge_of_the_last_answer(self) -> None:
        for _ in range(3):
            self.assertEqual(60, self.loop.step())
        self.assertEqual([1001, 1, 2], self.attester.answered)
        self.assertEqual(1, self.attester.client.get_host.call_count)

    def test_what_is_counted(self) -> None:
        directory = self.useFixture(fixtures.TempDir()).path
        self.addCleanup(metrics.stop)
        metrics.start(directory, metrics.AGENT)
        self.attester.result = mock.Mock(
            tier='affirming', reasons=(), expires=123.0
        )
        self.loop.step()
        self.attester.failures = [errors.Unavailable('SERVICE_UNAVAILABLE')]
        self.loop.step()
        self.attester.result = mock.Mock(
            tier='contraindicated', reasons=('NO_POLICY',), expires=456.0
        )
        self.loop.step()
        metrics.write()
        text = pathlib.Path(directory, 'korora-agent-0.prom').read_text()
        for line in (
            'attestations_total{outcome="ok",worker="0"} 2.0',
            'attestations_total{outcome="SERVICE_UNAVAILABLE",worker="0"} 1.0',
            'trusted{worker="0"} 0.0',
            'result_expiry_timestamp_seconds{worker="0"} 456.0',
        ):
            self.assertIn(f'korora_agent_{line}\n', text)

    def test_answers_are_passed_on(self) -> None:
        self.attester.wanted = ('server',)
        self.loop.step()
        self.loop.attest_now()
        self.assertEqual([Heard(('server',))] * 2, self.heard)

    def test_kicked(self) -> None:
        """What is news is attested at once, not after the interval."""
        steps = threading.Semaphore(0)

        def step() -> float:
            steps.release()
            return 60

        with mock.patch.object(self.loop, 'step', step):
            self.loop.start()
            for _ in range(3):
                self.assertTrue(steps.acquire(timeout=10))
                self.assertFalse(steps.acquire(timeout=0.05))
                self.loop.kick()
            self.loop.stop()
        self.assertFalse(self.loop._thread.is_alive())

    def test_backs_off_while_the_service_is_down(self) -> None:
        self.attester.failures = [
            errors.Unavailable(_R.SERVICE_UNAVAILABLE) for _ in range(12)
        ]
        delays = [self.loop.step() for _ in range(12)]
        self.assertLess(delays[0], 1)
        self.assertGreater(delays[6], delays[0])
        self.assertLessEqual(max(delays), 60)
        self.assertEqual(60, self.loop.step())

    def test_bad_challenge_is_replaced(self) -> None:
        self.loop.step()
        self.attester.failures = [errors.EvidenceError(_R.CHALLENGE_EXPIRED)]
        self.assertLess(self.loop.step(), 2)
        self.loop.step()
        self.assertEqual([1001, 1002], self.attester.answered)

    def test_broken_continuity_is_repeated_at_once(self) -> None:
        self.loop.step()
        self.attester.failures = [errors.Conflict(_R.IMA_CONTINUITY)]
        self.assertEqual(60, self.loop.step())
        self.assertEqual([False, True], self.attester.whole)
        # Under a new challenge: the first one is spent.
        self.assertEqual([1001, 1002], self.attester.answered)

    def test_a_busy_service_says_when_to_come_again(self) -> None:
        """With jitter, and with what was to be sent."""
        self.loop.step()
        following = list(self.attester.following)
        delays = set()
        for _ in range(20):
            self.attester.failures = [
                errors.Busy(errors.Reason.BUSY, details={'retry_after': '7'})
            ]
            delay = self.loop.step()
            self.assertTrue(7 < delay < 15, delay)
            delays.add(delay)
        self.assertLess(10, len(delays))
        self.assertNotEqual([], following)
        self.assertTrue(self.loop._enrolled)

    def test_a_log_that_the_service_lost_is_sent_at_once(self) -> None:
        for failure in (
            errors.Conflict(errors.Reason.EVENT_LOG_UNKNOWN),
            # A worker of an earlier release does not know the field.
            errors.Invalid(errors.Reason.INVALID_REQUEST),
        ):
            self.attester._log_there = '00' * 32
            self.attester.failures = [failure]
            self.assertEqual(60, self.loop.step())
            self.assertEqual('', self.attester._log_there)

    def test_a_log_that_was_sent_is_not_asked_for_again(self) -> None:
        for failure in (
            errors.Conflict(errors.Reason.EVENT_LOG_UNKNOWN),
            errors.Invalid(errors.Reason.INVALID_REQUEST),
        ):
            self.attester.failures = [failure]
            self.assertNotEqual(60, self.loop.step())

    def test_continuity_is_repeated_once_only(self) -> None:
        self.attester.failures = [
            errors.Conflict(_R.IMA_CONTINUITY) for _ in range(3)
        ]
        self.assertLess(self.loop.step(), 2)
        self.assertEqual(1, len(self.attester.failures))

    def test_first_waits_to_be_kicked(self) -> None:
        """An agent that was started again attests what it heard by then."""
        begun = threading.Event()

        def step() -> float:
            begun.set()
            return 60.0

        self.loop.step = step
        self.loop.start(60.0)
        self.addCleanup(self.loop.stop)
        self.assertFalse(begun.wait(0.05))
        self.loop.kick()
        self.assertTrue(begun.wait(30))

    def test_waits_for_approval(self) -> None:
        self.attester.client.get_host.return_value = {
            'status': 'pending',
            'ak_name': '01',
        }
        self.assertEqual(5, self.loop.step())
        self.assertEqual([], self.attester.answered)
        self.attester.client.get_host.return_value['status'] = 'approved'
        self.assertEqual(60, self.loop.step())

    def test_enrols_again_when_forgotten(self) -> None:
        self.loop.step()
        self.attester.failures = [errors.NotFound(_R.HOST_UNKNOWN)]
        self.loop.step()
        self.attester.client.get_host.side_effect = errors.NotFound(
            _R.HOST_UNKNOWN
        )
        with mock.patch.object(
            enrol, '_enrol', return_value='approved'
        ) as enrolled:
            self.assertEqual(60, self.loop.step())
        self.assertEqual(1, enrolled.call_count)

    def test_outlives_a_bug(self) -> None:
        self.loop._interval = 0.01
        steps: list[int] = []

        def step() -> float:
            steps.append(1)
            raise ZeroDivisionError

        with mock.patch.object(self.loop, 'step', step):
            self.loop.start()
            deadline = time.monotonic() + 30
            while len(steps) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            self.loop.stop()
        self.assertGreaterEqual(len(steps), 3)

    def test_callers_share_one_attestation(self) -> None:
        """T24: a flood of checks is one quote in flight."""
        self.attester.gate.clear()
        threads = [
            threading.Thread(target=self.loop.attest_now) for _ in range(50)
        ]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        self.attester.gate.set()
        for thread in threads:
            thread.join(30)
        self.assertLessEqual(len(self.attester.answered), 2)

    # Evidence of a moment ago

    def answers(self) -> int:
        return len(self.attester.answered)

    def test_young_evidence_will_do(self) -> None:
        for first in (self.loop.step, self.loop.attest_now):
            first()
            done = self.answers()
            self.loop.attest_now(30)
            self.assertEqual(done, self.answers())

    def test_new_evidence_is_on_its_way(self) -> None:
        self.loop.step()
        now = boot.now()
        for later, new in ((loop.RECENT - 1, False), (loop.RECENT + 1, True)):
            self.loop._wake.clear()
            with mock.patch.object(boot, 'now', lambda at=now + later: at):
                self.loop.attest_now(30)
            self.assertEqual(new, self.loop._wake.is_set())

    def test_old_evidence_will_not(self) -> None:
        self.loop.step()
        now = boot.now()
        for later, new in ((29, 0), (31, 1)):
            with mock.patch.object(boot, 'now', lambda at=now + later: at):
                self.loop.attest_now(30)
            self.assertEqual(1 + new, self.answers())

    def test_without_an_age_it_is_always_new(self) -> None:
        for count in range(1, 4):
            self.loop.attest_now()
            self.assertEqual(count, self.answers())

    def test_before_the_first_it_is_new(self) -> None:
        self.loop.attest_now(30)
        self.assertEqual(1, self.answers())

    def test_what_speaks_against_it_counts(self) -> None:
        """Whatever the service has said since, whatever it was asked."""
        bad = mock.Mock(tier='contraindicated')
        bad.require_affirming.side_effect = errors.Untrusted(_R.HOST_UNTRUSTED)
        good = self.attester.result
        for last in (None, bad):
            self.attester.result = good
            self.loop.attest_now()
            done = self.answers()
            self.attester.result = last
            with contextlib.suppress(errors.Untrusted, AttributeError):
                self.loop.attest_now(30)
            self.assertEqual(done + 1, self.answers())

    def test_bad_evidence_is_not_taken_twice(self) -> None:
        self.loop.step()
        self.attester.result = mock.Mock(tier='contraindicated', reasons=())
        self.attester.result.require_affirming.side_effect = errors.Untrusted(
            _R.HOST_UNTRUSTED
        )
        self.loop.step()
        for count in (3, 4):
            self.assertRaises(errors.Untrusted, self.loop.attest_now, 30)
            self.assertEqual(count, self.answers())

    def test_after_a_failure_it_is_new(self) -> None:
        self.loop.step()
        self.attester.failures = [errors.Unavailable(_R.SERVICE_UNAVAILABLE)]
        self.loop.step()
        self.loop.attest_now(30)
        self.assertEqual(2, self.answers())

    def test_attest_now_refuses_a_bad_host(self) -> None:
        self.attester.result.require_affirming.side_effect = errors.Untrusted(
            _R.HOST_UNTRUSTED
        )
        self.assertRaises(errors.Untrusted, self.loop.attest_now)
