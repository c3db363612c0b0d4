# SPDX-License-Identifier: Apache-2.0
"""Hand-overs of cold migrations: the kind counts from C2 to the permit."""

import uuid

import jwt

from korora_nova.custody import permit
from korora_nova.custody.moves import Move, way_back
from korora_nova.verifier.db import models
from tests.functional.api import base

SERVER = str(uuid.UUID(int=1))
MIGRATION = str(uuid.UUID(int=3))


class ColdTestCase(base.ApiTestCase):
    """h1 holds a server's key at epoch 1; h2 is trusted, too."""

    def setUp(self) -> None:
        super().setUp()
        self.source, self.dest = self.host('h1'), self.host('h2')
        self.source.claim(SERVER)

    def in_nova(self, *kind: Move, migration: str = MIGRATION) -> None:
        self.korora.nova.migrations.add((migration, SERVER, 'h1', 'h2', *kind))

    def permitted(self, asked: str = 'cold', sent: str = 'cold'):
        kinds = [
            {} if one == 'live' else {'kind': one} for one in (asked, sent)
        ]
        msk = self.dest.receive(MIGRATION, SERVER, 'h1', **kinds[0])
        answer = self.source.send(
            MIGRATION, SERVER, 'h2', msk.name, **kinds[1]
        )
        return self.source.read(answer['permit'])

    def moved_off(self):
        self.in_nova(Move.COLD)
        given = self.permitted()
        self.dest.sealed(given)
        self.source.start(given)
        return given

    def words(self) -> tuple:
        shown = self.admin.get_migration(MIGRATION)
        return shown['source_word'], shown['dest_word'], shown['status']


class TestKind(ColdTestCase):
    def test_permit_says_it(self):
        self.in_nova(Move.COLD)
        given = self.permitted()
        self.assertIsInstance(given, permit.VerifiedPermit)
        self.assertEqual(Move.COLD, given.content.kind)

    def test_live_permit_is_as_before(self):
        """Older agents read it."""
        self.in_nova()
        given = self.permitted('live', 'live')
        self.assertEqual(Move.LIVE, given.content.kind)
        self.assertNotIn('kind', claims_of(given.token))
        self.assertEqual('live', self.admin.get_migration(MIGRATION)['kind'])

    def test_both_ends_mean_the_same(self):
        self.in_nova()
        self.in_nova(Move.COLD)
        for asked, sent in (('live', 'cold'), ('cold', 'live')):
            with self.refused('PERMIT_MISMATCH'):
                self.permitted(asked, sent)
            self.dest.state(MIGRATION, 'no_domain')
            with self.korora.service.db.write() as session:
                session.delete(session.get(models.Migration, MIGRATION))

    def test_nova_means_the_same(self):
        self.in_nova()
        with self.refused('MIGRATION_NOT_IN_NOVA'):
            self.permitted()

    def test_same_request_same_permit(self):
        self.in_nova(Move.COLD)
        msk = self.dest.receive(MIGRATION, SERVER, 'h1', kind='cold')
        permits = {
            self.source.send(MIGRATION, SERVER, 'h2', msk.name, kind='cold')[
                'permit'
            ]
            for _ in range(2)
        }
        self.assertEqual(1, len(permits))
        with self.refused('MIGRATION_SPENT'):
            self.source.send(MIGRATION, SERVER, 'h2', msk.name)

    def test_words_that_are_none(self):
        for kind in ('live', 'warm', ''):
            with self.refused('INVALID_REQUEST'):
                self.dest.receive(MIGRATION, SERVER, 'h1', kind=kind)

    def test_way_back(self):
        """Nova's record is the same, the hand-over another one."""
        self.moved_off()
        self.dest.state(MIGRATION, 'activated')
        back = way_back(MIGRATION)
        self.korora.nova.migrations.add(
            (back, SERVER, 'h2', 'h1', Move.REVERT)
        )
        msk = self.source.receive(back, SERVER, 'h2', kind='revert')
        answer = self.dest.send(back, SERVER, 'h1', msk.name, kind='revert')
        given = self.dest.read(answer['permit'])
        self.assertEqual(Move.REVERT, given.content.kind)
        self.source.sealed(given)
        self.dest.start(given)
        self.source.state(back, 'activated')
        self.assertEqual('h1', self.admin.get_server(SERVER)['holder'])


class TestDecision(ColdTestCase):
    def test_arrival_alone_commits(self):
        self.moved_off()
        self.assertTrue(self.dest.state(MIGRATION, 'activated'))
        self.assertEqual((None, 'activated', 'committed'), self.words())
        self.assertEqual('cold', self.admin.get_migration(MIGRATION)['kind'])

    def test_a_boot_says_nothing(self):
        """Nova goes on after it, at either end."""
        self.moved_off()
        for host in (self.source, self.dest):
            host.reboot()
            host.attest_now()
        self.assertEqual((None, None, 'moving'), self.words())
        self.dest.state(MIGRATION, 'activated')
        self.assertEqual('h2', self.admin.get_server(SERVER)['holder'])

    def test_stays(self):
        self.moved_off()
        self.source.state(MIGRATION, 'ended_here')
        self.assertEqual('moving', self.words()[2])
        self.dest.state(MIGRATION, 'no_domain')
        self.assertEqual('aborted', self.words()[2])
        self.assertEqual('h1', self.admin.get_server(SERVER)['holder'])

    def test_kind_is_restored(self):
        """The database lost the hand-over; its permit has the kind."""
        self.moved_off()
        with self.korora.service.db.write() as session:
            session.delete(session.get(models.Migration, MIGRATION))
        self.source.present(
            *(one.token for one in self.source.documents.values())
        )
        with self.korora.service.db.read() as session:
            known = session.get(models.Migration, MIGRATION)
            self.assertEqual(('cold', 'moving'), (known.kind, known.status))


def claims_of(token: str) -> dict:
    return jwt.decode(token, options={'verify_signature': False})
