# SPDX-License-Identifier: Apache-2.0
"""Claims, approvals, hand-overs, words, receipts; one check per test."""

import uuid

import sqlalchemy as sa

from korora_nova.custody import approval, permit, receipt, transcript
from korora_nova.verifier.anchor.base import Mark
from korora_nova.verifier.custody import ledger
from korora_nova.verifier.db import models
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

    def sealed(self, migration: str = MIGRATION):
        """Up to D's acknowledgement; returns the permit."""
        return self.sealed_over(self.source, self.dest, SERVER, migration)[1]

    def started(self, migration: str = MIGRATION):
        """Up to the stream; returns the permit."""
        return self.moving(self.source, self.dest, SERVER, migration)[1]

    def verified(self, token: str) -> receipt.Receipt:
        return receipt.verify_receipt(token, self.korora.ring).content

    def row(self, instance: str = SERVER) -> tuple:
        row = self.admin.get_server(instance)
        return row['holder'], row['epoch'], row['pending'], row['disputed']

    def version(self) -> int:
        return self.admin.get_server(SERVER)['version']

    def status(self, migration: str = MIGRATION) -> str:
        return self.admin.get_migration(migration)['status']


class TestClaim(CustodyTestCase):
    def test_ledger(self):
        expected = {
            'instance': SERVER,
            'holder': 'h1',
            'epoch': 1,
            'version': 1,
            'head': self.source.newest[SERVER].hash,
            'pending': None,
            'released': False,
            'disputed': None,
        }
        shown = self.admin.get_server(SERVER)
        self.assertEqual(expected, {name: shown[name] for name in expected})
        with self.refused('NOT_FOUND'):
            self.admin.get_server(OTHER)

    def test_held_by_another(self):
        with self.refused('LEDGER_CONFLICT'):
            self.dest.claim(SERVER)

    def test_another_key_needs_an_operator(self):
        with self.refused('LEDGER_CONFLICT'):
            self.source.claim(SERVER)

    def test_again(self):
        """A8, T46: the answer was lost; the key says that it is the same."""
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

    def test_grant(self):
        key = '000b' + '22' * 32
        grant = self.source.claim(OTHER, key)
        grant.check_host(
            host='h1',
            ak_name=self.source.tpm.ak_name,
            instance=OTHER,
            key=key,
        )
        content = grant.content
        self.assertIn(content.approval_kid, self.korora.ring.approval)
        self.assertEqual(self.admin.results().incarnation, content.incarnation)
        self.assertEqual((1, '0' * 64), (content.version, content.prev))

    def test_again_after_a_hand_over_that_was_aborted(self):
        """The grant is not the row's any more: its host has the receipt."""
        key = '000b' + '22' * 32
        self.source.claim(OTHER, key)
        migration, _ = self.handed_over(self.source, self.dest, OTHER)
        self.source.state(migration, 'never_started')
        with self.refused('LEDGER_CONFLICT'):
            self.source.claim(OTHER, key)

    def test_after_a_deletion(self):
        self.source.delete(SERVER)
        grant = self.dest.claim(SERVER)
        self.assertEqual(3, grant.row.epoch)
        self.dest.approve((SERVER, 3))
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))


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
        """T37: another compute host's credentials."""
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
        third = self.host('h3')
        with self.refused('MIGRATION_NOT_IN_NOVA'):
            third.receive(MIGRATION, SERVER, 'h1')

    def test_source_does_not_hold_the_key(self):
        with self.refused('NOT_HOLDER'):
            self.dest.receive(MIGRATION, SERVER, 'h3')
        with self.refused('NOT_HOLDER'):
            self.dest.receive(MIGRATION, OTHER, 'h1')

    def test_from_itself(self):
        with self.refused('INVALID_REQUEST'):
            self.source.receive(MIGRATION, SERVER, 'h1')

    def test_untrusted_destination(self):
        """T1: a server is migrated to an untrusted host."""
        self.dest.measure('/tmp/rootkit')
        with self.refused('HOST_UNTRUSTED'):
            self.received()


