# SPDX-License-Identifier: Apache-2.0
"""Situations of real hosts that need a TPM; see tests/field/machines.py."""

from __future__ import annotations

import testtools

from tests.field import machines


class FieldTest(testtools.TestCase):
    def test_each_case(self) -> None:
        self.assertEqual(
            len(machines.CASES), len({case.id for case in machines.CASES})
        )
        for case in machines.CASES:
            with self.subTest(f'{case.id}: {case.what}'):
                case.check()
