# SPDX-License-Identifier: Apache-2.0
"""Documents on disk: the newest of each server, whatever the disk does."""

from __future__ import annotations

import pathlib
import tempfile
from unittest import mock

import testtools

from korora_nova.attester import files, journal
from korora_nova.custody import chain, documents
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.documents import Document
from tests.support import documents as docs


def server(number: int) -> str:
    return f'00000000-0000-4000-8000-{number:012d}'


class JournalTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.path = self.directory / 'documents.jsonl'
        self.keys = docs.Keys()

    def verified(self, document: Document) -> AnyVerified:
        token = documents.sign(document, self.keys.custody)
        return chain.read(token, self.keys.ring)

    def receipt(self, version: int, **changes: object) -> AnyVerified:
        return self.verified(docs.a_receipt(version=version, **changes))

    def grant(self, number: int) -> AnyVerified:
        return self.verified(docs.a_grant(instance=server(number)))

    def again(self) -> journal.Journal:
        """As after a crash."""
        return journal.Journal(self.directory)

    def newest(self, kept: journal.Journal) -> int:
        entry = kept.newest(docs.INSTANCE)
        return entry.version if entry is not None else 0

    def lines(self) -> int:
        return self.path.read_bytes().count(b'\n')

    def test_the_newest_counts(self) -> None:
        kept = self.again()
        self.assertIsNone(kept.newest(docs.INSTANCE))
        start = self.verified(docs.a_start())
        decided = self.receipt(7)
        self.assertTrue(kept.add(start))
        self.assertTrue(kept.add(decided))
        self.assertFalse(kept.add(start))
        self.assertFalse(kept.add(decided))
        for one in (kept, self.again()):
            entry = one.newest(docs.INSTANCE)
            assert entry is not None
            self.assertEqual(
                (7, decided.hash, decided.token, docs.MIGRATION, True),
                (
                    entry.version,
                    entry.hash,
                    entry.token,
                    entry.subject,
                    entry.receipt,
                ),
            )
            self.assertEqual([entry], one.all())
        self.assertEqual(2, self.lines())

    def test_receipt_of_a_migration(self) -> None:
        kept = self.again()
        self.assertIsNone(kept.receipt(docs.INSTANCE, docs.MIGRATION))
        kept.add(self.verified(docs.a_permit()))
        self.assertIsNone(kept.receipt(docs.INSTANCE, docs.MIGRATION))
        decided = self.receipt(7)
        kept.add(decided)
        self.assertEqual(
            decided.token, kept.receipt(docs.INSTANCE, docs.MIGRATION)
        )
        self.assertIsNone(kept.receipt(docs.INSTANCE, docs.INSTANCE))
        gone = self.receipt(8, **docs.DELETED)
        kept.add(gone)
        self.assertIsNone(kept.receipt(docs.INSTANCE, docs.MIGRATION))
        self.assertEqual(
            gone.token, kept.receipt(docs.INSTANCE, docs.INSTANCE)
        )

    def test_two_documents_of_one_version(self) -> None:
        """The first one stays: this host has acted upon it."""
        kept = self.again()
        first = self.receipt(7)
        kept.add(first)
        self.assertFalse(kept.add(self.receipt(7, **docs.ABORTED)))
        entry = kept.newest(docs.INSTANCE)
        assert entry is not None
        self.assertEqual(first.hash, entry.hash)

    def test_torn_line_after_a_crash(self) -> None:
        self.again().add(self.receipt(7))
        with self.path.open('ab') as stream:
            stream.write(b'{"instance": "x", "ha')
        kept = self.again()
        self.assertEqual(7, self.newest(kept))
        kept.add(self.receipt(8))
        self.assertEqual(8, self.newest(self.again()))
        self.assertEqual(2, self.lines())

    def test_full_disk(self) -> None:
        """A12: the document is not kept, and the next one is whole."""
        kept = self.again()
        kept.add(self.receipt(7))

        def torn(path: pathlib.Path, content: bytes) -> None:
            with path.open('ab') as stream:
                stream.write(content[:100])
            raise OSError(28, 'No space left on device')

        with mock.patch.object(files, 'append', torn):
            for version in (8, 9):
                self.assertRaises(OSError, kept.add, self.receipt(version))
        self.assertEqual(7, self.newest(kept))
        # A crash now: what is torn goes, what was whole stays.
        self.assertEqual(7, self.newest(self.again()))
        kept.add(self.receipt(9))
        self.assertEqual(2, self.lines())
        self.assertEqual(9, self.newest(self.again()))

    def test_damaged_line_in_the_middle(self) -> None:
        self.again().add(self.receipt(7))
        with self.path.open('ab') as stream:
            stream.write(b'\xff{\n[]\n{}\n' + b'[' * 100000 + b'\n')
        self.again().add(self.receipt(8))
        self.assertEqual(8, self.newest(self.again()))

    def test_bounded_by_its_servers(self) -> None:
        kept = self.again()
        kept.add(self.grant(1))
        for version in range(7, 400):
            kept.add(self.receipt(version))
        self.assertLess(self.lines(), 100)
        again = self.again()
        self.assertEqual(399, self.newest(again))
        self.assertIsNotNone(again.newest(server(1)))
        again.add(self.receipt(400))
        self.assertEqual(400, self.newest(self.again()))

    def test_compacting_may_fail(self) -> None:
        """On a full disk the long file goes on."""
        kept = self.again()
        with mock.patch.object(files, 'write', side_effect=OSError(28, '')):
            for version in range(7, 100):
                kept.add(self.receipt(version))
        self.assertEqual(93, self.lines())
        kept.add(self.receipt(100))
        self.assertEqual(1, self.lines())
        self.assertEqual(100, self.newest(self.again()))

    def test_the_oldest_go(self) -> None:
        with mock.patch.object(journal, 'REMEMBERED', 3):
            kept = self.again()
            for number in (1, 2, 3):
                kept.add(self.grant(number))
            kept.add(self.receipt(7))
            self.assertIsNone(kept.newest(server(1)))
            self.assertEqual(7, self.newest(kept))
            self.assertEqual(3, len(self.again().all()))
