# SPDX-License-Identifier: Apache-2.0
"""Rows 6 to 14: hand-overs, approvals, receipts; one check per test."""

import dataclasses
import uuid

import sqlalchemy as sa

from korora_nova.custody import approval, permit, receipt, transcript
from korora_nova.rats.signed import keys
from korora_nova.verifier.custody import receipts
from tests.functional.api import base

SERVER = str(uuid.UUID(int=1))
OTHER = str(uuid.UUID(int=2))
MIGRATION = str(uuid.UUID(int=3))


class CustodyTestCase(base.ApiTestCase):
    """h1 holds a server's key at epoch 1; h2 and h3 are trusted, too."""

    def setUp(self) -> None:
        super().setUp()
        self.source = self.host('h1')
        self.dest = self.host('h2')
        self.source.claim(SERVER)

    def handed(self, dest=None, migration: str = MIGRATION):
        return self.handed_over(
            self.source, dest or self.dest, SERVER, migration
        )

    def in_nova(self, migration: str = MIGRATION, dest: str = 'h2') -> None:
        self.korora.nova.migrations.add((migration, SERVER, 'h1', dest))

    def received(self, **changed):
        return self.dest.receive(MIGRATION, SERVER, 'h1', **changed)

    def send(self, msk, **changed):
        wanted = {
            'migration': MIGRATION,
            'instance': SERVER,
            'dest': 'h2',
            'msk_name': msk.name,
            **changed,
        }
        return self.source.send(**wanted)

    def verified(self, token: str) -> receipt.Receipt:
        return receipt.verify_receipt(
            token, self.korora.ring, cloud=self.korora.ring.cloud
        ).receipt

    def status(self, migration: str = MIGRATION) -> str:
        return self.admin.get_migration(migration)['status']


class TestClaim(CustodyTestCase):
    def test_ledger(self):
        self.assertEqual(
            {
                'instance': SERVER,
                'holder': 'h1',
                'epoch': 1,
                'max_epoch': 1,
                'pending': None,
            },
            self.admin.get_server(SERVER),
        )
        with self.refused('NOT_FOUND'):
            self.admin.get_server(OTHER)

    def test_held_by_another(self):
        with self.refused('LEDGER_CONFLICT'):
            self.dest.claim(SERVER)

    def test_another_key_needs_an_operator(self):
        with self.refused('LEDGER_CONFLICT'):
            self.source.claim(SERVER)

    def test_again(self):
        """T46: the answer was lost; the key says that it is the same."""
        key = '000b' + '22' * 32
        first = self.source.claim(OTHER, key)
        self.assertEqual(first, self.source.claim(OTHER, key))
        with self.refused('LEDGER_CONFLICT'):
            self.dest.claim(OTHER, key)

    def test_nova_does_not_answer(self):
        self.korora.nova.down = True
        key = '000b' + '22' * 32
        with self.refused('NOVA_UNAVAILABLE'):
            self.source.claim(OTHER, key)
        # Nothing to ask about a claim that cannot be, or was, granted.
        with self.refused('LEDGER_CONFLICT'):
            self.dest.claim(SERVER)
        self.korora.nova.down = False
        first = self.source.claim(OTHER, key)
        self.korora.nova.down = True
        self.assertEqual(first, self.source.claim(OTHER, key))

    def test_claimed_while_nova_was_asked(self):
        """The database is free meanwhile, and its last word counts."""
        nova = self.korora.nova

        def other_claims() -> None:
            nova.before_answer = lambda: None
            self.dest.claim(OTHER)

        nova.before_answer = other_claims
        with self.refused('LEDGER_CONFLICT'):
            self.source.claim(OTHER)
        self.assertEqual('h2', self.admin.get_server(OTHER)['holder'])

    def test_names_incarnation_and_key(self):
        claim = self.source.claim(OTHER)
        self.assertIn(claim['approval_kid'], self.korora.ring.approval)
        self.assertEqual(
            self.admin.results().incarnation, claim['incarnation']
        )


