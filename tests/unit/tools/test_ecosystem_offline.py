# SPDX-License-Identifier: Apache-2.0
"""The stage of the offline window counts what its rows say."""

from __future__ import annotations

import unittest

from korora_tools.prove.attack import catalogue, offline
from korora_tools.prove.ecosystem import stage
from korora_tools.prove.ecosystem.stages import offline as ours


class OfflineTest(unittest.TestCase):
    def rows(self, number: int) -> list[dict[str, object]]:
        return [
            {'id': f'O{one}', 'held': True, 'why': ''} for one in range(number)
        ]

    def test_it_is_a_stage(self) -> None:
        self.assertIs(ours, stage.found()['offline'])

    def test_its_attacks_are_in_the_catalogue(self) -> None:
        self.assertGreaterEqual(len(offline.ATTACKS), ours.LEAST)
        self.assertLess(
            {attack.id for attack in offline.ATTACKS}, set(catalogue.BY_ID)
        )

    def test_all_held(self) -> None:
        found = ours.outcome(self.rows(6))
        self.assertEqual({'attacks': 6, 'held': 6}, found.report)
        self.assertEqual([], list(found.wrong))

    def test_one_did_not(self) -> None:
        rows = self.rows(6)
        rows[2] |= {'held': False, 'why': 'its test fails'}
        found = ours.outcome(rows)
        self.assertEqual({'attacks': 6, 'held': 5}, found.report)
        self.assertEqual(['O2: its test fails'], list(found.wrong))

    def test_too_few(self) -> None:
        self.assertEqual(1, len(ours.outcome(self.rows(5)).wrong))
