# SPDX-License-Identifier: Apache-2.0
"""Attacks on the ledger, against the real service (tests.support.faults)."""

import contextlib
import os
import shutil
import tracemalloc
import uuid

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.custody.words import CHALLENGE_HEADER
from korora_nova.verifier.custody import receipts, recovery
from korora_nova.verifier.db import models
from tests.functional.api import base
from tests.functional.api.test_custody import OTHER, SERVER, CustodyTestCase
from tests.support import faults

GHOST = str(uuid.UUID(int=666))
BIGINT = 2**63 - 1


class WordTest(CustodyTestCase):
    """T39, T44: one affirming host, h3, claims what nobody gave it."""

    def setUp(self) -> None:
        super().setUp()
        self.liar = self.host('h3')

    @faults.not_yet('A1a', 'custody', today='LEDGER_BEHIND')
    def test_a_reported_key_freezes_nobody_else(self):
        """A1a: one host's word freezes the cloud; it should move nothing."""
        self.liar.attest_now(held=((GHOST, BIGINT - recovery.STRIDE),))
        self.source.approve((SERVER, 1))
        self.handed_over(self.source, self.dest, SERVER)

    @faults.not_yet('A1b', 'custody', today='LEDGER_CONFLICT')
    def test_recovery_believes_no_word(self):
        """A1b: recovery makes the liar the holder; its word is no proof."""
        self.liar.attest_now(held=((GHOST, 7),))
        self.admin.recover_ledger([])
        self.dest.claim(GHOST)

    def test_squatting(self):
        """A6: a host can claim only what Nova's record has there."""
        self.korora.nova.servers[GHOST] = 'h2'
        with self.refused('SERVER_NOT_IN_NOVA'):
            self.liar.claim(GHOST)
        with self.refused('NOT_FOUND'):
            self.admin.get_server(GHOST)
        self.dest.claim(GHOST)

    @faults.not_yet('C2', 'custody', today='no operation')
    def test_a_host_that_is_gone(self):
        """C2: servers of a lost host stay down; a reissue should help."""
        self.admin.delete_host('h1', force=True)
        reissue = getattr(self.admin, 'reissue_server', None)
        self.assertIsNotNone(reissue, 'no operation gives it a new key')
        reissue(SERVER, 'h1 burned down')
        self.dest.claim(SERVER)


class OverflowTest(base.MariaDbTestCase, CustodyTestCase):
    """T39: what a host reports reaches the database."""

    @faults.not_yet('A1c', 'custody', today='INTERNAL')
    def test_epochs_have_a_cap(self):
        """A1c: a huge reported epoch ends all recovery; epochs need a cap."""
        liar = self.host('h3')
        liar.attest_now(held=((GHOST, BIGINT - recovery.STRIDE),))
        self.admin.recover_ledger([])
        self.admin.delete_host('h3', force=True)
        # Whoever freezes it next: an operator, or another liar.
        recovery.freeze(self.korora.service.db, 'restored')
        self.admin.recover_ledger([])
        self.source.approve((SERVER, 1))


