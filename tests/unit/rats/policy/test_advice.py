# SPDX-License-Identifier: Apache-2.0
"""Each advice is tried; see tests/field/advice.py."""

from __future__ import annotations

import unittest

from korora_nova import errors
from korora_nova.rats.policy import advice as table
from tests.field import advice


class AdviceTest(unittest.TestCase):
    def test_each_is_tried(self) -> None:
        self.assertEqual(set(table.ADVICE), set(advice.TRIALS))
        for key in table.ADVICE:
            self.assertIn(key.partition('/')[0], errors.REASONS)

    def test_each_helps(self) -> None:
        for key in advice.TRIALS:
            with self.subTest(key):
                advice.follow(key)

    def test_one_that_does_not_help_is_found(self) -> None:
        before, _ = advice.TRIALS['PCR_NOT_GOLDEN/learn'][0]
        self.assertIn('PCR_NOT_GOLDEN/learn', before.causes())

    def test_nothing_is_learned_while_a_log_does_not_verify(self) -> None:
        """Not in a circle: the log comes first."""
        scene = advice.Scene(
            [advice.PIN], advice.faulty('UEFI_LOG_BANK'), learned=()
        )
        self.assertEqual(['UEFI_LOG_BANK'], scene.causes())