class TestSend(CustodyTestCase):
    def test_permit(self):
        msk = self.received(address='192.0.2.9', tls_name='h2.example')
        self.in_nova()
        clock = self.dest.tpm.clock_ms
        answer = self.send(msk, nonce='ab' * 32)
        verified = permit.verify_permit(answer['permit'], self.korora.ring)
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
        allowed = verified.content
        self.assertEqual((1, 2), (allowed.epoch, allowed.new_epoch))
        for tpm, boot in (
            (self.source.tpm, allowed.source_reset_restart),
            (self.dest.tpm, allowed.dest_reset_restart),
        ):
            self.assertEqual(
                f'{tpm.reset_count:08x}{tpm.restart_count:08x}', boot
            )
        self.assertEqual(clock + 60000, allowed.dest_deadline)
        self.assertEqual(self.admin.results().incarnation, allowed.incarnation)
        self.assertEqual('permitted', self.status())
        read = approval.Approval.from_json(answer['approval'])
        self.assertEqual((SERVER, 1), (read.instance, read.epoch))

    def test_unknown(self):
        self.in_nova()
        with self.refused('MIGRATION_UNKNOWN'):
            self.source.send(MIGRATION, SERVER, 'h2', '00' * 34)

    def test_once(self):
        """T7: an old hand-over is replayed."""
        msk = self.received()
        self.in_nova()
        permit = self.send(msk)['permit']
        with self.refused('MIGRATION_SPENT'):
            self.send(msk, nonce='0e' * 32)
        self.assertEqual(permit, self.send(msk)['permit'])
        self.assertEqual(2, self.version())

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
        """T6: somebody starts a hand-over that Nova knows nothing of."""
        msk = self.received()
        with self.refused('MIGRATION_NOT_IN_NOVA'):
            self.send(msk)
        self.assertEqual(1, self.version())

    def test_nova_is_down(self):
        msk = self.received()
        self.korora.nova.down = True
        with self.refused('NOVA_UNAVAILABLE'):
            self.send(msk)

    def test_untrusted_source(self):
        """T3: an untrusted source injects what it likes."""
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


class TestSealed(CustodyTestCase):
    """C6: D acknowledges."""

    def setUp(self) -> None:
        super().setUp()
        _, answer = self.handed()
        self.permit = self.source.read(answer['permit'])

    def test_noted(self):
        self.dest.sealed(self.permit)
        self.assertEqual('sealed', self.status())
        # It changes nothing that was signed.
        self.assertEqual(('h1', 1, MIGRATION, None), self.row())
        self.assertEqual(2, self.version())

    def test_again(self):
        """I17, at any time until it is aborted."""
        for step in (
            lambda: None,
            lambda: self.source.start(self.permit),
            lambda: self.dest.state(MIGRATION, 'activated'),
        ):
            self.dest.sealed(self.permit)
            step()
            before = self.status()
            self.dest.sealed(self.permit)
            self.assertEqual(
                before.replace('permitted', 'sealed'), self.status()
            )

    def test_in_another_key(self):
        self.dest.sealed(self.permit)
        with self.refused('MIGRATION_SPENT'):
            self.dest.sealed(self.permit, '000b' + '00' * 32)

    def test_by_another(self):
        """T37: another compute host's credentials."""
        for host in (self.source, self.host('h3')):
            with self.refused('STATEMENT_NOT_ALLOWED'):
                host.sealed(self.permit)

    def test_for_another_permit(self):
        with self.refused('PERMIT_MISMATCH'):
            self.dest.sealed(self.permit, permit_hash='00' * 32)
        with self.refused('MIGRATION_UNKNOWN'):
            self.dest.sealed(self.permit, migration=OTHER)

    def test_before_the_permit(self):
        self.source.claim(OTHER)
        self.dest.receive(OTHER, OTHER, 'h1')
        with self.refused('PERMIT_MISMATCH'):
            self.dest.sealed(self.permit, migration=OTHER)

    def test_after_the_abort(self):
        self.source.state(MIGRATION, 'never_started')
        with self.refused('MIGRATION_SPENT') as caught:
            self.dest.sealed(self.permit)
        self.assertEqual('aborted', caught[0].details['status'])

    def test_untrusted(self):
        self.dest.measure('/tmp/rootkit')
        with self.refused('HOST_UNTRUSTED'):
            self.dest.sealed(self.permit)