class RestoredTest(CustodyTestCase):
    """T41: the database went back; what hosts hide decides too much."""

    def setUp(self) -> None:
        super().setUp()
        self.third = self.host('h3')
        self.source.claim(OTHER)
        self.path = os.path.join(self.korora.directory, 'korora.db')
        shutil.copy(self.path, self.path + '.backup')

    def moved(self, instance: str) -> str:
        migration, _ = self.handed_over(self.source, self.dest, instance)
        return self.dest.state(migration, 'activated')

    def restore(self) -> None:
        shutil.copy(self.path + '.backup', self.path)
        self.korora.service.references.clear()

    def assert_released(self, instance: str) -> None:
        """h1 handed this key over: its copy must stay closed (I13)."""
        with self.refused('LEDGER_BEHIND'):
            self.source.approve((instance, 1))

    @faults.not_yet('A3a', 'custody', today='not refused')
    def test_released_copy_while_its_holder_is_silent(self):
        """A3a: V approves the released copy; its anchor should forbid it."""
        self.moved(SERVER)
        self.restore()
        self.source.attest_now(held=((SERVER, 1), (OTHER, 1)))
        self.assert_released(SERVER)

    @faults.not_yet('A3b', 'custody', today='not refused')
    def test_recovery_with_a_gap(self):
        """A3b: receipt 2 of 2 opens all; the server of 1 should stay shut."""
        self.moved(OTHER)
        last = self.moved(SERVER)
        self.restore()
        self.dest.attest_now(head=last)
        self.admin.recover_ledger([last])
        self.dest.approve((SERVER, 2))
        self.assert_released(OTHER)

    def test_withheld_receipt(self):
        """A9: a receipt that V did not know freezes it once; it is kept."""
        token = self.moved(SERVER)
        self.restore()
        self.dest.measure('/tmp/rootkit')
        self.dest.attest_now(head=token)
        self.admin.recover_ledger([])
        self.dest.attest_now(head=token)
        self.third.claim(GHOST)
        self.assertIn(token, self.admin.list_receipts())
        # It was settled, although nobody brought it to the recovery.
        self.assertEqual('h2', self.admin.get_server(SERVER)['holder'])
        self.assert_not_holder(self.source, SERVER)

    def assert_not_holder(self, host, instance: str) -> None:
        with self.refused('NOT_HOLDER'):
            host.approve((instance, 1))

    def test_reported_receipts_are_settled(self):
        """A9: all that hosts report is, in whatever order it comes."""
        first = self.moved(OTHER)
        second = self.moved(SERVER)
        third, _ = self.handed_over(self.dest, self.third, SERVER)
        third = self.third.state(third, 'activated')
        self.restore()
        self.third.attest_now(head=third)
        self.source.attest_now(head=second)
        self.assertEqual([], self.admin.list_receipts())
        self.dest.attest_now(head=first)
        self.assertEqual([first, second, third], self.admin.list_receipts())
        self.assert_released(OTHER)
        self.assert_released(SERVER)
        answer = self.admin.recover_ledger([second])
        self.assertEqual((3, 0), (answer['chained'], answer['unchained']))
        self.assertEqual('h2', self.admin.get_server(OTHER)['holder'])
        self.assertEqual('h3', self.admin.get_server(SERVER)['holder'])
        self.third.approve((SERVER, 3))
        again = self.admin.recover_ledger([first, second, third])
        self.assertEqual((0, 0), (again['chained'], again['unchained']))
        self.assertEqual(
            3, receipts.verify(self.korora.service.db, self.korora.ring)
        )

    def test_receipts_with_a_gap_are_kept(self):
        """A9: out of the chain, they freeze once, too."""
        self.moved(OTHER)
        last = self.moved(SERVER)
        self.restore()
        for _ in range(2):
            self.dest.attest_now(head=last)
        self.assertEqual([], self.admin.list_receipts())
        answer = self.admin.recover_ledger([])
        self.assertEqual((0, 1), (answer['chained'], answer['unchained']))
        self.dest.attest_now(head=last)
        self.dest.approve((SERVER, 2))