class TestApprove(CustodyTestCase):
    def test_is_for_this_host_state_and_epoch(self):
        (document,) = self.source.approve((SERVER, 1))
        read = approval.Approval.from_json(document)
        tpm = self.source.tpm
        approval.verify_approval(
            read,
            self.korora.ring,
            instance=SERVER,
            epoch=1,
            ref=transcript.rest_ref(tpm.ak_name, tpm.srk_name, SERVER, 1),
        )
        self.assertEqual(tpm.clock_ms + 20000, read.deadline)

    def test_of_another_host(self):
        with self.refused('NOT_HOLDER'):
            self.dest.approve((SERVER, 1))

    def test_other_epoch(self):
        with self.refused('EPOCH_MISMATCH'):
            self.source.approve((SERVER, 2))

    def test_all_or_nothing(self):
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1), (OTHER, 1))
        self.source.claim(OTHER)
        self.assertEqual(2, len(self.source.approve((SERVER, 1), (OTHER, 1))))


class TestReceive(CustodyTestCase):
    def test_other_template(self):
        nonce = self.dest.challenge()
        attributes = 0x00030472  # without stClear
        original = self.dest.tpm.create_msk
        self.dest.tpm.create_msk = lambda info, qualifying: original(
            info, qualifying, attributes
        )
        msk = self.dest.make_msk(nonce, MIGRATION, SERVER, 'h1')
        with self.refused('MSK_TEMPLATE'):
            self.received(msk=msk, challenge=nonce)

    def _wrong(self, **made):
        """A key that was made for something else."""
        nonce = self.dest.challenge()
        wanted = {
            'challenge': nonce,
            'migration': MIGRATION,
            'instance': SERVER,
            'source': 'h1',
            **made,
        }
        msk = self.dest.make_msk(**wanted)
        self.received(msk=msk, challenge=nonce)

    def test_made_for_another_migration(self):
        with self.refused('QUOTE_NONCE'):
            self._wrong(migration=OTHER)

    def test_made_for_another_server(self):
        with self.refused('QUOTE_NONCE'):
            self._wrong(instance=OTHER)

    def test_made_for_another_source(self):
        with self.refused('QUOTE_NONCE'):
            self._wrong(source='h3')

    def test_created_for_another_destination(self):
        nonce = self.dest.challenge()
        info = transcript.msk_outside_info(
            bytes.fromhex(nonce), MIGRATION, SERVER, 'h1', 'h3'
        )
        msk = self.dest.make_msk(nonce, MIGRATION, SERVER, 'h1', info)
        with self.refused('QUOTE_CREATION'):
            self.received(msk=msk, challenge=nonce)

    def test_made_over_an_older_challenge(self):
        with self.refused('QUOTE_NONCE'):
            self._wrong(challenge=self.dest.challenge())

    def test_certified_by_another_tpm(self):
        nonce = self.dest.challenge()
        self.source.name, name = 'h2', self.source.name
        msk = self.source.make_msk(nonce, MIGRATION, SERVER, 'h1')
        self.source.name = name
        with self.refused('QUOTE_SIGNATURE'):
            self.received(msk=msk, challenge=nonce)

    def test_other_key_than_certified(self):
        nonce = self.dest.challenge()
        msk = self.dest.make_msk(nonce, MIGRATION, SERVER, 'h1')
        other = self.dest.make_msk(nonce, MIGRATION, SERVER, 'h1')
        with self.refused('QUOTE_NONCE'):
            self.received(
                msk=msk._replace(public=other.public), challenge=nonce
            )

    def test_other_creation_data(self):
        nonce = self.dest.challenge()
        msk = self.dest.make_msk(nonce, MIGRATION, SERVER, 'h1')
        with self.refused('QUOTE_CREATION'):
            self.received(
                challenge=nonce,
                msk=msk._replace(creation=msk.creation[:-1] + b'\1'),
            )

    def test_second_key_for_a_migration(self):
        self.received()
        with self.refused('MIGRATION_SPENT'):
            self.received()

    def test_other_destination_for_a_migration(self):
        self.received()
        with self.refused('MIGRATION_SPENT'):
            self.host('h3').receive(MIGRATION, SERVER, 'h1')

    def test_source_does_not_hold_the_key(self):
        with self.refused('NOT_HOLDER'):
            self.dest.receive(MIGRATION, SERVER, 'h3')
        with self.refused('NOT_HOLDER'):
            self.dest.receive(MIGRATION, OTHER, 'h1')

    def test_from_itself(self):
        with self.refused('INVALID_REQUEST'):
            self.source.receive(MIGRATION, SERVER, 'h1')

    def test_untrusted_destination(self):
        self.dest.measure('/tmp/rootkit')
        with self.refused('HOST_UNTRUSTED'):
            self.received()


