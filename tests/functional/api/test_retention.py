# SPDX-License-Identifier: Apache-2.0
"""What the database keeps no longer, and what it must keep."""

import hashlib
import json
import pathlib
from unittest import mock

import fixtures
import sqlalchemy as sa

from korora_nova import errors
from korora_nova.verifier import attest
from korora_nova.verifier.custody import log
from korora_nova.verifier.db import models
from korora_nova.verifier.retention import (
    archives,
    history,
    leftovers,
    trail,
)
from tests.functional.api.test_custody import SERVER, CustodyTestCase

YEAR = 365 * 86400.0
MANY = 1000


class RetentionTestCase(CustodyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.db = self.korora.service.db

    def now(self) -> float:
        return self.korora.clock()

    def a_year_later(self) -> None:
        self.korora.clock.advance(YEAR)
        for host in (self.source, self.dest):
            host.attest_now()

    def rows(self, table: type[models.Base]) -> int:
        with self.db.read() as session:
            return session.scalar(
                sa.select(sa.func.count()).select_from(table)
            )

    def files(self, kind: str) -> list[pathlib.Path]:
        return sorted(self.directory.glob(f'korora-{kind}-*.jsonl'))

    def read(self, path: pathlib.Path) -> list[dict]:
        """Rows of an archive whose name is right."""
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.assertIn(digest, path.name)
        with self.db.read() as session:
            known = session.get(models.Archive, digest)
            self.assertEqual(len(content.splitlines()), known.row_count)
        return [json.loads(line) for line in content.splitlines()]


class TestLeftovers(RetentionTestCase):
    def test_challenges(self):
        kept = self.source.challenge()
        self.korora.clock.advance(30)
        self.assertEqual(0, self.delete('challenges'))
        self.korora.clock.advance(YEAR)
        newest = self.source.challenge()
        self.assertGreater(self.delete('challenges'), 0)
        self.assertEqual(0, self.delete('challenges'))
        with self.db.read() as session:
            left = session.scalars(sa.select(models.Challenge.challenge))
            self.assertEqual([newest], list(left))
        with self.refused('CHALLENGE_UNKNOWN'):
            self.source.say('attest', kept, known=[])

    def test_enrolments(self):
        self.stranger('h9').ask_credential()
        self.assertEqual(0, self.delete('enrolments'))
        self.korora.clock.advance(YEAR)
        self.assertGreater(self.delete('enrolments'), 0)
        self.assertEqual(0, self.rows(models.Enrolment))

    def delete(self, kind: str) -> int:
        now = self.now()
        found = leftovers.count(self.db, kind, now)
        self.assertEqual(found, leftovers.delete(self.db, kind, MANY, now))
        return found

    def test_in_batches(self):
        for _ in range(5):
            self.source.challenge()
        self.korora.clock.advance(YEAR)
        left = leftovers.count(self.db, 'challenges', self.now())
        self.assertEqual(
            2, leftovers.delete(self.db, 'challenges', 2, self.now())
        )
        self.assertEqual(
            left - 2, leftovers.count(self.db, 'challenges', self.now())
        )


class TestEvidence(RetentionTestCase):
    def silent(self) -> list[str]:
        return leftovers.silent(self.db, self.now() - YEAR / 2)

    def test_of_a_silent_host(self):
        self.assertEqual([], self.silent())
        self.korora.clock.advance(YEAR)
        self.source.attest_now()
        self.assertEqual([self.dest.name], self.silent())
        self.assertTrue(self.forget(self.dest.name))
        self.assertEqual([], self.silent())
        self.assertEqual(1, self.rows(models.Measurement))
        self.dest.attest_now()
        self.assertEqual('affirming', self.tier(self.dest.name))

    def forget(self, host: str) -> bool:
        return leftovers.forget(self.db, host, self.now() - YEAR / 2)

    def test_heard_meanwhile(self):
        self.korora.clock.advance(YEAR)
        self.dest.attest_now()
        self.assertFalse(self.forget(self.dest.name))
        self.dest.go_on()

    def test_an_attestation_under_way_loses_its_race(self):
        """Else it would go on from a list that is not there."""
        self.korora.clock.advance(YEAR)
        appraise, forgotten = attest._appraise, []

        def meanwhile(*args):
            outcome = appraise(*args)
            forgotten.append(self.forget(self.dest.name))
            return outcome

        with (
            mock.patch.object(attest, '_appraise', meanwhile),
            self.refused('RETRY'),
        ):
            self.dest.go_on()
        self.assertEqual([True], forgotten)
        self.dest.go_on()
        self.assertEqual(2, self.rows(models.Measurement))


class TestAudit(RetentionTestCase):
    def archive(self, most: int = MANY) -> int:
        now = self.now()
        return trail.archive(
            self.db, self.directory, now - YEAR / 2, most, now
        )

    def test_archived_and_gone(self):
        before = self.rows(models.Audit)
        self.assertGreater(before, 2)
        self.assertEqual(0, self.archive())
        self.a_year_later()
        self.assertEqual(before, trail.count(self.db, self.now() - YEAR / 2))
        self.assertEqual(2, self.archive(2))
        self.assertEqual(before - 2, self.archive())
        self.assertEqual(0, self.archive())
        told = [row for one in self.files('audit') for row in self.read(one)]
        self.assertEqual(before, len({row['id'] for row in told}))
        self.assertIn('granted', {row['action'] for row in told})

    def test_cut_off(self):
        """The file is there and nothing is gone: the same file again."""
        self.a_year_later()
        before = self.rows(models.Audit)
        with mock.patch.object(archives, 'note', side_effect=OSError):
            self.assertRaises(OSError, self.archive)
        self.assertEqual(before, self.rows(models.Audit))
        (first,) = self.files('audit')
        self.assertGreater(self.archive(), 0)
        self.assertEqual([first], self.files('audit'))
        self.read(first)

    def test_disk_is_full(self):
        self.a_year_later()
        before = self.rows(models.Audit)
        with mock.patch.object(archives.os, 'fsync', side_effect=OSError(28)):
            self.assertRaises(OSError, self.archive)
        self.assertEqual(before, self.rows(models.Audit))
        self.assertEqual([], self.files('audit'))

    def test_two_at_once(self):
        """One of both deletes; the other finds nothing any more."""
        self.a_year_later()
        write, inner = archives.write, []

        def twice(*args):
            if not inner:
                inner.append(None)
                inner[0] = self.archive()
            return write(*args)

        with mock.patch.object(archives, 'write', twice):
            self.assertEqual(0, self.archive())
        self.assertGreater(inner[0], 0)

    def test_nowhere_to_put_it(self):
        for directory in (None, self.directory / 'missing'):
            error = self.assertRaises(
                errors.Invalid, archives.check, directory
            )
            self.assertIn('--archive', error.message)
        self.assertEqual(self.directory, archives.check(self.directory))


class TestHistory(RetentionTestCase):
    """A server that moved to and fro."""

    def setUp(self) -> None:
        super().setUp()
        ends = [self.source, self.dest]
        self.moves = []
        for _ in range(3):
            self.moved(*ends, SERVER)
            self.moves.append(self.newest_move())
            ends.reverse()

    def newest_move(self) -> str:
        with self.db.read() as session:
            return session.scalars(
                sa.select(models.Migration.id)
                .order_by(models.Migration.created_at.desc())
                .limit(1)
            ).one()

    def purge(self, most: int = MANY) -> tuple[int, int]:
        now = self.now()
        log.extend(self.db)
        while history.archive(
            self.db, self.directory, now - YEAR / 2, most, now
        ):
            pass
        self.assertEqual(
            [SERVER], list(history.servers(self.db, '', MANY)) or [SERVER]
        )
        return history.delete(self.db, SERVER, now - YEAR / 2)

    def verify(self) -> log.Report:
        service = self.korora.service
        report = log.verify(service.db, self.korora.ring, service.anchor)
        self.assertEqual(([], []), (report.faults, report.holes))
        return report

    def test_young_history_stays(self):
        self.assertEqual((0, 0), self.purge())
        self.assertEqual([], self.files('documents'))

    def test_old_history_goes(self):
        whole = self.verify().documents
        self.a_year_later()
        # Grant, and two hand-overs with three documents each
        self.assertEqual((7, 2), self.purge())
        self.assertEqual((0, 0), self.purge())
        report = self.verify()
        self.assertEqual((whole - 7, 7), (report.documents, report.archived))
        told = [
            row for one in self.files('documents') for row in self.read(one)
        ]
        self.assertEqual(
            list(range(1, whole + 1)), [row['seq'] for row in told]
        )
        self.assertEqual(
            {self.moves[-1]},
            {one['id'] for one in self.admin.list_migrations()},
        )

    def test_it_goes_on_from_what_is_left(self):
        self.a_year_later()
        self.purge()
        self.moved(self.dest, self.source, SERVER)
        self.source.heal()
        self.dest.heal()
        self.verify()
        self.a_year_later()
        self.assertEqual((3, 1), self.purge())
        self.verify()

    def test_in_parts(self):
        self.a_year_later()
        self.assertEqual((7, 2), self.purge(3))
        self.assertGreater(len(self.files('documents')), 2)
        self.verify()

    def test_what_no_archive_has_stays(self):
        self.a_year_later()
        self.assertEqual(
            (0, 0), history.delete(self.db, SERVER, self.now() - YEAR / 2)
        )

    def test_dry(self):
        self.a_year_later()
        log.extend(self.db)
        now = self.now()
        history.archive(self.db, self.directory, now - YEAR / 2, MANY, now)
        found = history.delete(self.db, SERVER, now - YEAR / 2, dry_run=True)
        self.assertEqual((7, 2), found)
        self.assertEqual(0, self.verify().archived)

    def test_an_end_that_is_silent_keeps_it(self):
        """It has not got its receipt: it will ask."""
        self.moving(self.dest, self.source, SERVER)
        move = self.newest_move()
        self.source.state(move, 'activated')
        for ends in ((self.source, self.dest), (self.dest, self.source)):
            self.moved(*ends, SERVER)
        self.a_year_later()
        self.assertEqual((10, 3), self.purge())
        self.assertIn(
            move, {one['id'] for one in self.admin.list_migrations()}
        )
        self.verify()

    def test_a_document_that_comes_back(self):
        """A host from long ago shows it; the newest one counts."""
        old = self.source.read(self.documents()[2])
        self.a_year_later()
        self.purge()
        with self.db.read() as session:
            self.assertIsNone(session.get(models.Document, old.hash))
        before = self.row(), self.version()
        self.admin.present_documents([old.token])
        self.assertEqual(before, (self.row(), self.version()))
        self.verify()

    def documents(self) -> list[str]:
        with self.db.read() as session:
            return list(
                session.scalars(
                    sa.select(models.Document.token)
                    .where(models.Document.instance == SERVER)
                    .order_by(models.Document.version)
                )
            )

    def test_what_was_lost_later_is_in_the_archive(self):
        self.a_year_later()
        self.purge()
        service = self.korora.service
        with self.db.write() as session:
            session.execute(
                sa.delete(models.Document).where(models.Document.version == 8)
            )
        report = log.verify(service.db, self.korora.ring, service.anchor)
        self.assertEqual([], report.holes)
        self.assertEqual(8, report.archived)

    def test_cut_off(self):
        self.a_year_later()
        log.extend(self.db)
        with mock.patch.object(archives, 'note', side_effect=OSError):
            self.assertRaises(OSError, self.purge)
        (first,) = self.files('documents')
        self.assertEqual((7, 2), self.purge())
        self.assertEqual([first], self.files('documents'))