class ClockTest(CustodyTestCase):
    def test_worker_whose_clock_is_behind(self):
        """A11a: a small skew between two workers spoils no evidence."""
        for behind in (0.05, 1.9):
            challenge = self.source.challenge()
            self.korora.clock.advance(-behind)
            self.source.say('attest', challenge, known=[])
        challenge = self.source.challenge()
        self.korora.clock.advance(-2.5)
        with self.refused('CHALLENGE_EXPIRED'):
            self.source.say('attest', challenge, known=[])

    def test_hand_over_by_two_workers(self):
        """A11a: the worker of D is ahead of the one of S."""
        for behind, reason in ((2.5, 'RESULT_EXPIRED'), (1.5, None)):
            migration = str(uuid.uuid4())
            self.korora.nova.migrations.add((migration, SERVER, 'h1', 'h2'))
            msk = self.dest.receive(migration, SERVER, 'h1')
            self.korora.clock.advance(-behind)
            if reason is None:
                self.source.send(migration, SERVER, 'h2', msk.name)
                continue
            with self.refused(reason):
                self.source.send(migration, SERVER, 'h2', msk.name)

    def test_clock_that_was_a_day_ahead(self):
        """A11b: a clock that was ahead once keeps no host trusted."""
        self.korora.clock.advance(86400)
        self.dest.attest_now()
        self.korora.clock.advance(-86400)
        self.assertNotEqual('affirming', self.tier('h2'), 'still trusted')
        self.korora.clock.advance(20000)
        self.assertNotEqual('affirming', self.tier('h1'))
        self.assertNotEqual('affirming', self.tier('h2'), 'still trusted')
        self.dest.attest_now()
        self.assertEqual('affirming', self.tier('h2'))


class FloodTest(CustodyTestCase):
    """T45: what comes before any proof costs too much."""

    #: Challenges that nobody answers.
    MANY = 48
    #: Of a body of this size; 47 million bytes are admitted.
    SIZE = 1_000_000

    def peak(self, host: str, challenge: str) -> float:
        """Bytes that the service allocates at most, as times the body."""
        item = b'{"":0},'
        body = b'{"":[' + item * (self.SIZE // len(item)) + b'0]}'
        tracemalloc.start()
        try:
            answer = self.korora.request(
                'POST',
                f'/v1/hosts/{host}/evidence',
                roles='attester',
                headers={CHALLENGE_HEADER: challenge},
                body=body,
                content_type='application/json',
            )
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertIn(answer.status_code, (400, 404, 413))
        return peak / self.SIZE

    def test_memory_for_a_host_that_nobody_knows(self):
        """A7a: what comes without a challenge is not read."""
        for challenge in ('', 'ab' * 32):
            self.assertLess(
                self.peak('nobody', challenge), 1, 'memory, as times the body'
            )

    def test_memory_for_a_host_that_is_known(self):
        """A7a: nor is it parsed if it has too many values."""
        self.assertLess(
            self.peak('h1', self.source.challenge()),
            4,
            'memory, as times the body',
        )

    def rows(self, table: type[models.Base]) -> int:
        with self.korora.service.db.read() as session:
            return session.scalar(
                sa.select(sa.func.count()).select_from(table)
            )

    def test_challenges_in_the_name_of_another(self):
        """A7b: only the newest challenges of a host are remembered."""
        for _ in range(self.MANY):
            with contextlib.suppress(errors.KororaError):
                self.source.api.challenge('h2', 'steady')
        self.assertLess(self.rows(models.Challenge), self.MANY, 'all are kept')
        # The host itself is heard all the same.
        self.dest.attest_now()
        self.dest.attest_now('on-demand')

    def test_challenges_that_are_used(self):
        for _ in range(self.MANY):
            self.dest.attest_now('on-demand')
        self.assertLess(self.rows(models.Challenge), 2 * self.MANY)

    def test_challenges_of_a_clock_that_was_ahead(self):
        """They do not count as the newest."""
        self.korora.clock.advance(86400)
        for _ in range(self.MANY):
            self.source.api.challenge('h2', 'on-demand')
        self.korora.clock.advance(-86400)
        first, _ = self.dest.challenge(), self.dest.challenge()
        self.dest.say('attest', first, known=[])

    def test_enrolments(self):
        """One TPM's, whatever names it is given."""
        stranger = self.stranger('h9')
        for number in range(self.MANY):
            stranger.name = f'h{number + 10}'
            last = stranger.ask_credential()
        self.assertLess(self.rows(models.Enrolment), self.MANY)
        proof = stranger.open_credential(last)
        self.assertEqual(
            'pending', stranger.api.prove(stranger.name, proof)['status']
        )
