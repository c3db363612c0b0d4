# SPDX-License-Identifier: Apache-2.0
"""Hosts that are built for each distribution; see tests/field/built.py."""

from __future__ import annotations

import unittest

from korora_nova import starters
from tests.field import built


class BuiltTest(unittest.TestCase):
    def test_each_distribution(self) -> None:
        self.assertEqual(
            set(starters.names()), {about.policy for about in built.HOSTS}
        )
        for about in built.HOSTS:
            with self.subTest(about.os):
                found = built.judge(about)
                self.assertTrue(found.affirming)
                program, argument, kernel = found.refused.values()
                self.assertEqual(('IMA_UNKNOWN_FILE',), program)
                self.assertEqual(('COMMAND_LINE',), argument)
                self.assertIn('COMPONENT_UNKNOWN', kernel)

    def test_a_host_is_what_it_says(self) -> None:
        """The log has the new line, and still replays."""
        about = built.HOSTS[0]
        line = about.lines()[1]
        self.assertNotEqual(about.lines()[0], line)
        state = built.Machine(about, line).judged().state
        self.assertIsNone(state.log_fault)
        self.assertEqual(
            [line], [one.text for one in state.boot.command_lines]
        )
