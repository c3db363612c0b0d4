# SPDX-License-Identifier: Apache-2.0
"""What response codes of TPMs are called for people."""

import struct
import unittest

from korora_nova.tpm import causes
from korora_nova.tpm.causes import Command

OWNER, ENDORSEMENT, LOCKOUT = 0x40000001, 0x4000000B, 0x4000000A
EVICT = Command(0x120, OWNER)


class CausesTest(unittest.TestCase):
    def test_passwords_by_hierarchy(self):
        for handle, name in ((OWNER, 'owner'), (ENDORSEMENT, 'endorsement')):
            # BAD_AUTH and AUTH_FAIL of session 1; AUTH_MISSING
            for code in (0x9A2, 0x98E, 0x125, 0x000B09A2):
                said = causes.explain(code, Command(0x131, handle))
                self.assertIn(f'the {name} hierarchy has a password', said)
                self.assertIn(f'[attester] {name}_auth', said)
                self.assertIn(f'korora.{name}-auth', said)
                self.assertIn(f'-c {name} ', said)

    def test_passwords_of_others(self):
        for handle in (LOCKOUT, 0x01C00002):
            said = causes.explain(0x98E, Command(0x14E, handle))
            self.assertIn(f'0x{handle:08x}', said)

    def test_hierarchies(self):
        said = causes.explain(0x185, Command(0x131, ENDORSEMENT))
        self.assertIn('the endorsement hierarchy is disabled', said)
        self.assertIn('firmware setup', said)
        self.assertIn('disabled', causes.explain(0x185, Command()))

    def test_no_room(self):
        said = causes.explain(0x14B, EVICT)
        self.assertIn('make another key persistent', said)
        self.assertIn('may be of the TPM maker', said)
        self.assertNotIn('evict', said)
        self.assertIn('hold anything', causes.explain(0x14B, Command(0x12A)))

    def test_others(self):
        for code, word in (
            (0x921, '--clear-lockout'),
            (0x101, 'failure mode'),
            (0x100, 'TPM2_Startup'),
            (0x12D, 'upgrade'),
            (0x14A, 'never written'),
            (0x902, '/dev/tpmrm0'),
            (0x923, 'later'),
        ):
            self.assertIn(word, causes.explain(code, Command()))

    def test_what_the_stack_says_better(self):
        # a parameter; a layer that is not the TPM; unknown codes
        for code in (0x1C4, 0x000A0001, 0x000609A2, 0x0007000B, 0x9FF, 0):
            self.assertIsNone(causes.explain(code, EVICT))

    def test_commands(self):
        sent = struct.pack('>HIII', 0x8002, 14, 0x120, OWNER)
        self.assertEqual(EVICT, Command.of(sent))
        self.assertEqual('owner', EVICT.hierarchy)
        self.assertEqual(Command(), Command.of(b''))
        self.assertEqual('', Command(0x17A, 6).hierarchy)
