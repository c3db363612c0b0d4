# SPDX-License-Identifier: Apache-2.0
"""Lists of real kernels."""

import json
import pathlib
import unittest

from korora_nova.rats import ima

VECTORS = pathlib.Path(__file__).parents[3] / 'vectors' / 'ima'


class RecordedTest(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.memos = ima.Memos()

    def recorded(self):
        names = sorted(path.parent for path in VECTORS.glob('*/vector.json'))
        self.assertGreater(len(names), 20)
        for directory in names:
            vector = json.loads((directory / 'vector.json').read_text())
            banks = {
                bank: {
                    int(index): bytes.fromhex(value)
                    for index, value in pcrs.items()
                }
                for bank, pcrs in vector['pcrs'].items()
            }
            yield directory, banks

    def test_binary_and_ascii_say_the_same_in_every_bank(self):
        for directory, banks in self.recorded():
            logs = [
                (directory / f'{form}_runtime_measurements').read_bytes()
                for form in ('binary', 'ascii')
            ]
            parsed = [ima.parse(log) for log in logs]
            self.assertEqual(parsed[0], parsed[1])
            for bank, pcrs in banks.items():
                self.assertEqual(
                    parsed[0].entries,
                    parsed[0].verify(pcrs, bank, banks=banks),
                )
                for log in logs:
                    measured = ima.measure(
                        log,
                        pcrs,
                        [ima.Rules()],
                        bank=bank,
                        banks=banks,
                        memos=self.memos,
                    )
                    self.assertEqual(
                        parsed[0].entries, tuple(measured.files())
                    )
                    self.assertEqual(len(log), measured.state.bytes)

    def test_what_was_measured_is_admitted_when_listed(self):
        for directory, banks in self.recorded():
            log = (directory / 'binary_runtime_measurements').read_bytes()
            entries = ima.parse(log).entries
            listed = {
                item.digest
                for item in entries[1:]
                if item.path != ima.BOOT_AGGREGATE and not item.violation
            }
            rules = ima.Rules(listed, violations=True)
            for bank, pcrs in banks.items():
                for _ in range(2):  # the second time from the memo
                    measured = ima.measure(
                        log,
                        pcrs,
                        [rules],
                        bank=bank,
                        banks=banks,
                        memos=self.memos,
                    )
                    self.assertEqual(((),), measured.findings)
            for digest in listed:
                findings = ima.measure(
                    log,
                    pcrs,
                    [ima.Rules(listed - {digest}, violations=True)],
                    bank=bank,
                    banks=banks,
                    memos=self.memos,
                ).findings[0]
                self.assertEqual(
                    {digest},
                    {
                        item.details['got']
                        for item in findings
                        if 'got' in item.details
                    },
                )

    def test_in_parts(self):
        for directory, banks in self.recorded():
            log = (directory / 'binary_runtime_measurements').read_bytes()
            bank, pcrs = next(iter(banks.items()))
            whole = ima.measure(
                log,
                pcrs,
                [ima.Rules()],
                bank=bank,
                banks=banks,
                memos=self.memos,
            )
            self.assertEqual(
                ima.State.from_json(
                    json.loads(json.dumps(whole.state.to_json()))
                ),
                whole.state,
            )
            again = ima.measure(
                b'',
                pcrs,
                [ima.Rules()],
                bank=bank,
                banks=banks,
                state=whole.state,
                memos=self.memos,
            )
            self.assertEqual(whole.state, again.state)
            self.assertEqual(whole.findings, again.findings)
