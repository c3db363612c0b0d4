# SPDX-License-Identifier: Apache-2.0
"""What a re-read by somebody hostile has found."""

import uuid
from unittest import mock

import sqlalchemy as sa

from korora_nova.verifier.custody import handover, ledger
from korora_nova.verifier.db import models
from tests.functional.api.test_custody import OTHER, SERVER, CustodyTestCase
from tests.functional.api.test_recovery import (
    RestoreCase,
    down,
)

WHY = 'Somebody has to.'


class UntoldTest(RestoreCase):
    """Agents look receipts up, too: nothing is told before it is anchored."""

    def decided(self) -> str:
        """A hand-over whose receipt is stored, but not anchored."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.backup = self.snapshot()
        with self.failing(), self.refused('ANCHOR_UNAVAILABLE'):
            self.dest.state(migration, 'activated')
        return migration

    def failing(self):
        return mock.patch.object(
            self.korora.service.anchor, 'rise', side_effect=down()
        )

    def readers(self, migration: str):
        return (
            lambda: self.admin.get_migration(migration),
            lambda: self.admin.get_migration(migration, documents=True),
            self.admin.list_migrations,
            self.admin.list_receipts,
        )

    def test_not_before_it_is_anchored(self):
        migration = self.decided()
        for read in self.readers(migration):
            with self.failing(), self.refused('ANCHOR_UNAVAILABLE'):
                read()
        # Nobody was told, so the copy before is as good.
        self.restore()
        self.source.state(migration, 'kept')
        self.dest.state(migration, 'no_domain')
        self.source.approve((SERVER, 1))

    def test_readers_anchor_it(self):
        migration = self.decided()
        taken = self.snapshot()
        anchor = self.copy_of_anchor()
        for read in self.readers(migration):
            self.put_anchor(anchor)
            self.restore(taken)
            read()
            self.restore()
            with self.refused('LEDGER_BEHIND'):
                self.source.state(migration, 'kept')

    def copy_of_anchor(self) -> bytes:
        with open(self.korora.directory + '/anchor.db', 'rb') as file:
            return file.read()

    def put_anchor(self, content: bytes) -> None:
        with open(self.korora.directory + '/anchor.db', 'wb') as file:
            file.write(content)

    def test_not_that_of_a_fork(self):
        """Whoever is told the other one would erase the only copy."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.source.claim(OTHER)
        backup = self.snapshot()
        self.dest.state(migration, 'activated')
        self.restore(backup)
        with (
            mock.patch.object(
                self.korora.service.anchor, 'get', lambda *_: {}
            ),
            self.refused('LEDGER_FORKED'),
        ):
            self.source.state(migration, 'kept')
            self.dest.state(migration, 'no_domain')
        self.assertIsNone(self.admin.get_migration(migration)['receipt'])
        shown = self.admin.get_migration(migration, documents=True)
        self.assertEqual([], shown['documents'])
        (listed,) = self.admin.list_migrations()
        self.assertIsNone(listed['receipt'])


class RebuiltTest(RestoreCase):
    """What an operator decided is not undone by what hosts show later."""

    def disputed(self) -> str:
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.source.state(migration, 'kept')
        self.dest.state(migration, 'activated')
        self.backup = self.snapshot()
        return migration

    def settled(self, migration: str, outcome: str) -> None:
        """Decided, and no word opens it again."""
        for host, word in ((self.source, 'kept'), (self.dest, 'activated')):
            host.state(migration, word)
        shown = self.admin.get_server(SERVER)
        self.assertEqual('held', shown['state'])
        self.korora.clock.advance(61)
        self.assertEqual(
            outcome, self.admin.get_migration(migration)['status']
        )

    def resolved(self, keep: str, host, outcome: str) -> None:
        migration = self.disputed()
        answer = self.admin.resolve_migration(migration, keep, WHY)
        self.restore()
        host.present(answer['receipt'])
        self.settled(migration, outcome)

    def test_a_dispute_for_the_source(self):
        """The receipt knows its words, and that nothing is disputed."""
        self.resolved('source', self.source, 'aborted')

    def test_a_dispute_for_the_destination(self):
        self.resolved('destination', self.dest, 'committed')

    def test_a_dispute_after_the_decision(self):
        """Of two receipts with one outcome the newer one's words count."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.dest.state(migration, 'activated')
        self.source.state(migration, 'kept')
        self.backup = self.snapshot()
        answer = self.admin.resolve_migration(migration, 'destination', WHY)
        self.restore()
        self.dest.present(answer['receipt'])
        self.settled(migration, 'committed')

    def test_a_reissue(self):
        """A hand-over that was lost and given up does not go on."""
        migration, permit = self.sealed_over(self.source, self.dest, SERVER)
        self.backup = self.snapshot()
        start = self.source.start(permit)['start']
        self.restore()
        self.admin.reissue_server(SERVER, WHY, fenced='Both are off.')
        self.source.present(permit.token, start)
        self.assertEqual(
            'aborted', self.admin.get_migration(migration)['status']
        )
        with self.refused('MIGRATION_SPENT'):
            self.source.start(permit)

    def test_a_start_of_long_ago(self):
        """It is given again only while the server waits for it."""
        _, permit = self.moving(self.source, self.dest, SERVER)
        self.backup = self.snapshot()
        self.dest.state(permit.content.migration, 'activated')
        _, later = self.handed_over(self.dest, self.third, SERVER)
        self.restore()
        self.dest.present(later['permit'])
        with self.refused('MIGRATION_SPENT'):
            self.source.start(permit)

    def test_an_impostor_before_it(self):
        """What another host had said in the destination's place is gone."""
        migration, permit = self.moving(self.source, self.dest, SERVER)
        token = self.source.newest[SERVER].token
        with self.korora.service.db.write() as session:
            row = session.get(models.Migration, migration)
            row.status, row.dest, row.ak_dest = 'aborted', 'h3', 'ab' * 34
            row.permit_hash = row.start_hash = None
            row.dest_word = 'no_domain'
        self.source.present(permit.token, token)
        self.source.state(migration, 'kept')
        self.assertEqual(
            ('moving', None),
            tuple(
                self.admin.get_migration(migration)[name]
                for name in ('status', 'dest_word')
            ),
        )
        self.dest.state(migration, 'no_domain')