class TestSend(CustodyTestCase):
    def test_permit(self):
        msk = self.received(address='192.0.2.9', tls_name='h2.example')
        self.in_nova()
        clock = self.dest.tpm.clock_ms
        answer = self.send(msk, nonce='ab' * 32)
        verified = permit.verify_permit(
            answer['permit'], self.korora.ring, cloud=self.korora.ring.cloud
        )
        verified.check_source(
            host='h1',
            ak_name=self.source.tpm.ak_name,
            instance=SERVER,
            epoch=1,
            migration=MIGRATION,
            nonce='ab' * 32,
            dest='h2',
            msk_name=bytes.fromhex(msk.name),
        )
        verified.check_dest(
            host='h2',
            ak_name=self.dest.tpm.ak_name,
            instance=SERVER,
            migration=MIGRATION,
            source='h1',
            msk_name=bytes.fromhex(msk.name),
        )
        verified.check_stream(
            dest='h2', address='192.0.2.9', tls_name='h2.example'
        )
        allowed = verified.permit
        self.assertEqual((1, 2), (allowed.epoch, allowed.new_epoch))
        self.assertEqual(clock + 60000, allowed.dest_deadline)
        self.assertEqual(self.admin.results().incarnation, allowed.incarnation)
        self.assertEqual('pending', self.status())
        read = approval.Approval.from_json(answer['approval'])
        self.assertEqual((SERVER, 1), (read.instance, read.epoch))

    def test_unknown(self):
        self.in_nova()
        with self.refused('MIGRATION_UNKNOWN'):
            self.source.send(MIGRATION, SERVER, 'h2', '00' * 34)

    def test_once(self):
        msk = self.received()
        self.in_nova()
        permit = self.send(msk)['permit']
        with self.refused('MIGRATION_SPENT'):
            self.send(msk, nonce='0e' * 32)
        self.assertEqual(permit, self.send(msk)['permit'])
        self.assertEqual(2, self.admin.get_server(SERVER)['max_epoch'])

    def test_differs_from_what_the_destination_asked_for(self):
        msk = self.received()
        self.in_nova()
        for changed in (
            {'dest': 'h3'},
            {'instance': OTHER},
            {'msk_name': '00' * 34},
        ):
            with self.refused('PERMIT_MISMATCH'):
                self.send(msk, **changed)

    def test_by_another_host(self):
        msk = self.received()
        self.in_nova()
        with self.refused('PERMIT_MISMATCH'):
            self.host('h3').send(MIGRATION, SERVER, 'h2', msk.name)

    def test_not_in_nova(self):
        msk = self.received()
        with self.refused('MIGRATION_NOT_IN_NOVA'):
            self.send(msk)
        self.assertEqual(1, self.admin.get_server(SERVER)['max_epoch'])

    def test_nova_is_down(self):
        msk = self.received()
        self.korora.nova.down = True
        with self.refused('NOVA_UNAVAILABLE'):
            self.send(msk)

    def test_untrusted_source(self):
        msk = self.received()
        self.in_nova()
        self.source.measure('/tmp/rootkit')
        with self.refused('HOST_UNTRUSTED'):
            self.send(msk)

    def test_destination_turned_bad(self):
        msk = self.received()
        self.in_nova()
        self.dest.measure('/tmp/rootkit')
        self.dest.attest_now()
        with self.refused('HOST_UNTRUSTED'):
            self.send(msk)

    def test_destination_turned_bad_while_nova_was_asked(self):
        msk = self.received()
        self.in_nova()

        def turn_bad():
            self.dest.measure('/tmp/rootkit')
            self.dest.attest_now()

        self.korora.nova.before_answer = turn_bad
        with self.refused('HOST_UNTRUSTED'):
            self.send(msk)
        self.assertEqual('receiving', self.status())

    def test_destination_rebooted(self):
        msk = self.received()
        self.in_nova()
        self.dest.reboot()
        self.dest.attest_now()
        with self.refused('HOST_UNTRUSTED'):
            self.send(msk)

    def test_destination_deleted(self):
        msk = self.received()
        self.in_nova()
        self.admin.delete_host('h2')
        with self.refused('HOST_UNTRUSTED'):
            self.send(msk)

    def test_old_evidence_of_the_destination(self):
        msk = self.received()
        self.in_nova()
        self.korora.clock.advance(31)
        self.dest.attest_now()
        with self.refused('RESULT_EXPIRED'):
            self.send(msk)

    def test_evidence_grew_old_while_nova_was_asked(self):
        msk = self.received()
        self.in_nova()
        self.korora.nova.before_answer = lambda: self.korora.clock.advance(31)
        with self.refused('RESULT_EXPIRED'):
            self.send(msk)

    def test_another_hand_over_is_pending(self):
        third = self.host('h3')
        second = third.receive(OTHER, SERVER, 'h1')
        self.handed()
        self.in_nova(OTHER, 'h3')
        with self.refused('CUSTODY_PENDING'):
            self.source.send(OTHER, SERVER, 'h3', second.name)
        with self.refused('CUSTODY_PENDING'):
            third.receive(str(uuid.UUID(int=9)), SERVER, 'h1')

    def test_transaction_is_not_held_while_nova_is_asked(self):
        msk = self.received()
        self.in_nova()
        engine, held, seen = self.korora.service.db.engine, [], []
        sa.event.listen(engine, 'checkout', lambda *_: held.append(1))
        sa.event.listen(engine, 'checkin', lambda *_: held.pop())
        self.korora.nova.before_answer = lambda: seen.append(list(held))
        self.send(msk)
        self.assertEqual([[]], seen)


