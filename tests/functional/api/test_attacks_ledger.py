# SPDX-License-Identifier: Apache-2.0
"""Attacks on the ledger, against the real service (tests.support.faults)."""

import contextlib
import tracemalloc
import uuid

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.custody import bodies
from korora_nova.custody.words import CHALLENGE_HEADER
from korora_nova.verifier.db import models
from tests.functional.api import base
from tests.functional.api.test_custody import OTHER, SERVER, CustodyTestCase
from tests.functional.api.test_recovery import RestoreCase

GHOST = str(uuid.UUID(int=666))
BIGINT = 2**63 - 1


class WordTest(CustodyTestCase):
    """T39, T44: one affirming host, h3, claims what nobody gave it."""

    def setUp(self) -> None:
        super().setUp()
        self.liar = self.host('h3')

    def report(self, *versions: int, instance: str = GHOST) -> list[dict]:
        """The liar reports documents that nobody signed."""
        return [
            self.liar.attest_now(
                known=[bodies.Known(instance, version, 'ab' * 32, '')]
            )
            for version in versions
        ]

    def test_a_reported_key_freezes_nobody_else(self):
        """A1a: one host's word moves nothing."""
        for instance in (GHOST, SERVER):
            self.report(2, BIGINT - (1 << 20), BIGINT, instance=instance)
            self.source.approve((SERVER, 1))
        self.handed_over(self.source, self.dest, SERVER)

    def test_recovery_believes_no_word(self):
        """A1b: what was not signed is nobody's."""
        self.report(7)
        with self.refused('NOT_FOUND'):
            self.admin.get_server(GHOST)
        self.dest.claim(GHOST)
        self.assertEqual('h2', self.admin.get_server(GHOST)['holder'])

    def test_squatting(self):
        """A6: a host can claim only what Nova's record has there."""
        self.korora.nova.servers[GHOST] = 'h2'
        with self.refused('SERVER_NOT_IN_NOVA'):
            self.liar.claim(GHOST)
        with self.refused('NOT_FOUND'):
            self.admin.get_server(GHOST)
        self.dest.claim(GHOST)

    def test_squatting_on_a_migration(self):
        """A host that is first to name itself the destination stops none."""
        for gone in (False, True):
            migration = str(uuid.uuid4())
            self.liar.receive(migration, SERVER, 'h1')
            if gone:
                self.liar.state(migration, 'no_domain')
            with self.refused('MIGRATION_NOT_IN_NOVA'):
                self.dest.receive(migration, SERVER, 'h1')
            self.korora.nova.migrations.add((migration, SERVER, 'h1', 'h2'))
            msk = self.dest.receive(migration, SERVER, 'h1')
            with self.refused('MIGRATION_NOT_IN_NOVA'):
                self.liar.receive(migration, SERVER, 'h1')
            with self.refused('MIGRATION_SPENT'):
                self.dest.receive(migration, SERVER, 'h1')
            self.source.send(migration, SERVER, 'h2', msk.name)
            with self.refused('CUSTODY_PENDING'):
                self.liar.receive(migration, SERVER, 'h1')
            self.source.state(migration, 'never_started')
            with self.refused('MIGRATION_SPENT'):
                self.liar.receive(migration, SERVER, 'h1')

    def test_a_host_that_is_gone(self):
        """C2: the servers of a lost host get a new key."""
        why = 'h1 burned down'
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVER, why)
        self.admin.evict_host('h1', why)
        self.dest.claim(SERVER)
        with self.refused('EVICTED'):
            self.source.approve((SERVER, 1))

    def test_a_host_that_was_deleted(self):
        """C2: likewise, if nothing but the ledger knows its name."""
        self.admin.delete_host('h1', force=True)
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVER, 'h1 burned down')
        self.admin.reissue_server(
            SERVER, 'h1 burned down', fenced='It is ashes'
        )
        self.dest.claim(SERVER)

    def test_a_vault_that_is_lost(self):
        """C2: its host says so, and the next start there gets a new key."""
        with self.refused('LEDGER_CONFLICT'):
            self.source.claim(SERVER)
        known = [
            bodies.Known(SERVER, one.content.version, one.hash, '')
            for one in self.source.documents.values()
            if one.content.instance == SERVER
        ]
        self.source.attest_now(known=known)
        self.admin.reissue_server(SERVER, 'The disk of h1 was replaced')
        self.source.claim(SERVER)


class OverflowTest(base.MariaDbTestCase, CustodyTestCase):
    """T39: what a host reports reaches the database, and is harmless."""

    def setUp(self) -> None:
        super().setUp()
        self.liar = self.host('h3')

    report = WordTest.report

    def test_epochs_have_a_cap(self):
        """A1c: no version that a host names is ever counted from."""
        for answer in self.report(BIGINT - (1 << 20), BIGINT):
            self.assertEqual([GHOST], answer['wanted'])
        # Over the cap, it is no report.
        for version in (BIGINT + 1, 2**64, 10**40):
            with self.refused('INVALID_REQUEST'):
                self.report(version)
        self.admin.delete_host('h3', force=True)
        self.source.approve((SERVER, 1))
        self.moved(self.source, self.dest, SERVER)
        self.dest.claim(GHOST)


class RestoredTest(RestoreCase):
    """T41: the database went back; what hosts hide decides nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.source.claim(OTHER)
        self.backup = self.snapshot()

    def assert_released(self, instance: str) -> None:
        """h1 handed this key over: its copy must stay closed (I13)."""
        with self.refused('LEDGER_BEHIND'):
            self.source.approve((instance, 1))

    def test_released_copy_while_its_holder_is_silent(self):
        """A3, A3a: the anchor knows that the key was handed over."""
        self.moved(self.source, self.dest, SERVER)
        self.restore()
        self.source.attest_now(
            known=[
                bodies.Known(instance, 1, item.hash, '')
                for item in self.source.documents.values()
                for instance in [item.content.instance]
                if item.content.version == 1
            ]
        )
        self.assert_released(SERVER)
        # Nobody else is concerned.
        self.source.approve((OTHER, 1))

    def test_recovery_with_a_gap(self):
        """A3b: a receipt opens its own server, and no other."""
        self.moved(self.source, self.dest, OTHER)
        last = self.moved(self.source, self.dest, SERVER)
        self.restore()
        self.admin.present_documents([last])
        self.dest.approve((SERVER, 2))
        self.assert_released(OTHER)
        self.dest.heal()
        self.dest.approve((OTHER, 2))

    def test_withheld_receipt(self):
        """A9: one that is kept back stops its own server, and only once."""
        token = self.moved(self.source, self.dest, SERVER)
        self.restore()
        self.dest.measure('/tmp/rootkit')
        self.third.claim(GHOST)
        self.source.approve((OTHER, 1))
        self.assert_released(SERVER)
        self.dest.present(token)
        for _ in range(2):
            self.dest.present(token)
            self.assertEqual('h2', self.admin.get_server(SERVER)['holder'])
        self.assertIn(token, self.admin.list_receipts())
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))


class ClockTest(CustodyTestCase):
    def test_worker_whose_clock_is_behind(self):
        """A11, A11a: a small skew between two workers spoils no evidence."""
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
