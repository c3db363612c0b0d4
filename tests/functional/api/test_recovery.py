# SPDX-License-Identifier: Apache-2.0
"""A database restored from a backup authorises nothing (I13, T31)."""

import os
import shutil
import uuid

from korora_nova.custody import receipt
from korora_nova.rats.signed import keys
from korora_nova.verifier.custody import receipts, recovery
from tests.functional.api.test_custody import CustodyTestCase
from tests.support import documents

SERVER = str(uuid.UUID(int=1))
OTHER = str(uuid.UUID(int=2))
MIGRATION = str(uuid.UUID(int=3))


class RecoveryTestCase(CustodyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.third = self.host('h3')
        self.path = os.path.join(self.korora.directory, 'korora.db')
        shutil.copy(self.path, self.path + '.backup')

    def moved(self, source, dest, statement: str = 'activated') -> str:
        migration, _ = self.handed_over(source, dest, SERVER)
        return dest.state(migration, statement)

    def restore(self) -> None:
        """Back to the backup; time and TPMs go on."""
        shutil.copy(self.path + '.backup', self.path)
        self.korora.service.references.clear()

    def row(self, instance: str = SERVER) -> tuple:
        row = self.admin.get_server(instance)
        return row['holder'], row['epoch'], row['pending']


class TestFreeze(RecoveryTestCase):
    def test_unknown_head(self):
        token = self.moved(self.source, self.dest)
        self.restore()
        self.dest.attest_now(head=token, held=((SERVER, 2),))
        for frozen in (
            lambda: self.source.approve((SERVER, 1)),
            lambda: self.third.claim(OTHER),
            lambda: self.dest.receive(OTHER, SERVER, 'h1'),
            lambda: self.source.delete(SERVER),
        ):
            with self.refused('LEDGER_BEHIND'):
                frozen()
        self.assertEqual('affirming', self.tier('h1'))

    def test_unknown_head_during_a_hand_over(self):
        self.handed_over(self.source, self.dest, SERVER, MIGRATION)
        shutil.copy(self.path, self.path + '.backup')
        token = self.dest.state(MIGRATION, 'activated')
        self.restore()
        self.dest.attest_now(head=token)
        with self.refused('LEDGER_BEHIND'):
            self.dest.state(MIGRATION, 'activated')
        with self.refused('LEDGER_BEHIND'):
            self.admin.abort_migration(MIGRATION, 'x')
        self.admin.recover_ledger([token])
        self.assertEqual(('h2', 2, None), self.row())
        self.assertEqual('committed', self.status())
        self.assertEqual(
            token, self.source.state(MIGRATION, 'stream_completed')
        )

    def test_permit_is_frozen(self):
        msk = self.received()
        self.in_nova()
        self.third.attest_now(held=((OTHER, 1),))
        with self.refused('LEDGER_BEHIND'):
            self.send(msk)

    def test_epoch_never_issued(self):
        self.source.attest_now(held=((SERVER, 2),))
        with self.refused('LEDGER_BEHIND'):
            self.source.approve((SERVER, 1))

    def test_key_never_claimed(self):
        self.source.attest_now(held=((OTHER, 1),))
        with self.refused('LEDGER_BEHIND'):
            self.source.approve((SERVER, 1))

    def test_known_reports_do_not_freeze(self):
        first = self.moved(self.source, self.dest)
        self.moved(self.dest, self.source)
        # An older receipt is a known one.
        self.dest.attest_now(head=first)
        self.source.attest_now(held=((SERVER, 3),))
        self.source.approve((SERVER, 3))

    def test_report_of_a_host_that_does_not_verify(self):
        message = self.source.message(
            'attest',
            ('{"version":1,"receipt_head":"","held":[["' + OTHER + '",1]]}'),
            self.source.challenge(),
        )
        message['evidence']['pcrs']['0'] = '00' * 32
        with self.refused('QUOTE_DIGEST'):
            self.source.api.evidence('h1', message)
        self.source.approve((SERVER, 1))

    def test_receipt_that_is_not_of_this_service(self):
        token = self.moved(self.source, self.dest)
        elsewhere = receipt.sign_receipt(
            documents.a_receipt(cloud=self.korora.service.cloud),
            keys.SigningKey.generate(),
        )
        for head in ('a.b.c', token[:-8] + 'AAAAAAAA', elsewhere):
            self.restore()
            self.dest.attest_now(head=head)
            self.source.approve((SERVER, 1))

    def test_word_of_a_host_that_is_not_trusted(self):
        token = self.moved(self.source, self.dest)
        self.restore()
        self.dest.measure('/tmp/rootkit')
        self.dest.attest_now(held=((SERVER, 2), (OTHER, 1)))
        self.assertEqual('contraindicated', self.tier('h2'))
        self.source.approve((SERVER, 1))
        self.assertEqual(0, self.admin.recover_ledger([])['adopted'])
        # What it can show counts all the same.
        self.dest.attest_now(head=token)
        with self.refused('LEDGER_BEHIND'):
            self.source.approve((SERVER, 1))

    def test_by_the_operator_who_restored(self):
        recovery.freeze(self.korora.service.db, 'restored')
        with self.refused('LEDGER_BEHIND'):
            self.source.approve((SERVER, 1))
        self.admin.recover_ledger([])
        self.source.approve((SERVER, 1))


class TestRecover(RecoveryTestCase):
    def test_from_receipts(self):
        before = self.admin.results().incarnation
        tokens = [
            self.moved(self.source, self.dest),
            self.moved(self.dest, self.third),
        ]
        self.restore()
        self.third.attest_now(head=tokens[1], held=((SERVER, 3),))
        answer = self.admin.recover_ledger(list(reversed(tokens)))
        self.assertEqual((2, 0), (answer['chained'], answer['unchained']))
        self.assertNotEqual(before, answer['incarnation'])
        self.assertEqual(
            answer['incarnation'], self.admin.results().incarnation
        )
        self.assertEqual(('h3', 3, None), self.row())
        for host, epoch in ((self.source, 1), (self.dest, 2)):
            with self.refused('NOT_HOLDER'):
                host.approve((SERVER, epoch))
        self.third.approve((SERVER, 3))
        self.assertEqual(
            2, receipts.verify(self.korora.service.db, self.korora.ring)
        )

    def test_the_ends_still_get_their_receipt(self):
        self.handed_over(self.source, self.dest, SERVER, MIGRATION)
        token = self.dest.state(MIGRATION, 'activated')
        self.restore()
        self.admin.recover_ledger([token])
        self.assertEqual(
            token, self.source.state(MIGRATION, 'stream_completed')
        )
        with self.refused('MIGRATION_UNKNOWN'):
            self.third.state(MIGRATION, 'activated')

    def test_epochs_of_the_lost_time_are_not_issued_again(self):
        # A permit was signed and its receipt is lost for good.
        self.handed_over(self.source, self.dest, SERVER)
        self.restore()
        self.admin.recover_ledger([])
        migration, _ = self.handed_over(self.source, self.third, SERVER)
        self.third.state(migration, 'activated')
        self.assertGreater(self.row()[1], 1000)
        with self.refused('NOT_HOLDER'):
            self.dest.approve((SERVER, 2))

    def test_heads_still_unknown_freeze_again(self):
        token = self.moved(self.source, self.dest)
        last = self.moved(self.dest, self.third)
        self.restore()
        self.admin.recover_ledger([token])
        self.third.attest_now(head=last)
        with self.refused('LEDGER_BEHIND'):
            self.dest.approve((SERVER, 2))

    def test_a_missing_receipt_between(self):
        self.moved(self.source, self.dest)
        last = self.moved(self.dest, self.third)
        self.restore()
        answer = self.admin.recover_ledger([last])
        self.assertEqual((0, 1), (answer['chained'], answer['unchained']))
        self.assertEqual(('h3', 3, None), self.row())
        self.third.attest_now(head=last, held=((SERVER, 3),))
        self.third.approve((SERVER, 3))
        self.moved(self.third, self.source)
        self.assertEqual(
            1, receipts.verify(self.korora.service.db, self.korora.ring)
        )

    def test_only_an_abort_of_an_unknown_holder_is_left(self):
        self.moved(self.source, self.dest)
        aborted = self.moved(self.dest, self.third, 'no_domain')
        self.restore()
        self.admin.recover_ledger([aborted])
        # h1 does not hold it any more, and who does is not proven.
        self.assertIsNone(self.row()[0])
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))

    def test_abort_by_the_known_holder(self):
        aborted = self.moved(self.source, self.dest, 'no_domain')
        self.restore()
        self.admin.recover_ledger([aborted])
        self.assertEqual(('h1', 1, None), self.row())
        self.source.approve((SERVER, 1))
        with self.refused('NOT_HOLDER'):
            self.dest.approve((SERVER, 2))

    def test_branches(self):
        lost = self.moved(self.source, self.dest)
        self.restore()
        # Nobody noticed yet: the restored ledger decides the same epoch.
        fork = self.moved(self.source, self.third)
        self.assertNotEqual(lost, fork)
        self.dest.attest_now(head=lost, held=((SERVER, 2),))
        self.admin.recover_ledger([lost])
        self.assertIsNone(self.row()[0])
        for host in (self.dest, self.third):
            with self.refused('NOT_HOLDER'):
                host.approve((SERVER, 2))
        self.dest.attest_now(head=lost)
        self.third.attest_now(head=fork)
        self.third.claim(OTHER)

    def test_deleted_meanwhile(self):
        token = self.source.delete(SERVER)
        self.restore()
        self.admin.recover_ledger([token])
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))
        self.assertEqual(token, self.source.delete(SERVER))

    def test_claimed_after_the_backup(self):
        self.dest.claim(OTHER)
        self.restore()
        self.dest.attest_now(held=((OTHER, 1),))
        self.assertEqual(1, self.admin.recover_ledger([])['adopted'])
        self.dest.approve((OTHER, 1))
        self.dest.attest_now(held=((OTHER, 1),))
        self.dest.approve((OTHER, 1))

    def test_claimed_by_two(self):
        self.dest.attest_now(held=((OTHER, 1),))
        self.third.attest_now(held=((OTHER, 1),))
        self.assertEqual(0, self.admin.recover_ledger([])['adopted'])
        for host in (self.dest, self.third):
            with self.refused('NOT_HOLDER'):
                host.approve((OTHER, 1))

    def test_said_to_be_held_by_another_than_the_holder(self):
        self.third.attest_now(held=((SERVER, 9),))
        self.admin.recover_ledger([])
        self.assertEqual(('h1', 1, None), self.row())

    def test_forged_receipt(self):
        token = self.moved(self.source, self.dest)
        self.restore()
        forged = token[:-8] + 'AAAAAAAA'
        with self.refused('RECEIPT_INVALID'):
            self.admin.recover_ledger([token, forged])
        self.assertEqual([], self.admin.list_receipts())

    def test_known_receipts_change_nothing(self):
        token = self.moved(self.source, self.dest)
        answer = self.admin.recover_ledger([token, token])
        self.assertEqual((0, 0), (answer['chained'], answer['unchained']))
        self.dest.approve((SERVER, 2))

    def test_known_receipts_signed_otherwise_change_nothing(self):
        old = self.moved(self.source, self.dest)
        self.moved(self.dest, self.third)
        twin = documents.other_signature(old)
        answer = self.admin.recover_ledger([twin])
        self.assertEqual(0, answer['unchained'])
        self.assertEqual(('h3', 3, None), self.row())
        self.third.approve((SERVER, 3))

    def test_one_receipt_with_two_signatures(self):
        token = self.moved(self.source, self.dest)
        self.restore()
        answer = self.admin.recover_ledger(
            [documents.other_signature(token), token]
        )
        self.assertEqual((1, 0), (answer['chained'], answer['unchained']))
        self.dest.attest_now(head=token, held=((SERVER, 2),))
        self.dest.approve((SERVER, 2))

    def test_pending_hand_over_can_still_be_decided(self):
        self.handed_over(self.source, self.dest, SERVER, MIGRATION)
        self.admin.recover_ledger([])
        self.dest.state(MIGRATION, 'activated')
        self.dest.approve((SERVER, 2))

    def test_old_incarnation_of_an_empty_database(self):
        token = self.moved(self.source, self.dest)
        with self.korora.service.db.engine.begin() as connection:
            for table in ('servers', 'migrations', 'receipts'):
                connection.exec_driver_sql(f'DELETE FROM {table}')
            connection.exec_driver_sql(
                "UPDATE ledger SET head_seq = 0, head_hash = '"
                + '0' * 64
                + "'"
            )
        self.dest.attest_now(head=token, held=((SERVER, 2),))
        with self.refused('LEDGER_BEHIND'):
            self.source.claim(SERVER)
        self.admin.recover_ledger([token])
        self.assertEqual(('h2', 2, None), self.row())