class TestStatements(CustodyTestCase):
    def test_who_may_say_what(self):
        self.handed()
        for host, statement in (
            (self.source, 'activated'),
            (self.source, 'no_domain'),
            (self.dest, 'stream_completed'),
            (self.dest, 'never_started'),
        ):
            with self.refused('STATEMENT_NOT_ALLOWED'):
                host.state(MIGRATION, statement)
        third = self.host('h3')
        for statement in (
            'activated',
            'no_domain',
            'stream_completed',
            'never_started',
        ):
            with self.refused('STATEMENT_NOT_ALLOWED'):
                third.state(MIGRATION, statement)
        self.assertEqual('pending', self.status())

    def test_statement_under_the_other_purpose(self):
        self.handed()
        with self.refused('STATEMENT_NOT_ALLOWED'):
            self.dest.say('abort', migration=MIGRATION, statement='activated')

    def _decided(self, host, statement, outcome):
        _, answer = self.handed()
        token = host.state(MIGRATION, statement)
        said = self.verified(token)
        self.assertEqual(
            (outcome, MIGRATION, SERVER, 2, 'h1', 'h2'),
            (
                said.outcome,
                said.migration,
                said.instance,
                said.epoch,
                said.source,
                said.dest,
            ),
        )
        self.assertEqual(outcome, self.status())
        # Whoever speaks next, and whatever it says: the same receipt.
        for again, other in (
            (self.source, 'never_started'),
            (self.source, 'stream_completed'),
            (self.dest, 'activated'),
            (self.dest, 'no_domain'),
        ):
            self.assertEqual(token, again.state(MIGRATION, other))
        self.assertEqual([token], self.admin.list_receipts())
        self.assertEqual(token, self.admin.get_migration(MIGRATION)['receipt'])

    def test_source_commits(self):
        self._decided(self.source, 'stream_completed', 'committed')
        self.dest.approve((SERVER, 2))

    def test_destination_commits(self):
        self._decided(self.dest, 'activated', 'committed')
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))

    def test_source_aborts(self):
        self._decided(self.source, 'never_started', 'aborted')
        self.source.approve((SERVER, 1))

    def test_destination_aborts(self):
        self._decided(self.dest, 'no_domain', 'aborted')
        with self.refused('NOT_HOLDER'):
            self.dest.approve((SERVER, 2))

    def test_operator_aborts(self):
        self.handed()
        token = self.admin.abort_migration(MIGRATION, 'h2 is off')['receipt']
        self.assertEqual('aborted', self.verified(token).outcome)
        self.assertEqual(token, self.dest.state(MIGRATION, 'no_domain'))
        self.assertEqual(
            token, self.admin.abort_migration(MIGRATION, 'again')['receipt']
        )

    def test_operator_cannot_abort_what_is_committed(self):
        self.handed()
        self.dest.state(MIGRATION, 'activated')
        with self.refused('MIGRATION_SPENT'):
            self.admin.abort_migration(MIGRATION, 'too late')

    def test_aborted_before_the_permit(self):
        msk = self.received()
        with self.refused('STATEMENT_NOT_ALLOWED'):
            self.dest.state(MIGRATION, 'activated')
        for _ in range(2):
            with self.refused('MIGRATION_UNKNOWN'):
                self.dest.state(MIGRATION, 'no_domain')
        self.in_nova()
        with self.refused('MIGRATION_SPENT'):
            self.send(msk)
        self.assertEqual([], self.admin.list_receipts())

    def test_unknown_migration(self):
        with self.refused('MIGRATION_UNKNOWN'):
            self.dest.state(MIGRATION, 'no_domain')
        with self.refused('MIGRATION_UNKNOWN'):
            self.admin.abort_migration(MIGRATION, 'x')
        with self.refused('MIGRATION_UNKNOWN'):
            self.admin.get_migration(MIGRATION)

    def test_sender_has_just_become_untrusted(self):
        self.handed()
        self.dest.measure('/tmp/rootkit')
        token = self.dest.state(MIGRATION, 'activated')
        self.assertEqual('committed', self.verified(token).outcome)
        shown = self.admin.get_migration(MIGRATION)
        self.assertEqual(['IMA_UNKNOWN_FILE'], shown['taint'])
        self.assertEqual('contraindicated', self.tier('h2'))
        with self.refused('HOST_UNTRUSTED'):
            self.dest.approve((SERVER, 2))

    def test_aborted_epoch_is_never_given_again(self):
        self.handed()
        self.dest.state(MIGRATION, 'no_domain')
        third = self.host('h3')
        _, answer = self.handed(third, OTHER)
        allowed = permit.verify_permit(
            answer['permit'], self.korora.ring, cloud=self.korora.ring.cloud
        ).permit
        self.assertEqual((1, 3), (allowed.epoch, allowed.new_epoch))
        third.state(OTHER, 'activated')
        with self.refused('NOT_HOLDER'):
            self.dest.approve((SERVER, 2))
        with self.refused('EPOCH_MISMATCH'):
            third.approve((SERVER, 2))

    def test_same_name_with_another_tpm(self):
        self.handed()
        self.admin.delete_host('h2', force=True)
        impostor = self.stranger('h2', ek='impostor')
        impostor.join(self.admin)
        with self.refused('STATEMENT_NOT_ALLOWED'):
            impostor.state(MIGRATION, 'no_domain')

    def test_back_and_forth(self):
        hosts = [self.source, self.dest]
        for turn in range(4):
            one, two = hosts[turn % 2], hosts[1 - turn % 2]
            migration, _ = self.handed_over(one, two, SERVER)
            two.state(migration, 'activated')
        row = self.admin.get_server(SERVER)
        self.assertEqual(
            ('h1', 5, 5), (row['holder'], row['epoch'], row['max_epoch'])
        )
        self.assertEqual(4, len(self.admin.list_migrations()))


