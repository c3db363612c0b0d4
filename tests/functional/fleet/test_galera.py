# SPDX-License-Identifier: Apache-2.0
"""A database of three nodes: what one has committed, another one must know."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time

import sqlalchemy as sa
import testtools

from korora_nova import errors
from korora_nova.verifier import challenges, records
from korora_nova.verifier.db import api, models
from korora_tools.fleet import database
from korora_tools.fleet.processes import Scratch
from tests.support import agent, service


class GaleraTest(testtools.TestCase):
    """One service, whose two workers ask a node each."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.galera = database.Galera(Scratch(stack))
        cls.galera.await_size()

    def setUp(self) -> None:
        super().setUp()
        self.one, self.other = self.galera.nodes[:2]
        name = f'korora_{int(time.time() * 1000)}'
        self.one.create(name)
        self.korora = self.useFixture(
            service.KororaFixture(database.url(self.one.port, name))
        )
        self.here = self.korora.service
        self.korora.conf.set_override(
            'connection', database.url(self.other.port, name), 'database'
        )
        self.korora.restart()
        self.there = self.korora.service
        self.host = agent.SimAgent(
            'h1', self.korora.client_as('attester'), self.korora.vendor
        )
        self.host.join(self.korora.client_as('admin'))

    @contextlib.contextmanager
    def lagging(self, node: database.Server):
        """A node that has not applied what the others commit."""
        with node.cursor() as cursor:
            cursor.execute('FLUSH TABLES WITH READ LOCK')
            try:
                yield
            finally:
                cursor.execute('UNLOCK TABLES')

    def approved(self, korora: object) -> bool:
        with korora.db.read() as session:
            return session.get(models.Host, 'h1').approved

    def change(self) -> None:
        """On the first node."""
        with self.here.db.write() as session:
            session.execute(sa.update(models.Host).values(approved=False))

    def test_worker_reads_what_was_committed_elsewhere(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            with self.lagging(self.other):
                self.change()
                # So it would be, without waiting.
                (row,) = self.other.rows(
                    'SELECT approved FROM hosts', self._name()
                )
                self.assertEqual(1, row[0])
                found = pool.submit(self.approved, self.there)
                self.assertRaises(
                    concurrent.futures.TimeoutError, found.result, 1
                )
            self.assertFalse(found.result(30))

    def _name(self) -> str:
        return self.korora.conf.database.connection.rpartition('/')[2][
            : -len('?charset=utf8mb4')
        ]

    def test_operator_knows_better(self) -> None:
        self.korora.conf.set_override('mysql_wsrep_sync_wait', 0, 'database')
        self.korora.restart()
        with self.korora.service.db.read() as session:
            found = session.execute(sa.text('SELECT @@wsrep_sync_wait'))
            self.assertEqual(0, found.scalar_one())

    def test_certification_failure_is_a_lost_race(self) -> None:
        """Both nodes change a row; the first to commit wins."""

        def both() -> None:
            with self.here.db.write() as session:
                session.execute(
                    sa.update(models.Host).values(version=models.Host.version)
                )
                session.execute(sa.update(models.Host).values(seq=7))
                with self.there.db.write() as other:
                    other.execute(sa.update(models.Host).values(seq=8))

        self.assertRaises(api.Lost, both)
        with self.here.db.read() as session:
            self.assertEqual(8, session.get(models.Host, 'h1').seq)

    def test_challenge_is_used_once(self) -> None:
        """By workers on different nodes at the same time."""
        every = frozenset(challenges.ChallengeClass)

        def use(korora: object, challenge: str) -> str:
            try:
                record = records.find(korora, 'h1', challenge)
                known = challenges.check(korora, record, every)
                challenges.redeem(korora, known)
            except errors.KororaError as exc:
                return exc.reason
            return 'used'

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for _ in range(20):
                challenge = self.host.challenge()
                said = list(
                    pool.map(
                        use, (self.here, self.there), (challenge, challenge)
                    )
                )
                self.assertEqual(['CHALLENGE_USED', 'used'], sorted(said))

    def test_node_without_the_others(self) -> None:
        """It refuses; that is no word on the host, nor an internal error."""
        with self.galera.isolated(self.other):
            end = time.monotonic() + 30
            while self.other.synced and time.monotonic() < end:
                time.sleep(0.2)
            error = self.assertRaises(
                errors.Unavailable, self.approved, self.there
            )
            self.assertEqual('DATABASE_UNAVAILABLE', error.reason)
        self.galera.await_size()
        self.assertTrue(self.approved(self.there))