class TestStart(CustodyTestCase):
    """C7: the stream may start."""

    def test_start(self):
        allowed = self.sealed()
        answer = self.source.start(allowed)
        start = self.source.read(answer['start'])
        start.check_source(instance=SERVER, permit_hash=allowed.hash)
        self.assertEqual(
            (3, allowed.hash, MIGRATION),
            (
                start.content.version,
                start.content.prev,
                start.content.migration,
            ),
        )
        self.assertEqual('moving', self.status())
        self.assertEqual(('h1', 1, MIGRATION, None), self.row())
        self.assertEqual(self.admin.get_result('h2')['token'], answer['peer'])

    def test_without_sealed(self):
        """T43, A5: no start without D's acknowledgement."""
        _, answer = self.handed()
        with self.refused('NOT_SEALED'):
            self.source.start(self.source.read(answer['permit']))
        self.assertEqual('permitted', self.status())

    def test_again(self):
        """I17: the answer was lost; whatever became of D meanwhile."""
        allowed = self.sealed()
        first = self.source.start(allowed)['start']
        self.dest.measure('/tmp/rootkit')
        self.dest.attest_now()
        again = self.source.start(allowed)
        self.assertEqual(first, again['start'])
        self.assertEqual(3, self.version())
        self.assertEqual(self.admin.get_result('h2')['token'], again['peer'])

    def test_by_another(self):
        """T37: another compute host's credentials."""
        allowed = self.sealed()
        for host in (self.dest, self.host('h3')):
            with self.refused('STATEMENT_NOT_ALLOWED'):
                host.start(allowed)

    def test_for_another_permit(self):
        allowed = self.sealed()
        with self.refused('PERMIT_MISMATCH'):
            self.source.start(allowed, permit_hash='00' * 32)

    def test_after_the_decision(self):
        allowed = self.sealed()
        self.dest.state(MIGRATION, 'no_domain')
        with self.refused('MIGRATION_SPENT') as caught:
            self.source.start(allowed)
        self.assertEqual('aborted', caught[0].details['status'])
        allowed = self.started(OTHER)
        self.dest.state(OTHER, 'activated')
        with self.refused('MIGRATION_SPENT'):
            self.source.start(allowed)

    def test_untrusted_source(self):
        allowed = self.sealed()
        self.source.measure('/tmp/rootkit')
        with self.refused('HOST_UNTRUSTED'):
            self.source.start(allowed)
        self.assertEqual('sealed', self.status())

    def test_destination_turned_bad(self):
        """T13: the destination changes after it was checked."""
        allowed = self.sealed()
        self.dest.measure('/tmp/rootkit')
        self.dest.attest_now()
        with self.refused('HOST_UNTRUSTED'):
            self.source.start(allowed)
        self.assertEqual('sealed', self.status())

    def test_result_of_the_destination_is_too_old(self):
        allowed = self.sealed()
        self.korora.clock.advance(3600)
        with self.refused('HOST_UNTRUSTED'):
            self.source.start(allowed)

    def test_destination_has_another_tpm(self):
        allowed = self.sealed()
        self.admin.delete_host('h2', force=True)
        with self.refused('HOST_UNTRUSTED'):
            self.source.start(allowed)
        self.stranger('h2', ek='impostor').join(self.admin)
        with self.refused('HOST_UNTRUSTED'):
            self.source.start(allowed)


