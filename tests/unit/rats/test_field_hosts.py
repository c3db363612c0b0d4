# SPDX-License-Identifier: Apache-2.0
"""Situations of hosts as they are; see tests/field."""

from __future__ import annotations

import unittest

from tests.field import clause1, clause2, clause3, clause5, clause6

CLAUSES = {
    1: clause1.CASES,
    2: clause2.CASES,
    3: clause3.CASES,
    5: clause5.CASES,
    6: clause6.CASES,
}


class FieldTest(unittest.TestCase):
    def test_each_case(self) -> None:
        for cases in CLAUSES.values():
            for case in cases:
                with self.subTest(f'{case.id}: {case.what}'):
                    case.check()

    def test_cases(self) -> None:
        for clause, cases in CLAUSES.items():
            self.assertGreaterEqual(len(cases), 4)
            self.assertEqual(len(cases), len({case.id for case in cases}))
            for case in cases:
                self.assertEqual(clause, case.clause)
                self.assertTrue(case.source and case.what)
