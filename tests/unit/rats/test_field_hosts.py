# SPDX-License-Identifier: Apache-2.0
"""Situations of hosts as they are; see tests/field."""

from __future__ import annotations

import unittest

from tests.field import clause1, clause6


class FieldTest(unittest.TestCase):
    def test_each_case(self) -> None:
        for case in (*clause1.CASES, *clause6.CASES):
            with self.subTest(f'{case.id}: {case.what}'):
                case.check()

    def test_cases(self) -> None:
        for cases, clause in ((clause1.CASES, 1), (clause6.CASES, 6)):
            self.assertGreaterEqual(len(cases), 4)
            self.assertEqual(len(cases), len({case.id for case in cases}))
            for case in cases:
                self.assertEqual(clause, case.clause)
                self.assertTrue(case.source and case.what)