class TestWords(CustodyTestCase):
    """C8: what each end says, and what it comes to."""

    def test_who_may_say_what(self):
        self.started()
        for host, word in (
            (self.source, 'activated'),
            (self.source, 'no_domain'),
            (self.dest, 'stream_completed'),
            (self.dest, 'never_started'),
            (self.dest, 'kept'),
            (self.dest, 'ended_here'),
        ):
            with self.refused('STATEMENT_NOT_ALLOWED'):
                host.state(MIGRATION, word)
        third = self.host('h3')
        for word in (
            'activated',
            'no_domain',
            'stream_completed',
            'never_started',
            'kept',
            'ended_here',
        ):
            with self.refused('STATEMENT_NOT_ALLOWED'):
                third.state(MIGRATION, word)
        self.assertEqual('moving', self.status())
        self.assertEqual(('h1', 1, MIGRATION, None), self.row())

    def test_words_of_a_stream_before_it(self):
        """A4: D cannot commit, nor S, before both have acknowledged."""
        for step in (self.handed, self.sealed_too):
            step()
            for host, word in (
                (self.dest, 'activated'),
                (self.source, 'stream_completed'),
            ):
                with self.refused('STATEMENT_NOT_ALLOWED'):
                    host.state(MIGRATION, word)
        self.assertEqual('sealed', self.status())

    def sealed_too(self) -> None:
        self.dest.sealed(self.source.newest[SERVER])

    def test_before_the_stream(self):
        """One word that the key stays is enough."""
        for number, (host, word) in enumerate(
            (
                (self.source, 'never_started'),
                (self.source, 'kept'),
                (self.source, 'ended_here'),
                (self.dest, 'no_domain'),
            )
        ):
            for begin in (self.handed, self.sealed):
                migration = str(uuid.uuid4())
                begin(migration=migration)
                token = host.state(migration, word)
                said = self.verified(token)
                self.assertEqual(
                    ('aborted', 'h1', 1),
                    (said.outcome, said.holder, said.held),
                    number,
                )
                self.assertEqual('aborted', self.status(migration))
                self.source.approve((SERVER, 1))

    def test_from_the_start_on(self):
        """The table of doc/source/contributor/custody.rst, either way."""
        for source, dest, expected in (
            (None, None, 'moving'),
            ('never_started', None, 'moving'),
            ('kept', None, 'moving'),
            ('ended_here', None, 'moving'),
            (None, 'no_domain', 'moving'),
            ('stream_completed', None, 'committed'),
            (None, 'activated', 'committed'),
            ('never_started', 'no_domain', 'aborted'),
            ('kept', 'no_domain', 'aborted'),
            ('ended_here', 'no_domain', 'aborted'),
            ('ended_here', 'activated', 'committed'),
            ('stream_completed', 'no_domain', 'committed'),
            ('stream_completed', 'activated', 'committed'),
        ):
            for turned in (False, True):
                self._told(source, dest, expected, turned)

    def _told(self, source, dest, expected: str, turned: bool) -> None:
        instance, migration = str(uuid.uuid4()), str(uuid.uuid4())
        self.source.claim(instance)
        self.moving(self.source, self.dest, instance, migration)
        words = [(self.source, source), (self.dest, dest)]
        tokens = [
            host.state(migration, word)
            for host, word in (reversed(words) if turned else words)
            if word is not None
        ]
        case = (source, dest, turned)
        self.assertEqual(expected, self.status(migration), case)
        row = {
            'moving': ('h1', 1, migration, None),
            'committed': ('h2', 2, None, None),
            'aborted': ('h1', 1, None, None),
        }
        self.assertEqual(row[expected], self.row(instance), case)
        shown = self.admin.get_migration(migration)
        if expected == 'moving':
            self.assertEqual([''] * len(tokens), tokens)
            self.assertIsNone(shown['receipt'])
        else:
            self.assertEqual(tokens[-1], shown['receipt'])

    def test_receipt(self):
        allowed = self.started()
        token = self.dest.state(MIGRATION, 'activated')
        said = self.verified(token)
        self.assertEqual(
            ('committed', MIGRATION, SERVER, 2, 'h1', 'h2', 'h2', 2, 4),
            (
                said.outcome,
                said.migration,
                said.instance,
                said.epoch,
                said.source,
                said.dest,
                said.holder,
                said.held,
                said.version,
            ),
        )
        self.assertEqual(allowed.hash, said.permit_hash)
        self.dest.approve((SERVER, 2))
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))
        # Said again, nothing changes (I17).
        for host, word in (
            (self.dest, 'activated'),
            (self.source, 'stream_completed'),
            (self.source, 'stream_completed'),
        ):
            self.assertEqual(token, host.state(MIGRATION, word))
        self.assertEqual([token], self.admin.list_receipts())

    def test_agreed_is_closed(self):
        """What is said after both ends agreed moves nothing."""
        self.started()
        self.dest.state(MIGRATION, 'activated')
        token = self.source.state(MIGRATION, 'stream_completed')
        for host, word in (
            (self.source, 'kept'),
            (self.source, 'never_started'),
            (self.dest, 'no_domain'),
        ):
            self.assertEqual(token, host.state(MIGRATION, word))
            self.assertEqual(('h2', 2, None, None), self.row())
        self.assertEqual([token], self.admin.list_receipts())

    def test_later_document_closes(self):
        self.started()
        token = self.dest.state(MIGRATION, 'activated')
        self.moved(self.dest, self.source, SERVER)
        before = self.row()
        self.assertEqual(token, self.source.state(MIGRATION, 'kept'))
        self.assertEqual(token, self.dest.state(MIGRATION, 'no_domain'))
        self.assertEqual(before, self.row())

    def test_closed_before_the_permit(self):
        for host, word in (
            (self.dest, 'no_domain'),
            (self.source, 'never_started'),
        ):
            migration = str(uuid.uuid4())
            msk = self.dest.receive(migration, SERVER, 'h1')
            with self.refused('STATEMENT_NOT_ALLOWED'):
                self.dest.state(migration, 'activated')
            for _ in range(2):
                self.assertEqual('', host.state(migration, word))
            self.in_nova(migration)
            with self.refused('MIGRATION_SPENT'):
                self.source.send(migration, SERVER, 'h2', msk.name)
            self.assertEqual('aborted', self.status(migration))
        self.assertEqual([], self.admin.list_receipts())
        self.assertEqual(1, self.version())

    def test_unknown_migration(self):
        with self.refused('MIGRATION_UNKNOWN'):
            self.dest.state(MIGRATION, 'no_domain')
        with self.refused('MIGRATION_UNKNOWN'):
            self.admin.get_migration(MIGRATION)

    def test_sender_has_just_become_untrusted(self):
        self.started()
        self.dest.measure('/tmp/rootkit')
        token = self.dest.state(MIGRATION, 'activated')
        self.assertEqual('committed', self.verified(token).outcome)
        shown = self.admin.get_migration(MIGRATION)
        self.assertEqual(['IMA_UNKNOWN_FILE'], shown['taint'])
        self.assertEqual('contraindicated', self.tier('h2'))
        with self.refused('HOST_UNTRUSTED'):
            self.dest.approve((SERVER, 2))

    def test_aborted_epoch_is_never_given_again(self):
        """T29: an epoch is used again after an abort."""
        self.handed()
        self.dest.state(MIGRATION, 'no_domain')
        third = self.host('h3')
        _, allowed = self.moving(self.source, third, SERVER, OTHER)
        self.assertEqual(
            (1, 4), (allowed.content.epoch, allowed.content.new_epoch)
        )
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
            self.moved(hosts[turn % 2], hosts[1 - turn % 2], SERVER)
        # A grant, then permit, start and receipt of each.
        self.assertEqual(13, self.version())
        self.assertEqual(('h1', 11, None, None), self.row())
        self.assertEqual(4, len(self.admin.list_migrations()))

    def test_operator_aborts(self):
        self.handed()
        token = self.resolved('h2 is off')
        self.assertEqual('aborted', self.verified(token).outcome)
        self.assertEqual(token, self.dest.state(MIGRATION, 'no_domain'))
        self.assertEqual(token, self.resolved('again'))

    def resolved(self, why: str) -> str:
        answer = self.admin.resolve_migration(MIGRATION, 'source', why)
        return answer['receipt']

    def test_operator_cannot_abort_what_is_committed(self):
        self.started()
        self.dest.state(MIGRATION, 'activated')
        self.source.state(MIGRATION, 'stream_completed')
        with self.refused('MIGRATION_SPENT'):
            self.resolved('too late')


