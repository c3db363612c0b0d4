# SPDX-License-Identifier: Apache-2.0
import dataclasses
import hashlib
import json
import pathlib
import struct
import sys
import tempfile
import unittest
from unittest import mock

from korora_nova import errors
from korora_nova.rats import eventlog, ima
from korora_tools.fuzz import cli, repair, targets


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


class RunnerTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.state = pathlib.Path(directory.name)
        modules = mock.patch.dict(sys.modules, {'atheris': mock.MagicMock()})
        modules.start()
        self.addCleanup(modules.stop)
        from korora_tools.fuzz import runner

        self.runner = runner
        kept = mock.patch.object(runner.environment, 'STATE', self.state)
        kept.start()
        self.addCleanup(kept.stop)

    def run_target(self, run, *inputs, limit=9.0):
        made = self.runner.Run('key', limit)
        made.target = dataclasses.replace(made.target, run=run)
        for data in inputs:
            made.feed(data)
        report = made.report()
        return report, cli._failed(report), cli._line(report)

    def test_values_and_errors_of_the_project_are_fine(self):
        report, failed, line = self.run_target(
            targets.TARGETS['key'].run, *targets.key_seeds(), b'rubbish'
        )
        self.assertFalse(failed)
        self.assertLess(100, report['accepted'])
        self.assertLess(report['accepted'], report['inputs'])
        self.assertIn(f'{report["inputs"]} inputs', line)

    def test_anything_else_fails_and_is_kept(self):
        def run(data):
            errors.EvidenceError(data.decode())
            raise RecursionError

        report, failed, line = self.run_target(run, b'a', b'b', b'\xff')
        self.assertTrue(failed)
        self.assertEqual(
            {'RecursionError at outside', 'UnicodeDecodeError at outside'},
            set(report['failures']),
        )
        self.assertIn('RecursionError', line)
        self.assertEqual(
            {b'a', b'\xff'},
            {path.read_bytes() for path in (self.state / 'failed').iterdir()},
        )

    def test_slow_inputs_fail(self):
        report, failed, line = self.run_target(
            lambda data: sum(range(10_000)), b'a', b'b', limit=0.0
        )
        self.assertTrue(failed)
        self.assertEqual(2, report['slow'])
        self.assertIn('2 too slow', line)

    def test_a_process_that_died_fails(self):
        self.assertTrue(cli._failed({'failures': {}, 'died': 'out of memory'}))

    def test_documents_stay_documents(self):
        from korora_tools.fuzz import mutate

        mutate.atheris.Mutate = lambda data, size: b''
        good = next(targets.policy_seeds())
        made = {mutate.document(good, 4096, seed) for seed in range(200)}
        self.assertLess(100, len(made))
        for data in made - {b''}:
            json.loads(data)
            self.assertLessEqual(len(data), 4096)


class RepairTest(unittest.TestCase):
    def test_uefi_events_fit_their_digests(self):
        chunks = repair.chunks_of(iter([(0, 8, b'one'), (30, 13, b'')]))
        events = eventlog.parse(repair.uefi_chunks(chunks)).events
        self.assertEqual([0, 6], [event.pcr for event in events[1:]])
        self.assertEqual(
            hashlib.sha256(b'one').digest(), events[1].digests['sha256']
        )

    def test_ima_entries_fit_their_hashes(self):
        binary, text = targets.aggregate()
        entry = ima.parse(binary, form='binary').entries
        wrong = binary[:4] + bytes(20) + binary[24:]
        self.assertEqual(binary, repair.ima_binary(wrong))
        self.assertEqual(entry, ima.parse(text, form='ascii').entries)
        wrong = b'10 ' + b'00' * 20 + text[43:]
        self.assertEqual(text, repair.ima_ascii(wrong, targets._hashed))

    def test_what_cannot_be_repaired_stays(self):
        for data in (
            b'',
            b'x',
            struct.pack('<I', 10) + bytes(20) + b'\xff' * 4 + bytes(9),
        ):
            self.assertEqual(data, repair.ima_binary(data))
            repair.uefi_chunks(data)
