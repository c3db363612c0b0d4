# SPDX-License-Identifier: Apache-2.0
"""Situations of hosts as they are; see tests/field."""

from __future__ import annotations

import unittest

from tests import field


class FieldTest(unittest.TestCase):
    def test_each_case(self) -> None:
        for case in field.cases():
            with self.subTest(f'{case.id}: {case.what}'):
                case.check()

    def test_cases(self) -> None:
        cases = field.cases()
        self.assertEqual(len(cases), len({case.id for case in cases}))
        for case in cases:
            self.assertEqual(case.id.split('-')[0], str(case.clause))
            self.assertTrue(case.source and case.what)
        for clause in {case.clause for case in cases}:
            found = [case for case in cases if case.clause == clause]
            self.assertGreaterEqual(len(found), 4)