class TestDisputes(CustodyTestCase):
    """T42, A4: one end lies, or libvirt ran the guest at both for a moment."""

    def test_contradiction_before_a_decision(self):
        for words in (
            ((self.source, 'kept'), (self.dest, 'activated')),
            ((self.source, 'never_started'), (self.dest, 'activated')),
        ):
            migration = str(uuid.uuid4())
            self.started(migration)
            for host, word in words:
                self.assertEqual('', host.state(migration, word))
            self.assertEqual(('h1', 1, migration, migration), self.row())
            with self.refused('CUSTODY_DISPUTED'):
                self.source.approve((SERVER, 1))
            with self.refused('NOT_HOLDER'):
                self.dest.approve((SERVER, 2))
            # S looks again: there was a moment of both.
            self.assertEqual('moving', self.status(migration))
            token = self.dest.state(migration, 'no_domain')
            self.assertEqual('aborted', self.verified(token).outcome)
            self.assertEqual(('h1', 1, None, None), self.row())
            self.source.approve((SERVER, 1))

    def test_contradiction_after_a_decision(self):
        self.started()
        token = self.dest.state(MIGRATION, 'activated')
        self.assertEqual(token, self.source.state(MIGRATION, 'kept'))
        self.assertEqual(('h2', 2, None, MIGRATION), self.row())
        with self.refused('CUSTODY_DISPUTED'):
            self.dest.approve((SERVER, 2))
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))
        with self.refused('CUSTODY_DISPUTED'):
            self.dest.delete(SERVER)
        with self.refused('CUSTODY_DISPUTED'):
            self.host('h3').receive(OTHER, SERVER, 'h2')

    def test_shown_after_a_while(self):
        self.started()
        self.dest.state(MIGRATION, 'activated')
        self.source.state(MIGRATION, 'kept')
        self.assertEqual('committed', self.status())
        self.korora.clock.advance(59)
        # Said again, it does not begin anew.
        self.source.state(MIGRATION, 'kept')
        self.assertEqual('committed', self.status())
        self.korora.clock.advance(2)
        self.assertEqual('disputed', self.status())
        self.assertEqual('disputed', self.admin.list_migrations()[0]['status'])
        shown = self.admin.get_migration(MIGRATION)
        self.assertEqual(
            ('kept', 'activated'), (shown['source_word'], shown['dest_word'])
        )

    def test_agreed_with_the_receipt(self):
        self.started()
        token = self.dest.state(MIGRATION, 'activated')
        self.source.state(MIGRATION, 'kept')
        self.korora.clock.advance(100)
        self.assertEqual(token, self.source.state(MIGRATION, 'ended_here'))
        self.assertEqual(('h2', 2, None, None), self.row())
        self.assertEqual('committed', self.status())
        self.dest.approve((SERVER, 2))
        self.assertEqual([token], self.admin.list_receipts())

    def test_agreed_on_something_else(self):
        """Another receipt follows, and is told to both."""
        self.started()
        first = self.dest.state(MIGRATION, 'activated')
        self.source.state(MIGRATION, 'kept')
        second = self.dest.state(MIGRATION, 'no_domain')
        said, before = self.verified(second), self.verified(first)
        self.assertEqual(
            ('aborted', before.version + 1, self.dest.read(first).hash),
            (said.outcome, said.version, said.prev),
        )
        self.assertEqual(('h1', 1, None, None), self.row())
        self.assertEqual('aborted', self.status())
        self.source.approve((SERVER, 1))
        with self.refused('NOT_HOLDER'):
            self.dest.approve((SERVER, 2))
        self.assertEqual(second, self.source.state(MIGRATION, 'kept'))
        self.assertEqual([first, second], self.admin.list_receipts())
        # And now it is closed.
        self.assertEqual(second, self.dest.state(MIGRATION, 'activated'))
        self.assertEqual(('h1', 1, None, None), self.row())

    def test_destination_that_lies_after_an_abort(self):
        """S keeps the domain, D says it has it: S stays the holder."""
        self.started()
        self.source.state(MIGRATION, 'kept')
        self.dest.state(MIGRATION, 'no_domain')
        token = self.dest.state(MIGRATION, 'activated')
        self.assertEqual('aborted', self.verified(token).outcome)
        self.assertEqual(('h1', 1, None, None), self.row())

    def test_source_that_lies_after_a_commit(self):
        """One that takes its word back moves nothing to itself."""
        self.started()
        self.source.state(MIGRATION, 'stream_completed')
        for word in ('never_started', 'kept', 'ended_here'):
            self.source.state(MIGRATION, word)
            self.assertEqual(('h2', 2, None, None), self.row())
            with self.refused('NOT_HOLDER'):
                self.source.approve((SERVER, 1))
        self.dest.state(MIGRATION, 'activated')
        self.dest.approve((SERVER, 2))

    def test_final_words(self):
        """Nobody takes back what the other end may have acted on."""
        for words in (
            (
                (self.source, 'stream_completed'),
                (self.source, 'ended_here'),
                (self.dest, 'no_domain'),
            ),
            (
                (self.dest, 'activated'),
                (self.dest, 'no_domain'),
                (self.source, 'ended_here'),
            ),
        ):
            migration = str(uuid.uuid4())
            self.started(migration)
            tokens = {host.state(migration, word) for host, word in words}
            (token,) = tokens
            self.assertEqual('committed', self.verified(token).outcome)
            self.assertEqual('h2', self.row()[0])
            self.assertEqual('committed', self.status(migration))
            # Back again, for the next of these lies.
            self.moved(self.dest, self.source, SERVER)

    def test_receipt_has_the_words(self):
        """What was said outlives the database that it was said to."""
        self.started()
        self.dest.state(MIGRATION, 'activated')
        said = self.verified(self.admin.list_receipts()[0])
        self.assertEqual(('', 'activated'), (said.source_word, said.dest_word))

    def test_destination_that_lies_about_a_stream(self):
        """A4: V signed no start, so D's word is refused or disputed."""
        self.sealed()
        with self.refused('STATEMENT_NOT_ALLOWED'):
            self.dest.state(MIGRATION, 'activated')
        self.source.state(MIGRATION, 'never_started')
        self.dest.state(MIGRATION, 'activated')
        self.assertEqual('h1', self.row()[0])
        with self.refused('NOT_HOLDER'):
            self.dest.approve((SERVER, 2))