class LostRowTest(RestoreCase):
    def test_receipt_that_may_not_be_told(self):
        """Of a hand-over whose row is lost, another receipt may follow."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.backup = self.snapshot()
        first = self.dest.state(migration, 'activated')
        self.source.state(migration, 'kept')
        second = self.dest.state(migration, 'no_domain')
        self.assertNotEqual(first, second)
        self.restore()
        with self.korora.service.db.write() as session:
            session.delete(session.get(models.Migration, migration))
            for kept in session.scalars(sa.select(models.Document)):
                if kept.subject == migration:
                    session.delete(kept)
        self.dest.present(first)
        # Told of the first one, it would erase the key that it holds.
        with self.refused('LEDGER_BEHIND'):
            self.source.state(migration, 'ended_here')


class DeletedTest(CustodyTestCase):
    """A destination says that the guest arrived, and that it is deleted."""

    def setUp(self) -> None:
        super().setUp()
        self.migration = self.started().content.migration
        self.dest.state(self.migration, 'activated')

    def test_while_the_source_may_contradict(self):
        """It would end the hand-over before the source has spoken."""
        self.korora.nova.servers[SERVER] = 'h1'
        for _ in range(2):
            with self.refused('CUSTODY_PENDING'):
                self.dest.delete(SERVER)
        self.korora.nova.down = True
        with self.refused('NOVA_UNAVAILABLE'):
            self.dest.delete(SERVER)
        self.korora.nova.down = False
        self.source.state(self.migration, 'kept')
        self.dest.state(self.migration, 'no_domain')
        self.source.approve((SERVER, 1))

    def test_with_the_source(self):
        self.korora.nova.servers[SERVER] = 'h1'
        self.source.state(self.migration, 'ended_here')
        self.dest.delete(SERVER)

    def test_where_nova_has_it(self):
        """The source may be silent for ever."""
        self.korora.nova.servers[SERVER] = 'h2'
        token = self.dest.delete(SERVER)
        self.assertEqual(token, self.dest.delete(SERVER))

    def test_that_nova_has_deleted(self):
        self.korora.nova.gone.add(SERVER)
        self.dest.delete(SERVER)

    def test_at_once_with_the_word(self):
        """It is committed while Nova is not asked."""
        with mock.patch.object(ledger, 'consult', lambda *_: None):
            with self.refused('CUSTODY_PENDING'):
                self.dest.delete(SERVER)


class BoundTest(CustodyTestCase):
    """One affirming host asks without end for what it is never given."""

    def known(self) -> set[str]:
        return {one['id'] for one in self.admin.list_migrations()}

    def test_requests_for_a_key(self):
        """T36: one host asks for keys without end."""
        permitted, _ = self.handed_over(self.source, self.dest, SERVER)
        self.source.state(permitted, 'never_started')
        asked = [str(uuid.uuid4()) for _ in range(3)]
        for migration in asked:
            self.dest.receive(migration, SERVER, 'h1')
        self.dest.state(asked[0], 'no_domain')
        self.assertEqual({permitted, *asked}, self.known())
        self.korora.clock.advance(handover.FORGOTTEN + 1)
        for host in (self.source, self.dest):
            host.attest_now()
        last = str(uuid.uuid4())
        self.dest.receive(last, SERVER, 'h1')
        # What was permitted has a receipt, and stays.
        self.assertEqual({permitted, last}, self.known())
        with self.refused('MIGRATION_UNKNOWN'):
            self.dest.state(asked[0], 'no_domain')


class AheadTest(RestoreCase):
    """Without an anchor that lasts, and with a clock that was a day ahead."""

    ANCHOR = {'backend': 'none'}

    def setUp(self) -> None:
        with mock.patch.object(ledger, 'check_heard'):
            super().setUp()

    def test_reports_of_a_clock_that_was_ahead(self):
        with mock.patch.object(ledger, 'check_heard'):
            migration, _ = self.moving(self.source, self.dest, SERVER)
            self.korora.clock.advance(86400)
            for host in self.hosts:
                host.attest_now(known=host.known())
            self.backup = self.snapshot()
            self.korora.clock.advance(-86400)
            self.dest.state(migration, 'activated')
        self.restore()
        with self.refused('HOSTS_UNHEARD'):
            self.source.state(migration, 'kept')
            self.dest.state(migration, 'no_domain')
        for host in self.hosts:
            host.attest_now()
        with self.refused('NOT_HOLDER'):
            self.third.approve((SERVER, 1))


class EvictedTest(CustodyTestCase):
    def test_while_nova_is_asked(self):
        """A host that is given up gets nothing more."""
        self.korora.nova.before_answer = lambda: self.admin.evict_host(
            'h1', WHY
        )
        with self.refused('EVICTED'):
            self.source.claim(OTHER)
        self.korora.nova.before_answer = lambda: None
        self.dest.claim(OTHER)
