# SPDX-License-Identifier: Apache-2.0
"""What wears a compute host or a scheduler down (tests.support.faults)."""

import threading

from korora_nova import errors
from korora_nova.relying_party import results
from tests.support import faults
from tests.unit.relying_party import test_gate, test_results


def depth(exc):
    """How many frames, with all that is in them, an exception keeps."""
    count, trace = 0, exc.__traceback__
    while trace is not None:
        count, trace = count + 1, trace.tb_next
    return count


class StoredExceptionsTest(test_gate.Base):
    def grows(self, exc, call):
        """Frames that 100 refusals add."""
        self.assertRaises(errors.KororaError, call)
        before = depth(exc)
        for _ in range(100):
            self.assertRaises(errors.KororaError, call)
        return depth(exc) - before

    @faults.not_yet('M4a', 'lifecycle', today='0 != [1-9]')
    def test_obstacle(self):
        """M4a: refusals keep their callers' frames; raise copies instead."""
        self.gate.obstacle = errors.Unavailable('NOVA_DRIFT')
        standing = self.standing(test_gate.TRUSTED)
        self.assertEqual(
            0,
            self.grows(self.gate.obstacle, lambda: self.gate.begin(standing)),
        )

    @faults.not_yet('M4b', 'lifecycle', today='0 != [1-9]')
    def test_verdict(self):
        """M4b: verdicts keep their callers' frames; raise copies instead."""
        verdict = errors.Untrusted('HOST_UNTRUSTED')
        decision = results.Decision({'h1': verdict})
        self.assertEqual(
            0, self.grows(verdict, lambda: decision.require('h1', 0.0))
        )


class SlowServiceTest(test_results.Base):
    BUDGET = 0.05

    @faults.not_yet('M7a', 'lifecycle', today='1 != 4')
    def test_threads(self):
        """M7a: each request given up leaves a thread; one should be left."""
        self.client.gate.clear()
        before = set(threading.enumerate())
        for _ in range(4):
            self.assertRaises(errors.Unavailable, self.results.decide)
            self.clock += results.GIVE_UP * self.BUDGET + 1
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
