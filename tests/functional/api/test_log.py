# SPDX-License-Identifier: Apache-2.0
"""T25: whoever edits the ledger is found out by its auditor."""

import uuid

from korora_nova.custody import documents, receipt
from korora_nova.rats.signed import keys
from korora_nova.verifier.custody import log
from tests.functional.api.test_custody import SERVER, CustodyTestCase
from tests.support import documents as made


class LogTest(CustodyTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in range(4):
            instance = str(uuid.UUID(int=100 + number))
            self.source.claim(instance)
            self.source.delete(instance)
        self.moved(self.source, self.dest, SERVER)
        self.assertEqual([], self.verify().faults)

    def edit(self, *statements: str) -> None:
        with self.korora.service.db.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def verify(self) -> log.Report:
        service = self.korora.service
        return log.verify(service.db, self.korora.ring, service.anchor)

    def assert_found(self, *statements: str, why: str) -> None:
        self.edit(*statements)
        report = self.verify()
        self.assertRegex(' '.join(report.faults), why)
        with self.refused('DOCUMENT_INVALID'):
            report.check()

    def test_whole(self):
        report = self.verify()
        self.assertEqual(
            (12, 5, [], []),
            (report.documents, report.servers, report.faults, report.holes),
        )
        receipts = self.admin.list_receipts()
        self.assertEqual(5, len(receipts))
        # Each has a place in the log of all documents.
        self.assertEqual(receipts[1:], self.admin.list_receipts(since=3))

    def test_grows(self):
        self.moved(self.dest, self.source, SERVER)
        self.assertEqual(15, self.verify().documents)
        self.assertEqual(6, len(self.admin.list_receipts()))

    def test_edited(self):
        self.assert_found(
            'UPDATE documents SET token = (SELECT token FROM documents '
            'WHERE seq = 2) WHERE seq = 3',
            why='under the name of another',
        )

    def test_forged(self):
        first = receipt.verify_receipt(
            self.admin.list_receipts()[0], self.korora.ring
        )
        token = documents.sign(first.content, keys.SigningKey.generate())
        self.assert_found(
            f"UPDATE documents SET token = '{token}' "
            f"WHERE hash = '{first.hash}'",
            why='does not verify',
        )

    def test_other_signature(self):
        """(r, n - s): the same document all the same."""
        first = self.source.read(self.admin.list_receipts()[0])
        token = made.other_signature(first.token)
        self.edit(
            f"UPDATE documents SET token = '{token}' "
            f"WHERE hash = '{first.hash}'"
        )
        self.verify().check()

    def test_dropped(self):
        self.edit('DELETE FROM documents WHERE seq = 2')
        self.assert_found(why='Place 2 of the log is empty')

    def test_first_dropped(self):
        self.assert_found('DELETE FROM documents WHERE seq = 1', why='Place 1')

    def test_last_dropped(self):
        self.assert_found(
            'DELETE FROM documents WHERE seq = 12', why='its head'
        )

    def test_all_dropped(self):
        self.assert_found('DELETE FROM documents', why='its head')

    def test_reordered(self):
        self.assert_found(
            'UPDATE documents SET seq = 20 WHERE seq = 2',
            'UPDATE documents SET seq = 2 WHERE seq = 3',
            'UPDATE documents SET seq = 3 WHERE seq = 20',
            why='its head',
        )

    def test_row_edited(self):
        for change in (
            "holder = 'h1'",
            'epoch = 3',
            'released = 1',
            "pending = '00000000-0000-0000-0000-000000000003'",
        ):
            self.edit('CREATE TABLE kept AS SELECT * FROM servers')
            self.assert_found(
                f"UPDATE servers SET {change} WHERE instance = '{SERVER}'",
                why='not what its newest document says',
            )
            self.edit(
                'DELETE FROM servers',
                'INSERT INTO servers SELECT * FROM kept',
                'DROP TABLE kept',
            )

    def test_row_dropped(self):
        self.assert_found(
            f"DELETE FROM servers WHERE instance = '{SERVER}'",
            why='has documents, but no row',
        )

    def test_dispute_is_no_fault(self):
        migration, _ = self.moving(self.dest, self.source, SERVER)
        self.source.state(migration, 'activated')
        self.dest.state(migration, 'kept')
        self.verify().check()

    def test_gap(self):
        """What was lost with a database and came back with holes."""
        newest = self.admin.list_receipts()[-1]
        self.edit(
            f"DELETE FROM documents WHERE instance = '{SERVER}'",
            f"DELETE FROM servers WHERE instance = '{SERVER}'",
            "UPDATE ledger SET head_seq = 0, head_hash = '" + '0' * 64 + "'",
            'UPDATE documents SET seq = NULL',
        )
        self.source.present(newest)
        report = self.verify()
        self.assertEqual([], report.faults)
        self.assertEqual(
            [f'Of server {SERVER}, documents 1 to 3 are missing.'],
            report.holes,
        )
        self.dest.approve((SERVER, 2))

    def test_behind_its_anchor(self):
        row = "holder = 'h1', epoch = 1, version = 1, head = '{}'"
        grant = next(
            item
            for item in self.source.documents.values()
            if (item.content.instance, item.content.version) == (SERVER, 1)
        )
        self.assert_found(
            f'UPDATE servers SET {row.format(grant.hash)}, '
            f"claim = '{grant.content.key}' WHERE instance = '{SERVER}'",
            f"DELETE FROM documents WHERE instance = '{SERVER}' "
            'AND version > 1',
            why='behind its anchor',
        )