class TestDelete(CustodyTestCase):
    def test_by_another(self):
        with self.refused('NOT_HOLDER'):
            self.dest.delete(SERVER)
        with self.refused('NOT_HOLDER'):
            self.source.delete(OTHER)

    def test_pending(self):
        self.handed()
        with self.refused('CUSTODY_PENDING'):
            self.source.delete(SERVER)

    def test_receipt(self):
        said = self.verified(self.source.delete(SERVER))
        self.assertEqual(
            ('deleted', 'h1', 1, ''),
            (said.outcome, said.source, said.epoch, said.migration),
        )

    def test_repeated_after_another_host_claimed(self):
        token = self.source.delete(SERVER)
        self.assertEqual(2, self.dest.claim(SERVER)['epoch'])
        self.assertEqual(token, self.source.delete(SERVER))
        self.dest.approve((SERVER, 2))


class TestChain(CustodyTestCase):
    """T25: whoever edits the table is found out."""

    def setUp(self) -> None:
        super().setUp()
        for number in range(4):
            instance = str(uuid.UUID(int=100 + number))
            self.source.claim(instance)
            self.source.delete(instance)

    def edit(self, *statements: str) -> None:
        with self.korora.service.db.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def verify(self) -> int:
        return receipts.verify(self.korora.service.db, self.korora.ring)

    def test_whole(self):
        self.assertEqual(4, self.verify())
        self.assertEqual(2, len(self.admin.list_receipts(since=2)))

    def test_edited(self):
        self.edit(
            'UPDATE receipts SET token = (SELECT token FROM receipts '
            'WHERE seq = 1) WHERE seq = 2'
        )
        with self.refused('RECEIPT_INVALID'):
            self.verify()

    def test_forged(self):
        stranger = keys.SigningKey.generate()
        first = self.verified(self.admin.list_receipts()[0])
        token = receipt.sign_receipt(
            dataclasses.replace(first, outcome='committed'), stranger
        )
        self.edit(f"UPDATE receipts SET token = '{token}' WHERE seq = 1")
        with self.refused('RECEIPT_INVALID'):
            self.verify()

    def test_dropped(self):
        self.edit('DELETE FROM receipts WHERE seq = 2')
        with self.refused('RECEIPT_INVALID'):
            self.verify()

    def test_first_dropped(self):
        self.edit('DELETE FROM receipts WHERE seq = 1')
        with self.refused('RECEIPT_INVALID'):
            self.verify()

    def test_last_dropped(self):
        self.edit('DELETE FROM receipts WHERE seq = 4')
        with self.refused('RECEIPT_INVALID'):
            self.verify()

    def test_all_dropped(self):
        self.edit('DELETE FROM receipts')
        with self.refused('RECEIPT_INVALID'):
            self.verify()

    def test_reordered(self):
        self.edit(
            'UPDATE receipts SET seq = 20 WHERE seq = 2',
            'UPDATE receipts SET seq = 2 WHERE seq = 3',
            'UPDATE receipts SET seq = 3 WHERE seq = 20',
        )
        with self.refused('RECEIPT_INVALID'):
            self.verify()
