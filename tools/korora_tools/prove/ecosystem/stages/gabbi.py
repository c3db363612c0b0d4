# SPDX-License-Identifier: Apache-2.0
"""The life of a host, a policy and a hand-over over HTTP, told in YAML."""

from __future__ import annotations

from korora_tools.prove.ecosystem import stage

ABOUT = 'the life of a host, a policy and a hand-over, as YAML'

#: Tests that there must be.
TESTS = 40


def run() -> stage.Outcome:
    from tests.support import gabbits

    passed, wrong = 0, []
    for name in gabbits.names():
        result = gabbits.run(name)
        bad = [*result.failures, *result.errors]
        passed += result.testsRun - len(bad)
        wrong += [f'{test} fails.' for test, _ in bad]
    return stage.Outcome(
        passed, [*wrong, *stage.too_few({'gabbi': passed}, gabbi=TESTS)]
    )