class TestReboots(CustodyTestCase):
    """A boot of an end that has said nothing speaks for it."""

    def reboot(self, host) -> None:
        host.reboot()
        host.offset = 0
        host.attest_now()

    def words(self) -> tuple:
        shown = self.admin.get_migration(MIGRATION)
        return shown['source_word'], shown['dest_word']

    def test_before_the_stream(self):
        for number, host in enumerate((self.source, self.dest)):
            migration = str(uuid.uuid4())
            (self.handed if number else self.sealed)(migration=migration)
            self.reboot(host)
            self.assertEqual('aborted', self.status(migration))
            self.assertEqual(('h1', 1, None, None), self.row())

    def test_source_while_it_streams(self):
        self.started()
        self.reboot(self.source)
        self.assertEqual(('ended_here', None), self.words())
        self.assertEqual('moving', self.status())
        self.dest.state(MIGRATION, 'activated')
        self.assertEqual(('h2', 2, None, None), self.row())

    def test_both_while_it_streams(self):
        self.started()
        self.reboot(self.source)
        self.reboot(self.dest)
        self.assertEqual('aborted', self.status())
        self.source.approve((SERVER, 1))

    def test_does_not_take_a_word_back(self):
        self.started()
        self.dest.state(MIGRATION, 'activated')
        self.reboot(self.dest)
        self.assertEqual((None, 'activated'), self.words())
        self.assertEqual(('h2', 2, None, None), self.row())

    def test_of_another_hand_over(self):
        self.started()
        self.reboot(self.host('h3'))
        self.assertEqual((None, None), self.words())

    def test_of_a_host_that_is_not_trusted(self):
        """With its request refused, the boot counts all the same."""
        self.handed()
        self.dest.reboot()
        self.dest.measure('/tmp/rootkit')
        with self.refused('HOST_UNTRUSTED'):
            self.dest.claim(OTHER)
        shown = self.admin.get_migration(MIGRATION)
        self.assertEqual('aborted', shown['status'])
        self.assertEqual(['IMA_UNKNOWN_FILE'], shown['taint'])

    def test_while_the_ledger_is_behind(self):
        """The host attests all the same; the boot counts later."""
        self.handed()
        self.set_back(SERVER)
        self.reboot(self.source)
        self.assertEqual('affirming', self.tier('h1'))
        self.source.heal()
        self.source.attest_now()
        self.assertEqual('aborted', self.status())

    def set_back(self, instance: str) -> None:
        anchor = self.korora.service.anchor
        with self.korora.service.db.read() as session:
            of = ledger.incarnation(session)
        anchor.rise(of, instance, Mark(2, self.source.newest[instance].hash))
        with self.korora.service.db.write() as session:
            session.execute(
                sa.update(models.Server)
                .where(models.Server.instance == instance)
                .values(
                    version=1,
                    head=next(
                        digest
                        for digest, item in self.source.documents.items()
                        if item.content.version == 1
                    ),
                    pending=None,
                )
            )


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
        self.assertEqual(3, self.dest.claim(SERVER).row.epoch)
        self.assertEqual(token, self.source.delete(SERVER))
        self.dest.approve((SERVER, 3))
