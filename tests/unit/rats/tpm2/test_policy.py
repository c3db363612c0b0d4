# SPDX-License-Identifier: Apache-2.0
"""Shapes and refusals; the values are compared with a TPM's own in
tests/functional/tpm/test_core_against_swtpm.py."""

import hashlib
import unittest

from korora_nova.rats.tpm2 import policy as tpm2_policy


class PolicyDigestTest(unittest.TestCase):
    def test_selection(self):
        self.assertEqual(
            bytes.fromhex('00000001000b03fffb00'),
            tpm2_policy.selection(tpm2_policy.PCRS_POLICY),
        )
        self.assertEqual(
            bytes.fromhex('00000001000b03ffff00'),
            tpm2_policy.selection(tpm2_policy.PCRS_QUOTED),
        )
        for index in (-1, 24):
            with self.assertRaises(ValueError):
                tpm2_policy.selection([index])

    def test_pcr_digest_is_ascending_and_complete(self):
        pcrs = {2: b'b' * 32, 1: b'a' * 32}
        self.assertEqual(
            hashlib.sha256(b'a' * 32 + b'b' * 32).digest(),
            tpm2_policy.pcr_digest(pcrs, (2, 1)),
        )
        for bad in ({1: b'a' * 32}, {1: b'a' * 31, 2: b'b' * 33}):
            with self.assertRaises(ValueError):
                tpm2_policy.pcr_digest(bad, (1, 2))

    def test_every_input_of_a_state_counts(self):
        """T2: a key is used in another state of the platform."""
        state = (bytes(32), bytes(8), 5, 0x15E)
        seen = {tpm2_policy.state_policy(*state)}
        for change in (
            (b'\1' * 32, *state[1:]),
            (state[0], b'\1' * 8, *state[2:]),
            (*state[:2], 6, state[3]),
            (*state[:3], None),
            (*state[:3], 0x157),
        ):
            seen.add(tpm2_policy.state_policy(*change))
        self.assertEqual(6, len(seen))

    def test_state_refuses_odd_inputs(self):
        for bad in (
            (bytes(31), bytes(8), 5, None),
            (bytes(32), bytes(4), 5, None),
            (bytes(32), bytes(8), -1, None),
            (bytes(32), bytes(8), 1 << 64, None),
        ):
            with self.assertRaises(ValueError):
                tpm2_policy.state_policy(*bad)
