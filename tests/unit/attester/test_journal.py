# SPDX-License-Identifier: Apache-2.0
"""The receipts a host keeps."""

from __future__ import annotations

import pathlib
import tempfile
from unittest import mock

import testtools

from korora_nova.attester import files, journal
from korora_nova.custody import receipt as receipts
from korora_nova.custody.words import Outcome
from korora_nova.rats.signed import keys

CLOUD = '11111111-2222-4333-8444-555555555555'
INSTANCE = '6b6f726f-7261-4000-8000-000000000001'


class JournalTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.key = keys.SigningKey.generate()
        pair = [keys.SigningKey.generate().public for _ in range(2)]
        self.ring = keys.KeyRing.build(
            CLOUD,
            result=pair[:1],
            custody=[self.key.public],
            approval=pair[1:],
        )

    def receipt(
        self, seq: int, outcome: Outcome = Outcome.COMMITTED
    ) -> receipts.VerifiedReceipt:
        migration = '00000000-0000-4000-8000-%012d' % seq
        deleted = outcome == Outcome.DELETED
        token = receipts.sign_receipt(
            receipts.Receipt(
                seq=seq,
                prev=receipts.GENESIS,
                incarnation=CLOUD,
                cloud=CLOUD,
                migration='' if deleted else migration,
                instance=INSTANCE,
                epoch=seq + 1,
                outcome=outcome,
                source='h1',
                dest='' if deleted else 'h2',
                permit_hash='' if deleted else '00' * 32,
                issued=1.0,
            ),
            self.key,
        )
        return receipts.verify_receipt(token, self.ring, cloud=CLOUD)

    def test_head_is_the_latest_by_sequence(self) -> None:
        kept = journal.Journal(self.directory)
        self.assertEqual('', kept.head)
        second, first = self.receipt(2), self.receipt(1)
        kept.add(second)
        kept.add(first)
        self.assertEqual(second.hash, kept.head)
        again = journal.Journal(self.directory)
        self.assertEqual(second.hash, again.head)
        self.assertEqual(second.token, again.head_token)
        self.assertEqual(first.token, again.find(first.receipt.migration))
        self.assertIsNone(again.find(INSTANCE))

    def test_added_once(self) -> None:
        kept = journal.Journal(self.directory)
        one = self.receipt(1)
        kept.add(one)
        kept.add(one)
        lines = (self.directory / 'receipts.jsonl').read_bytes()
        self.assertEqual(1, lines.count(b'\n'))

    def test_deletion_is_found_by_instance(self) -> None:
        kept = journal.Journal(self.directory)
        gone = self.receipt(3, Outcome.DELETED)
        kept.add(gone)
        self.assertEqual(gone.token, kept.find(INSTANCE))

    def test_superseding_is_the_latest_commit(self) -> None:
        kept = journal.Journal(self.directory)
        committed = self.receipt(4)
        kept.add(committed)
        kept.add(self.receipt(5, Outcome.ABORTED))
        self.assertEqual(committed.token, kept.superseding(INSTANCE))

    def test_torn_line_after_a_crash(self) -> None:
        kept = journal.Journal(self.directory)
        one = self.receipt(1)
        kept.add(one)
        with (self.directory / 'receipts.jsonl').open('ab') as stream:
            stream.write(b'{"seq": 2, "ha')
        again = journal.Journal(self.directory)
        self.assertEqual(one.hash, again.head)
        two = self.receipt(2)
        again.add(two)
        self.assertEqual(two.hash, journal.Journal(self.directory).head)
        lines = (self.directory / 'receipts.jsonl').read_bytes()
        self.assertEqual(2, len(lines.splitlines()))

    def test_full_disk(self) -> None:
        """A12: the receipt is not kept, and the next one is whole."""
        path = self.directory / 'receipts.jsonl'
        kept = journal.Journal(self.directory)
        one, two, three = (self.receipt(seq) for seq in (1, 2, 3))
        kept.add(one)

        def torn(path: pathlib.Path, content: bytes) -> None:
            with path.open('ab') as stream:
                stream.write(content[:100])
            raise OSError(28, 'No space left on device')

        with mock.patch.object(files, 'append', torn):
            for receipt in (two, three):
                self.assertRaises(OSError, kept.add, receipt)
        self.assertEqual(one.hash, kept.head)
        self.assertIsNone(kept.find(two.receipt.migration))
        # A crash now: what is torn goes, what was whole stays.
        before = journal.Journal(self.directory)
        self.assertEqual(one.hash, before.head)
        with mock.patch.object(files, 'append', torn):
            self.assertRaises(OSError, kept.add, two)
        kept.add(three)
        kept.add(two)
        self.assertEqual(3, len(path.read_bytes().splitlines()))
        after = journal.Journal(self.directory)
        self.assertEqual(three.hash, after.head)
        self.assertEqual(two.token, after.find(two.receipt.migration))

    def test_damaged_line_in_the_middle(self) -> None:
        kept = journal.Journal(self.directory)
        kept.add(self.receipt(1))
        with (self.directory / 'receipts.jsonl').open('ab') as stream:
            stream.write(b'\xff{\n')
        two = self.receipt(2)
        journal.Journal(self.directory).add(two)
        self.assertEqual(two.hash, journal.Journal(self.directory).head)
