# SPDX-License-Identifier: Apache-2.0
"""What the agent knows of its nova-compute."""

import dataclasses
import threading

import testtools

from korora_nova.attester import enforcer
from korora_nova.custody import bodies, operations

SAID = operations.Enforces('a.Driver', '1', '')
DRIFTED = dataclasses.replace(SAID, drift='[NOVA_DRIFT] spawn')


class EnforcementTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 1000.0
        self.changes = 0
        self.enforcement = enforcer.Enforcement(
            90, self.changed, lambda: self.now
        )

    def changed(self) -> None:
        self.changes += 1
        # Whoever attests now tells what is new.
        self.enforcement.current()

    def test_nothing(self) -> None:
        self.assertIsNone(self.enforcement.current())

    def test_heard(self) -> None:
        self.enforcement.hear(SAID)
        self.now += 7.9
        self.assertEqual(
            bodies.Enforcer('a.Driver', '1', '', 7), self.enforcement.current()
        )

    def test_silence(self) -> None:
        self.enforcement.hear(SAID)
        self.now += 90
        self.assertIsNotNone(self.enforcement.current())
        self.now += 1
        self.assertIsNone(self.enforcement.current())
        self.enforcement.hear(SAID)
        self.assertIsNotNone(self.enforcement.current())
        self.assertEqual(2, self.changes)

    def test_only_news_is_told_at_once(self) -> None:
        for said, changes in (
            (SAID, 1),
            (SAID, 1),
            (DRIFTED, 2),
            (DRIFTED, 2),
            (SAID, 3),
            # Another one on the same host, and of another release.
            (dataclasses.replace(SAID, driver='b.Driver', release='2'), 3),
            (SAID, 3),
        ):
            self.now += 15
            self.enforcement.hear(said)
            self.assertEqual(changes, self.changes)

    def test_many_at_once(self) -> None:
        threads = [
            threading.Thread(target=self.enforcement.hear, args=(SAID,))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        self.assertEqual(1, self.changes)
