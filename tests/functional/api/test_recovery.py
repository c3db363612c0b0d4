# SPDX-License-Identifier: Apache-2.0
"""The database went back: nothing is signed that was given away since (I13).

What hosts were given makes it whole again.
"""

import os
import shutil
import uuid
from unittest import mock

import sqlalchemy as sa

from korora_nova import errors, faultpoints
from korora_nova.custody import bodies, decision
from korora_nova.verifier.custody import ledger, log
from korora_nova.verifier.db import models
from tests.functional.api.test_custody import (
    MIGRATION,
    OTHER,
    SERVER,
    CustodyTestCase,
)
from tests.support import agent, documents

THIRD = str(uuid.UUID(int=7))
GHOST = str(uuid.UUID(int=666))
#: Transactions of custody.
POINTS = frozenset(
    f'v.{name}'
    for name in (
        'claim',
        'receive',
        'permit',
        'sealed',
        'start',
        'word',
        'decide',
        'delete',
    )
)


class RestoreCase(CustodyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.third = self.host('h3')
        self.hosts = [self.source, self.dest, self.third]
        self.path = os.path.join(self.korora.directory, 'korora.db')
        self.taken: list[str] = []
        self.backup = self.snapshot()

    def snapshot(self) -> str:
        """Copy the database, not its anchor; where it is."""
        path = f'{self.path}.{len(self.taken)}'
        shutil.copy(self.path, path)
        self.taken.append(path)
        return path

    def restore(self, path: str | None = None) -> None:
        shutil.copy(path or self.backup, self.path)
        self.korora.service.references.clear()
        self.korora.restart()
        for host in self.hosts:
            host.offset = 0

    def version(self, instance: str = SERVER) -> int:
        """Of the row, whatever the anchor says."""
        with self.korora.service.db.read() as session:
            row = ledger.load(session, instance)
        return row.version if row is not None else 0

    def assert_shut(self, instance: str, *reasons: str) -> None:
        """Nobody gets anything signed about a server."""
        for host, other in zip(
            self.hosts, self.hosts[1:] + self.hosts[:1], strict=True
        ):
            for epoch in (1, 2, 5):
                self._refused(reasons, host.approve, (instance, epoch))
                if reasons == ('LEDGER_BEHIND',):
                    break
            self._refused(reasons, host.claim, instance)
            self._refused(reasons, host.delete, instance)
            self._refused(reasons, self.handed_over, host, other, instance)

    def _refused(self, reasons, call, *args) -> None:
        try:
            call(*args)
        except errors.KororaError as exc:
            self.assertIn(exc.reason, reasons)
        else:
            self.fail('it was signed')

    def assert_refused(self, reason: str, instance: str = SERVER) -> None:
        """Readers are not told who holds the key, but why not."""
        shown = self.admin.get_server(instance)
        self.assertEqual(reason, shown['refused']['reason'])
        self.assertNotIn('holder', shown)

    def heal(self) -> None:
        for host in self.hosts:
            host.heal()

    def audit(self) -> log.Report:
        report = log.verify(
            self.korora.service.db,
            self.korora.ring,
            self.korora.service.anchor,
        )
        report.check()
        return report


class PropertyTest(RestoreCase):
    """T40, T41: any copy, of any moment of a whole life."""

    def live(self) -> None:
        """Hand-overs that end in each way, and one that does not."""
        source, dest, third = self.hosts
        source.claim(OTHER)
        source.claim(THIRD)
        self.moved(source, dest, SERVER)
        migration, _ = self.moving(dest, source, SERVER)
        dest.state(migration, 'kept')
        source.state(migration, 'no_domain')
        self.handed_over(dest, source, SERVER)
        # D refused it before it was sealed.
        source.state(source_migration(self), 'no_domain')
        self.moved(dest, third, SERVER)
        third.delete(SERVER)
        dest.claim(SERVER)
        self.moving(source, third, THIRD)

    def snapshots(self) -> list[str]:
        """One after each transaction of the life."""
        taken = []

        def hook(name: str, moment: str) -> None:
            if name in POINTS and moment == faultpoints.AFTER:
                taken.append(self.snapshot())

        with mock.patch.object(faultpoints, 'hook', hook):
            self.live()
        return taken

    def test_whatever_copy_is_restored(self) -> None:
        """T41: hosts are silent, and nothing is signed that changed later."""
        taken = self.snapshots()
        self.assertLess(25, len(taken))
        servers = (SERVER, OTHER, THIRD)
        newest = {one: self.version(one) for one in servers}
        rows = {one: self.row(one) for one in servers}
        for path in taken[:-1]:
            self.restore(path)
            for instance in servers:
                if self.version(instance) < newest[instance]:
                    self.assert_shut(instance, 'LEDGER_BEHIND')
                else:
                    self.assertEqual(rows[instance], self.row(instance))
            # T40: and all comes back, from what hosts were given.
            self.heal()
            for instance in servers:
                self.assertEqual(newest[instance], self.version(instance))
                self.assertEqual(rows[instance], self.row(instance), path)
            self.dest.approve((SERVER, rows[SERVER][1]))
            self.source.approve((OTHER, 1))
            self.audit()

    def test_without_an_anchor_that_lasts(self) -> None:
        """T41: nothing is signed until all hosts have reported."""
        self.korora.conf.set_override('backend', 'none', 'anchor')
        self.korora.restart()
        for host in self.hosts:
            host.attest_now(known=host.known())
        taken = self.snapshots()
        rows = {one: self.row(one) for one in (SERVER, OTHER, THIRD)}
        for path in taken[:-1:3]:
            self.restore(path)
            for instance in rows:
                self.assert_shut(instance, 'HOSTS_UNHEARD')
            # The last one that may hold something back: the newest holder.
            self.source.heal()
            self.third.heal()
            self.assert_shut(OTHER, 'HOSTS_UNHEARD')
            self.dest.heal()
            self.heal()
            self.heal()
            self.assertEqual(rows, {one: self.row(one) for one in rows})
            self.dest.approve((SERVER, rows[SERVER][1]))
            self.source.approve((OTHER, 1))


def source_migration(case: CustodyTestCase) -> str:
    """The newest hand-over."""
    return case.admin.list_migrations()[0]['id']


class LostTest(RestoreCase):
    """T40: V loses its last transaction; both ends settle, one holds."""

    def test_grant(self):
        grant = self.source.claim(OTHER)
        self.restore()
        self.assert_refused('LEDGER_BEHIND', OTHER)
        with self.refused('LEDGER_BEHIND'):
            self.dest.claim(OTHER)
        self.source.heal()
        self.source.approve((OTHER, 1))
        again = self.source.claim(OTHER, grant.content.key)
        self.assertEqual(grant, again)

    def test_grant_of_which_nobody_knows(self):
        """Signed and anchored, but the answer was lost: it stays behind."""
        self.source.claim(OTHER)
        self.restore()
        self.source.newest.pop(OTHER)
        self.heal()
        self.assert_refused('LEDGER_BEHIND', OTHER)
        listed = {
            server['instance']: [one['id'] for one in server['issues']]
            for server in self.admin.list_servers(issues=True)
        }
        self.assertEqual(['behind'], listed[OTHER])
        self.assertNotIn(
            OTHER, [one['instance'] for one in self.admin.list_servers()]
        )

    def test_permit(self):
        """A2: S and D are told of it, whatever they do next."""
        for word in ('never_started', 'sealed'):
            with self.subTest(word):
                migration, answer = self.handed_over(
                    self.source, self.dest, SERVER
                )
                permit = self.dest.keep(answer['permit'])
                before = self.row()
                self.restore()
                for host in (self.source, self.dest):
                    with self.refused('MIGRATION_UNKNOWN'):
                        host.state(migration, 'no_domain')
                with self.refused('MIGRATION_UNKNOWN'):
                    self.dest.sealed(permit)
                self.assert_shut(SERVER, 'LEDGER_BEHIND')
                self.source.heal()
                self.assertEqual(before, self.row())
                self.assertEqual('permitted', self.status(migration))
                if word == 'sealed':
                    self.dest.sealed(permit)
                    self.source.start(permit)
                    self.dest.state(migration, 'activated')
                    self.assertEqual('h2', self.row()[0])
                else:
                    self.source.state(migration, word)
                    self.assertEqual('h1', self.row()[0])
                    self.backup = self.snapshot()

    def test_permit_of_which_the_request_is_left(self):
        """The copy has D's request, and one that came after it."""
        msk = self.dest.receive(MIGRATION, SERVER, 'h1')
        backup = self.snapshot()
        self.in_nova()
        answer = self.send(msk)
        permit = self.dest.keep(answer['permit'])
        self.restore(backup)
        with self.refused('LEDGER_BEHIND'):
            self.send(msk)
        self.dest.heal()
        self.assertEqual('permitted', self.status())
        self.assertEqual(answer['permit'], self.send(msk)['permit'])
        self.dest.sealed(permit)
        self.source.start(permit)

    def test_start(self):
        """S streams; D's sealed and the start are lost with the database."""
        _, answer = self.handed(migration=MIGRATION)
        permit = self.dest.keep(answer['permit'])
        backup = self.snapshot()
        self.dest.sealed(permit)
        start = self.source.start(permit)['start']
        self.restore(backup)
        # D alone cannot say what S was told.
        self.dest.heal()
        self.assertEqual('permitted', self.status())
        with self.refused('LEDGER_BEHIND'):
            self.dest.state(MIGRATION, 'activated')
        with self.refused('LEDGER_BEHIND'):
            self.dest.state(MIGRATION, 'no_domain')
        self.source.heal()
        self.assertEqual('moving', self.status())
        self.assertEqual(start, self.source.start(permit)['start'])
        self.dest.state(MIGRATION, 'activated')
        self.assertEqual(('h2', 2, None, None), self.row())
        self.assertEqual([], self.audit().holes)

    def test_sealed(self):
        """Not a document: D says it again."""
        _, answer = self.handed(migration=MIGRATION)
        permit = self.dest.keep(answer['permit'])
        backup = self.snapshot()
        self.dest.sealed(permit)
        self.restore(backup)
        with self.refused('NOT_SEALED'):
            self.source.start(permit)
        self.dest.sealed(permit)
        self.source.start(permit)

    def test_receipt(self):
        """T31: whoever has it shows it, and the other one is told."""
        for host, other, word in (
            (self.dest, self.source, 'stream_completed'),
            (self.source, self.dest, 'activated'),
        ):
            migration, _ = self.moving(self.source, self.dest, SERVER)
            backup = self.snapshot()
            receipt = self.dest.state(migration, 'activated')
            self.source.keep(receipt)
            self.restore(backup)
            with self.refused('LEDGER_BEHIND'):
                other.state(migration, word)
            self.assert_shut(SERVER, 'LEDGER_BEHIND')
            host.heal()
            self.assertEqual('committed', self.status(migration))
            self.assertEqual(receipt, other.state(migration, word))
            self.assertEqual('h2', self.row()[0])
            self.moved(self.dest, self.source, SERVER)

    def test_receipt_whose_start_nobody_shows(self):
        """That there was one is known: words after it do not contradict."""
        _, answer = self.handed(migration=MIGRATION)
        permit = self.dest.keep(answer['permit'])
        backup = self.snapshot()
        self.dest.sealed(permit)
        self.source.say('start', migration=MIGRATION, permit_hash=permit.hash)
        receipt = self.source.state(MIGRATION, 'stream_completed')
        self.restore(backup)
        self.source.heal()
        with self.korora.service.db.read() as session:
            kinds = set(session.scalars(sa.select(models.Document.kind)))
        self.assertNotIn('korora-start+jwt', kinds)
        self.assertEqual(receipt, self.dest.state(MIGRATION, 'no_domain'))
        self.assertEqual('committed', self.status())
        self.assertEqual(('h2', 2, None, None), self.row())

    def test_receipt_that_was_not_told(self):
        """Committed and anchored, and every answer was lost."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        backup = self.snapshot()
        self.dest.say('tell', migration=migration, statement='activated')
        self.restore(backup)
        self.heal()
        # Nobody has it: an operator has to decide.
        self.assert_refused('LEDGER_BEHIND')

    def test_receipt_of_a_deletion(self):
        token = self.source.delete(SERVER)
        self.restore()
        self.assert_refused('LEDGER_BEHIND')
        self.source.heal()
        self.assertEqual(token, self.source.delete(SERVER))
        self.assertIsNone(self.row()[0])

    def test_words(self):
        """Not documents: hosts say them until something is decided."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        backup = self.snapshot()
        self.source.state(migration, 'kept')
        self.restore(backup)
        self.dest.state(migration, 'no_domain')
        self.assertEqual('moving', self.status(migration))
        self.source.state(migration, 'kept')
        self.assertEqual('aborted', self.status(migration))

    def test_words_of_a_receipt(self):
        """A restored database has forgotten them; the receipt has not."""
        for words in (
            ((self.dest, 'activated'), (self.dest, 'no_domain')),
            ((self.source, 'stream_completed'), (self.source, 'kept')),
        ):
            migration, _ = self.moving(self.source, self.dest, SERVER)
            backup = self.snapshot()
            (host, word), (_, other) = words
            receipt = host.state(migration, word)
            self.restore(backup)
            host.heal()
            # Nor does a word that would decide otherwise with the other's.
            self.assertEqual(receipt, host.state(migration, other))
            end = self.source if host is self.dest else self.dest
            last = 'ended_here' if end is self.source else 'no_domain'
            self.assertEqual(receipt, end.state(migration, last))
            self.assertEqual('committed', self.status(migration))
            self.assertEqual('h2', self.row()[0])
            self.moved(self.dest, self.source, SERVER)

    def test_words_of_an_operator(self):
        """What an operator decided stays decided."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.dest.state(migration, 'activated')
        self.source.state(migration, 'kept')
        backup = self.snapshot()
        receipt = self.admin.resolve_migration(
            migration, 'destination', 'h1 is off'
        )['receipt']
        self.dest.keep(receipt)
        self.restore(backup)
        self.dest.heal()
        self.assertEqual(receipt, self.source.state(migration, 'kept'))
        self.korora.clock.advance(decision.PATIENCE)
        self.assertEqual('committed', self.status(migration))
        self.dest.approve((SERVER, 2))

    def test_many(self):
        """More servers than one answer asks for."""
        servers = [str(uuid.UUID(int=1000 + n)) for n in range(70)]
        for server in servers:
            self.source.claim(server)
        self.restore()
        self.assertEqual(64, len(self.source.heal()['wanted']))
        self.assertEqual(6, len(self.source.heal()['wanted']))
        self.source.approve(*((server, 1) for server in servers[-64:]))


class PresentTest(RestoreCase):
    """C12: what counts is what was signed, whoever shows it."""

    def presented(self, host: agent.SimAgent, *tokens: str) -> list[str]:
        return host.say('present', documents=list(tokens))['news']

    def test_anybody_may(self):
        receipt = self.moved(self.source, self.dest, SERVER)
        self.restore()
        self.third.measure('/tmp/rootkit')
        self.assertEqual([receipt], self.presented(self.third, receipt))
        self.assertEqual(('h2', 2, None, None), self.row())
        self.dest.approve((SERVER, 2))

    def test_order_does_not_matter(self):
        self.moved(self.source, self.dest, SERVER)
        tokens = [one.token for one in self.source.documents.values()]
        for turned in (tokens, tokens[::-1]):
            self.restore()
            for token in turned:
                self.presented(self.third, token)
            self.assertEqual(('h2', 2, None, None), self.row())
            self.assertEqual([], self.audit().holes)
            self.assertEqual(
                'committed', self.admin.list_migrations()[0]['status']
            )

    def test_gap(self):
        """A3b, A9: the newest is the row; what is between may come later."""
        first = self.moved(self.source, self.dest, SERVER)
        second = self.moved(self.dest, self.third, SERVER)
        self.restore()
        self.presented(self.dest, first)
        self.assert_shut(SERVER, 'LEDGER_BEHIND')
        self.presented(self.third, second)
        self.assertEqual(('h3', 5, None, None), self.row())
        self.third.approve((SERVER, 5))
        self.assertEqual(2, len(self.audit().holes))
        self.heal()
        self.presented(
            self.third,
            *(one.token for one in self.source.documents.values()),
            *(one.token for one in self.dest.documents.values()),
        )
        self.assertEqual(('h3', 5, None, None), self.row())
        self.assertEqual([], self.audit().holes)

    def test_old_ones_change_nothing(self):
        """A host that goes back in time gets what it lacks."""
        self.moved(self.source, self.dest, SERVER)
        grant = self.read(self.source, 1)
        receipt = self.dest.newest[SERVER].token
        before = self.admin.get_server(SERVER)['stored']
        self.assertEqual([receipt], self.presented(self.source, grant))
        self.assertEqual(before, self.admin.get_server(SERVER)['stored'])
        known = [bodies.Known(SERVER, 1, self.source.read(grant).hash, '')]
        answer = self.source.attest_now(known=known)
        self.assertEqual(([], [receipt]), (answer['wanted'], answer['news']))

    def read(self, host: agent.SimAgent, version: int) -> str:
        return next(
            one.token
            for one in host.documents.values()
            if one.content.version == version
        )

    def test_forged(self):
        """A1: a host shows what the service never signed."""
        receipt = self.moved(self.source, self.dest, SERVER)
        self.restore()
        forged = receipt[:-8] + 'AAAAAAAA'
        with self.refused('RECEIPT_INVALID'):
            self.presented(self.dest, forged)
        self.assert_shut(SERVER, 'LEDGER_BEHIND')
        with self.refused('RECEIPT_INVALID'):
            self.admin.present_documents([receipt, forged])
        self.assert_shut(SERVER, 'LEDGER_BEHIND')
        # A host's good ones count all the same.
        self.presented(self.dest, forged, receipt)
        self.dest.approve((SERVER, 2))

    def test_other_tokens(self):
        for token in (
            self.source.attest_now()['result'],
            'a.b.c',
        ):
            with self.refused('DOCUMENT_INVALID'):
                self.presented(self.source, token)

    def test_of_another_ledger(self):
        receipt = self.moved(self.source, self.dest, SERVER)
        with self.korora.service.db.write() as session:
            session.execute(sa.update(models.Ledger).values(incarnation=GHOST))
        with self.refused('RECEIPT_INVALID'):
            self.presented(self.dest, receipt)

    def test_signed_otherwise(self):
        """(r, n - s) verifies, too: it is the same document."""
        receipt = self.moved(self.source, self.dest, SERVER)
        twin = documents.other_signature(receipt)
        self.presented(self.dest, twin)
        self.assertEqual([receipt], self.admin.list_receipts())
        self.restore()
        self.presented(self.dest, twin, receipt)
        self.dest.approve((SERVER, 2))
        self.audit()

    def test_operator(self):
        receipt = self.moved(self.source, self.dest, SERVER)
        self.restore()
        answer = self.admin.present_documents([receipt])
        self.assertEqual({'servers': 1, 'current': 1}, answer)
        self.dest.approve((SERVER, 2))


class ForkTest(RestoreCase):
    """Two services with one key: the anchor knows which document counts."""

    def fork(self) -> tuple[str, str]:
        """Receipts of two services; the second one is in the database."""
        mine = self.source.delete(SERVER)
        self.restore()
        # A service whose anchor was emptied, and which signs on.
        with (
            mock.patch.object(
                self.korora.service.anchor, 'get', lambda *_: {}
            ),
            self.refused('LEDGER_FORKED'),
        ):
            self.source.delete(SERVER)
        with self.korora.service.db.read() as session:
            table = models.Document
            theirs = session.scalars(
                sa.select(table.token).where(
                    table.instance == SERVER, table.version == 2
                )
            ).one()
        self.assertNotEqual(mine, theirs)
        return mine, theirs

    def test_shows(self):
        self.fork()
        self.assert_refused('LEDGER_FORKED')
        self.assert_shut(SERVER, 'LEDGER_FORKED')
        with self.refused('DOCUMENT_INVALID'):
            self.audit()
        # Nobody else is concerned.
        self.source.claim(OTHER)

    def test_the_anchors_document_counts(self):
        mine, theirs = self.fork()
        self.source.present(theirs)
        self.assert_refused('LEDGER_FORKED')
        self.source.present(mine)
        self.assertIsNone(self.admin.get_server(SERVER)['refused'])
        self.dest.claim(SERVER)
        # The other one does not come back.
        self.source.present(theirs)
        self.assertEqual('h2', self.row()[0])

    def test_only_the_receipt_that_counts_is_told(self):
        """Whoever were told the other one would erase the only copy."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        backup = self.snapshot()
        mine = self.dest.state(migration, 'activated')
        self.restore(backup)
        with mock.patch.object(
            self.korora.service.anchor, 'get', lambda *_: {}
        ):
            self.source.state(migration, 'kept')
            with self.refused('LEDGER_FORKED'):
                self.dest.state(migration, 'no_domain')
        self.dest.present(mine)
        shown = self.admin.get_migration(migration)
        self.assertEqual(
            ('committed', mine), (shown['status'], shown['receipt'])
        )
        for _ in range(2):
            self.assertEqual(mine, self.dest.state(migration, 'activated'))
            self.assertEqual(mine, self.source.state(migration, 'ended_here'))
            self.dest.approve((SERVER, 2))
            self.third.present(mine)
        # Nor when it is not the newest one any more.
        other, _ = self.moving(self.dest, self.third, SERVER)
        self.third.state(other, 'activated')
        self.assertEqual(mine, self.source.state(migration, 'kept'))


class ReportTest(RestoreCase):
    """C11: what a host reports, and what it gets for it."""

    def known(self, *servers: tuple) -> dict:
        return self.third.attest_now(
            known=[bodies.Known(*one) for one in servers]
        )

    def test_bare_words(self):
        """I15, A1: what nobody signed moves nothing, and freezes nobody."""
        before = self.admin.get_server(SERVER)['stored']
        head = before['head']
        for server, version, digest, wanted in (
            (GHOST, 1, head, True),
            (GHOST, 2**63 - 1, head, True),
            (SERVER, 2, head, True),
            (SERVER, 2**63 - 1, head, True),
            (SERVER, 1, '00' * 32, True),
            (SERVER, 1, head, False),
        ):
            answer = self.known((server, version, digest, ''))
            self.assertEqual(
                [server] if wanted else [], answer['wanted'], version
            )
            self.assertEqual([], answer['news'])
        self.assertEqual(before, self.admin.get_server(SERVER)['stored'])
        self.source.approve((SERVER, 1))
        self.source.claim(OTHER)
        self.handed_over(self.source, self.dest, SERVER)

    def test_news(self):
        receipt = self.moved(self.source, self.dest, SERVER)
        known = bodies.Known(SERVER, 2, self.dest.read(self.permit()).hash, '')
        answer = self.dest.attest_now(known=[known])
        self.assertEqual([receipt], answer['news'])

    def permit(self) -> str:
        return next(
            one.token
            for one in self.dest.documents.values()
            if one.content.version == 2
        )

    def test_news_only_for_what_was_given(self):
        """Who guesses the id of a server is not told where it is."""
        self.moved(self.source, self.dest, SERVER)
        answer = self.known((SERVER, 1, '00' * 32, ''))
        self.assertEqual(([SERVER], []), (answer['wanted'], answer['news']))

    def test_no_news_that_the_anchor_does_not_know(self):
        migration, _ = self.moving(self.source, self.dest, SERVER)
        known = self.dest.known()
        with mock.patch.object(
            self.korora.service.anchor, 'rise', side_effect=down()
        ):
            with self.refused('ANCHOR_UNAVAILABLE'):
                self.dest.state(migration, 'activated')
            answer = self.dest.attest_now(known=known)
            self.assertEqual([], answer['news'])
        answer = self.dest.attest_now(known=known)
        (token,) = answer['news']
        self.assertEqual('committed', self.dest.read(token).content.outcome)

    def test_no_news_of_a_server_that_is_behind(self):
        self.moved(self.source, self.dest, SERVER)
        backup = self.snapshot()
        known = self.source.known()
        self.moved(self.dest, self.third, SERVER)
        self.restore(backup)
        answer = self.source.attest_now(
            known=[
                bodies.Known(SERVER, 1, one.hash, '')
                for one in self.source.documents.values()
                if one.content.version == 1
            ]
        )
        self.assertEqual(([], []), (answer['wanted'], answer['news']))
        self.assertEqual([], self.source.attest_now(known=known)['wanted'])

    def reported(self, name: str = 'h3') -> float | None:
        with self.korora.service.db.read() as session:
            return session.get(models.Host, name).reported_at

    def page(self, *servers: str, **bounds: str) -> dict:
        return self.third.attest_now(
            known=[bodies.Known(one, 1, '00' * 32, '') for one in servers],
            **bounds,
        )

    def test_whole_report(self):
        before = self.korora.clock.now
        self.page()
        self.assertLess(before, self.reported())

    def test_pages(self):
        """A report was heard when its first page was."""
        first = self.reported()
        low, high = str(uuid.UUID(int=5)), str(uuid.UUID(int=9))
        self.page(upto=low)
        self.korora.clock.advance(50)
        began = self.korora.clock()
        self.page(after=low, upto=high)
        self.korora.clock.advance(50)
        self.assertEqual(first, self.reported())
        self.page(after=high)
        self.assertLess(first, self.reported())
        self.assertLess(self.reported(), began)
        # The next one begins anew.
        last = self.reported()
        self.page(after=high)
        self.assertEqual(last, self.reported())

    def test_page_that_is_left_out(self):
        first = self.reported()
        low, high = str(uuid.UUID(int=5)), str(uuid.UUID(int=9))
        self.page(upto=low)
        self.page(after=high)
        self.assertEqual(first, self.reported())
        self.page(upto=low)
        self.page(after=low, upto=high)
        self.page(after=low)
        self.assertEqual(first, self.reported())

    def test_report_that_knows_more(self):
        """It does not count until what it knows was presented."""
        first = self.reported()
        self.page(GHOST)
        self.assertEqual(first, self.reported())
        self.page()
        self.assertLess(first, self.reported())

    def kid(self, instance: str = SERVER) -> tuple:
        with self.korora.service.db.read() as session:
            row = session.get(models.Server, instance)
            return row.approval_kid, row.reported_at

    def test_approval_keys(self):
        """Who holds the key says under which approval key it rests."""
        self.assertEqual((None, None), self.kid())
        head = self.source.newest[SERVER].hash
        page = [bodies.Known(SERVER, 1, head, 'ab' * 8)]
        self.third.attest_now(known=page)
        self.assertEqual((None, None), self.kid())
        self.source.attest_now(known=page)
        kid, at = self.kid()
        self.assertEqual('ab' * 8, kid)
        self.source.attest_now(known=page)
        self.assertEqual((kid, at), self.kid())
        self.korora.clock.advance(301)
        self.source.attest_now(known=page)
        self.assertLess(at, self.kid()[1])
        self.dest.attest_now()
        # What was reported of one copy is not said of the next one.
        self.moved(self.source, self.dest, SERVER)
        self.assertEqual((None, None), self.kid())

    def test_approval_keys_of_a_host_that_is_not_trusted(self):
        self.source.measure('/tmp/rootkit')
        head = self.source.newest[SERVER].hash
        self.source.attest_now(known=[bodies.Known(SERVER, 1, head, 'ab' * 8)])
        self.assertEqual((None, None), self.kid())


def down() -> errors.Unavailable:
    return errors.Unavailable(errors.Reason.ANCHOR_UNAVAILABLE)


class AnchorTest(RestoreCase):
    """Commit, raise, answer; and what happens if the anchor is away."""

    def failing(self, method: str):
        return mock.patch.object(
            self.korora.service.anchor, method, side_effect=down()
        )

    def test_before_the_commit(self):
        """Nothing was changed, nothing is told."""
        key = '000b' + '22' * 32
        with self.failing('get'):
            for call in (
                lambda: self.source.claim(OTHER, key),
                lambda: self.source.approve((SERVER, 1)),
                lambda: self.admin.get_server(SERVER),
                lambda: self.handed_over(self.source, self.dest, SERVER),
            ):
                with self.refused('ANCHOR_UNAVAILABLE'):
                    call()
            # Hosts attest all the same.
            self.source.attest_now(known=self.source.known())
        self.assertEqual(0, self.version(OTHER))
        self.source.claim(OTHER, key)

    def test_after_the_commit(self):
        """What is stored is told once the anchor knows it, and not before."""
        key = '000b' + '22' * 32
        with self.failing('rise'):
            with self.refused('ANCHOR_UNAVAILABLE'):
                self.source.claim(OTHER, key)
            self.assertEqual(1, self.version(OTHER))
            for call in (
                lambda: self.admin.get_server(OTHER),
                lambda: self.source.approve((OTHER, 1)),
                lambda: self.source.claim(OTHER, key),
            ):
                with self.refused('ANCHOR_UNAVAILABLE'):
                    call()
        self.source.claim(OTHER, key)
        self.source.approve((OTHER, 1))
        self.assertEqual(1, self.version(OTHER))

    def test_lost_before_it_was_anchored(self):
        """Nobody was told: the copy before is as good as the other."""
        with self.failing('rise'), self.refused('ANCHOR_UNAVAILABLE'):
            self.source.claim(OTHER)
        self.restore()
        self.dest.claim(OTHER)
        self.dest.approve((OTHER, 1))

    def test_reader_raises_it(self):
        with self.failing('rise'), self.refused('ANCHOR_UNAVAILABLE'):
            self.source.claim(OTHER)
        self.admin.get_server(OTHER)
        self.restore()
        with self.refused('LEDGER_BEHIND'):
            self.dest.claim(OTHER)

    def test_missing(self):
        os.remove(os.path.join(self.korora.directory, 'anchor.db'))
        self.korora.restart()
        for call in (
            lambda: self.source.claim(OTHER),
            lambda: self.source.approve((SERVER, 1)),
        ):
            with self.refused('ANCHOR_MISSING'):
                call()
        self.source.attest_now()

    def test_database_that_is_read_again(self):
        """A replica that lags behind is not a database that went back."""
        migration, _ = self.moving(self.source, self.dest, SERVER)
        waited = []
        told = ledger._told

        def lagging(found):
            incarnation, rows = told(found)
            if waited:
                return incarnation, rows
            return incarnation, {
                name: old if name == SERVER else row
                for name, row in rows.items()
            }

        with self.korora.service.db.read() as session:
            old = ledger.load(session, SERVER)
        self.dest.state(migration, 'activated')
        with (
            mock.patch.object(ledger, '_told', lagging),
            mock.patch.object(
                ledger.api, 'wait_for_replication', waited.append
            ),
        ):
            self.assertEqual('h2', self.row()[0])
        self.assertEqual(1, len(waited))


class UnheardTest(RestoreCase):
    """An anchor that does not last: hosts are heard first."""

    ANCHOR = {'backend': 'none'}

    def setUp(self) -> None:
        with mock.patch.object(ledger, 'check_heard'):
            super().setUp()
        self.korora.restart()

    def test_until_all_have_reported(self):
        grant = self.source.newest[SERVER]
        self.source.attest_now(known=self.source.known())
        self.dest.attest_now()
        with self.refused('HOSTS_UNHEARD') as caught:
            self.source.approve((SERVER, 1))
        self.assertEqual({'hosts': 'h3'}, caught[0].details)
        for call in (
            lambda: self.source.claim(OTHER),
            lambda: self.source.claim(SERVER, grant.content.key),
            lambda: self.source.delete(SERVER),
            lambda: self.handed_over(self.source, self.dest, SERVER),
        ):
            with self.refused('HOSTS_UNHEARD'):
                call()
        # Nothing is signed; readers are told what is known.
        self.assertEqual('h1', self.row()[0])
        self.third.attest_now()
        self.source.approve((SERVER, 1))

    def test_hosts_that_do_not_count(self):
        """Strangers, and hosts that were given up."""
        self.stranger('h4').enrol()
        for host in (self.source, self.dest):
            host.attest_now()
        with self.korora.service.db.write() as session:
            session.get(models.Host, 'h3').evicted_at = 1.0
        self.source.approve((SERVER, 1))

    def test_host_that_knows_more(self):
        """Its report counts when it has presented what it knows."""
        migration = self._moved()
        self.restore()
        self.source.attest_now(known=self.source.known()[:0])
        self.third.attest_now()
        known = self.dest.known()
        self.assertEqual([SERVER], self.dest.attest_now(known=known)['wanted'])
        with self.refused('HOSTS_UNHEARD'):
            self.source.approve((SERVER, 1))
        self.dest.heal()
        self.dest.heal()
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))
        self.dest.approve((SERVER, 2))
        self.assertEqual('committed', self.status(migration))

    def _moved(self) -> str:
        with mock.patch.object(ledger, 'check_heard'):
            migration, _ = self.moving(self.source, self.dest, SERVER)
            self.dest.state(migration, 'activated')
        return migration

    def test_words_that_decide_nothing(self):
        with mock.patch.object(ledger, 'check_heard'):
            migration, _ = self.moving(self.source, self.dest, SERVER)
        self.source.state(migration, 'kept')
        with self.refused('HOSTS_UNHEARD'):
            self.dest.state(migration, 'no_domain')
        for host in self.hosts:
            host.attest_now()
        self.dest.state(migration, 'no_domain')
        self.assertEqual('h1', self.row()[0])
