# SPDX-License-Identifier: Apache-2.0
import hashlib
import struct
import unittest

from fuzzlib import cli, repair, targets
from korora_nova import errors
from korora_nova.rats import eventlog, ima


class TargetsTest(unittest.TestCase):

    def test_every_target_has_seeds_that_reach_far(self):
        self.assertEqual(set(cli.TARGETS), set(targets.TARGETS))
        for name, target in targets.TARGETS.items():
            accepted = 0
            for seed in target.seeds():
                self.assertGreater(1 << 20, len(seed))
                try:
                    target.run(seed)
                    accepted += 1
                except errors.KororaError:
                    pass
            self.assertTrue(accepted, name)

    def test_a_fault_gets_out(self):
        # What is not an error of the project must not be swallowed.
        with self.assertRaises(TypeError):
            targets.TARGETS['uefi'].run(None)


class RepairTest(unittest.TestCase):

    def test_uefi_events_fit_their_digests(self):
        chunks = repair.chunks_of(iter([(0, 8, b'one'), (30, 13, b'')]))
        events = eventlog.parse(repair.uefi_chunks(chunks)).events
        self.assertEqual([0, 6], [event.pcr for event in events[1:]])
        self.assertEqual(hashlib.sha256(b'one').digest(),
                         events[1].digests['sha256'])

    def test_ima_entries_fit_their_hashes(self):
        binary, text = targets.aggregate()
        entry = ima.parse(binary, form='binary').entries
        wrong = binary[:4] + bytes(20) + binary[24:]
        self.assertEqual(binary, repair.ima_binary(wrong))
        self.assertEqual(entry, ima.parse(text, form='ascii').entries)
        wrong = b'10 ' + b'00' * 20 + text[43:]
        self.assertEqual(text, repair.ima_ascii(wrong, targets._hashed))

    def test_what_cannot_be_repaired_stays(self):
        for data in (b'', b'x', struct.pack('<I', 10) + bytes(20)
                     + b'\xff' * 4 + bytes(9)):
            self.assertEqual(data, repair.ima_binary(data))
            repair.uefi_chunks(data)
