# SPDX-License-Identifier: Apache-2.0
"""Hosts as reports from the field describe them; see tests/support/faults.py.

Most of them are cases of ``tests/vectors/cases/field.yaml``.
"""

import unittest

from tests.support import faults, vectorcalls, vectors


class Sha1Test(unittest.TestCase):
    """``ima_hash=sha1`` and a SHA-1 bank that agents do not quote."""

    @faults.not_yet('field 05', 'field', today='must find the TPM')
    def test_boot_aggregate(self):
        """field 05: the advice to reboot is vain; it should name ima_hash."""
        facts = vectorcalls.appraised(
            vectors.load('ima/hash-sha1'), {'sign': True, 'diff': True}
        )
        advice = [
            item['advice']
            for item in facts['differences']
            if item['reason'] == 'IMA_BOOT_AGGREGATE'
        ]
        for text in advice:
            self.assertIn('ima_hash=sha256', text)
