# SPDX-License-Identifier: Apache-2.0
"""What wears a compute host or a scheduler down."""

import functools
import gc
import threading
import types

from korora_nova import errors
from tests.support import fakes
from tests.unit.relying_party import test_gate, test_results

REFUSALS = 10_000


def depth(exc):
    """How many frames, with all that is in them, an exception keeps."""
    count, trace = 0, exc.__traceback__
    while trace is not None:
        count, trace = count + 1, trace.tb_next
    return count


def kept():
    """Objects in memory by which a refusal could keep its caller."""
    return sum(
        isinstance(found, Exception | types.TracebackType | types.FrameType)
        for found in gc.get_objects()
    )


def refuse(call):
    try:
        call()
    except errors.KororaError:
        return
    raise AssertionError('it was not refused')


def growth(*calls):
    """How many more there are after many refusals of these calls.

    Garbage is not collected in between: not even a cycle may be left.
    """
    gc.collect()
    gc.disable()
    try:
        for call in calls:
            refuse(call)
        before = kept()
        for _ in range(REFUSALS):
            for call in calls:
                refuse(call)
        return kept() - before
    finally:
        gc.enable()


class StoredExceptionsTest(test_gate.Base):
    def grows(self, exc, call):
        """Frames that 100 refusals add."""
        self.assertRaises(errors.KororaError, call)
        before = depth(exc)
        for _ in range(100):
            self.assertRaises(errors.KororaError, call)
        return depth(exc) - before

    def test_obstacle(self):
        """M4a: refusals keep no frames of their callers."""
        self.gate.obstacle = errors.Unavailable('NOVA_DRIFT')
        standing = self.standing(test_gate.TRUSTED)
        self.assertEqual(
            0,
            self.grows(self.gate.obstacle, lambda: self.gate.begin(standing)),
        )
        self.assertIsNone(self.gate.obstacle.__traceback__)

    def test_failure(self):
        """M4b: what is kept of a refresh keeps no frames of its readers."""
        base = test_results.TestBudget('test_a_dead_service_costs_nothing')
        base.setUp()
        self.addCleanup(base.doCleanups)
        base.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        failed = base.results
        self.assertRaises(errors.Unavailable, failed.decide)
        kept_one = failed._failure
        self.assertEqual(0, self.grows(kept_one, failed.decide))
        self.assertIsNone(kept_one.__traceback__)

    def test_memory_of_a_compute_host(self):
        standing = self.standing(test_gate.TRUSTED)
        # The agent of the tests keeps what it raises; this one does not.
        down = errors.Unavailable('AGENT_UNAVAILABLE')

        class Down(fakes.FakeAgent):
            def call(self, op, **fields):
                raise down.fresh()

        self.agent = Down(self.cloud, 'h1')
        calls = (
            lambda: self.standing(test_gate.CUSTODY),
            lambda: self.gate.begin(standing),
        )
        self.assertEqual(0, growth(*calls))
        self.gate.obstacle = errors.Unavailable('NOVA_DRIFT')
        self.assertEqual(0, growth(*calls))


class StoredVerdictsTest(test_results.Base):
    def setUp(self):
        super().setUp()
        self.client.put('h1', 'rubbish')
        self.client.put('h2', self.token('h2', tier='contraindicated'))
        self.client.reasons['h3'] = ['HOST_PENDING']
        self.client.put('h3', None)

    def test_memory_of_a_scheduler(self):
        decision = self.results.decide()
        self.assertEqual(
            0,
            growth(
                *(
                    functools.partial(decision.require, host, self.now)
                    for host in ('h1', 'h2', 'h3', 'h4')
                )
            ),
        )

    def test_those_who_wait_raise_errors_of_their_own(self):
        self.client.gate.clear()
        self.client.error = errors.Unavailable('SERVICE_UNAVAILABLE')
        raised = []

        def wait():
            try:
                self.results.decide()
            except errors.Unavailable as exc:
                raised.append(exc)

        threads = [threading.Thread(target=wait) for _ in range(8)]
        for thread in threads:
            thread.start()
        self.client.gate.set()
        for thread in threads:
            thread.join()
        self.assertEqual(8, len({id(exc) for exc in raised}))
        self.assertEqual({1 + 1}, {depth(exc) for exc in raised})
        self.assertEqual(
            [], [exc for exc in raised if exc.__context__ is not None]
        )


class SlowServiceTest(test_results.Base):
    BUDGET = 0.05
    IDLE = 1e5

    def test_threads(self):
        """M7a: a request that hangs is one thread, however long."""
        self.client.gate.clear()
        before = set(threading.enumerate())
        for _ in range(4):
            self.assertRaises(errors.Unavailable, self.results.decide)
            self.clock += 1000
        self.assertEqual(
            1,
            len(
                [
                    thread
                    for thread in set(threading.enumerate()) - before
                    if thread.name == 'korora-results'
                ]
            ),
        )
