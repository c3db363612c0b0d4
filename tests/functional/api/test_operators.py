# SPDX-License-Identifier: Apache-2.0
"""Operators at work: twice, too early, at once, on a bad day."""

import json
import threading
import uuid

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.custody.bodies import Known
from korora_nova.verifier.custody import evicting, log, servers
from korora_nova.verifier.db import models
from tests.functional.api import base
from tests.support import postgresql

SERVER = str(uuid.UUID(int=1))
OTHER = str(uuid.UUID(int=2))
WHY = 'h1 burned down.'


class OperatorTestCase(base.ApiTestCase):
    """h1 holds a server's key; h2 and h3 are trusted."""

    def setUp(self) -> None:
        super().setUp()
        self.source, self.dest = self.host('h1'), self.host('h2')
        self.third = self.host('h3')
        self.grant = self.source.claim(SERVER)
        self.source.approve((SERVER, 1))

    def audit(self) -> list[str]:
        with self.korora.service.db.read() as session:
            return list(
                session.scalars(
                    sa.select(models.Audit.action).order_by(models.Audit.id)
                )
            )

    def issues(self, instance: str = SERVER) -> list[str]:
        for server in self.admin.list_servers(issues=True):
            if server['instance'] == instance:
                return [one['id'] for one in server['issues']]
        return []

    def dispute(self) -> str:
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.source.state(migration, 'kept')
        self.dest.state(migration, 'activated')
        return migration

    def audited(self) -> None:
        """Documents and rows agree with each other and the anchor."""
        service = self.korora.service
        log.verify(service.db, service.ring, service.anchor).check()


class TestReissue(OperatorTestCase):
    def test_not_fenced(self):
        self.korora.nova.servers[SERVER] = 'h1'
        for fenced in ('', 'I looked.'):
            with self.refused('NOT_FENCED'):
                self.admin.reissue_server(SERVER, WHY, fenced=fenced)
        plan = self.admin.reissue_server(SERVER, WHY, dry_run=True)
        self.assertEqual('NOT_FENCED', plan['refused']['reason'])
        (end,) = plan['ends']
        self.assertEqual(
            ('holder', 'h1', 'affirming', 'unknown', False),
            tuple(
                end[name]
                for name in ('role', 'host', 'tier', 'copy', 'rebooted')
            ),
        )
        self.assertEqual('h1', self.admin.get_server(SERVER)['holder'])

    def test_trusted_holder_of_a_server_that_nova_has_elsewhere(self):
        self.korora.nova.servers[SERVER] = 'h2'
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVER, WHY)
        self.admin.reissue_server(SERVER, WHY, fenced='It is off on h1.')
        self.dest.claim(SERVER)
        self.audited()

    def test_rebooted(self):
        """No guest outlives a reset of its host's TPM."""
        self.source.reboot()
        self.source.attest_now()
        self.admin.reissue_server(SERVER, WHY)
        self.third.claim(SERVER)

    def test_opened_again_after_a_reboot(self):
        self.source.reboot()
        self.source.attest_now()
        self.source.approve((SERVER, 1))
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVER, WHY)

    def test_rebooted_while_the_service_was_not_there(self):
        """A restored database may lack what was opened since."""
        self.korora.restart()
        self.admin = self.korora.client_as('admin')
        self.source.api = self.korora.client_as('attester')
        self.source.reboot()
        self.source.attest_now()
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVER, WHY)
        # The next one counts: the service has seen both boots.
        self.source.reboot()
        self.source.attest_now()
        self.admin.reissue_server(SERVER, WHY)

    def test_suspended(self):
        """Guests survive a suspension: the reset count stays."""
        self.source.tpm.restart_count += 1
        self.source.attest_now()
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVER, WHY)

    def test_no_copy_is_reported(self):
        known = Known(SERVER, 1, self.grant.hash, '')
        self.source.attest_now(known=[known])
        self.assertEqual(['no-copy'], self.issues())
        self.admin.reissue_server(SERVER, WHY)

    def test_no_copy_by_silence(self):
        """Reports that are whole, and do not have the server."""
        for _ in range(3):
            self.korora.clock.advance(301)
            self.source.attest_now()
        self.korora.clock.advance(11)
        self.assertEqual(['no-copy'], self.issues())
        self.admin.reissue_server(SERVER, WHY)

    def test_a_copy_under_another_key_is_no_loss(self):
        known = Known(SERVER, 1, self.grant.hash, 'ab' * 8)
        for _ in range(3):
            self.korora.clock.advance(301)
            self.source.attest_now(known=[known])
        self.korora.clock.advance(11)
        self.assertEqual(['old-key'], self.issues())
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVER, WHY)

    def test_of_the_dead_host_its_copy_never_opens(self):
        self.korora.clock.advance(86400)
        self.admin.reissue_server(SERVER, WHY, fenced='It has no power.')
        grant = self.third.claim(SERVER)
        self.source.attest_now()
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))
        self.source.heal()
        self.assertEqual(grant.hash, self.source.newest[SERVER].hash)
        self.audited()

    def test_claims_that_were_granted_before(self):
        """The old holder's claim, said again, is none."""
        key = '000b' + '77' * 32
        self.source.claim(OTHER, key)
        self.admin.evict_host('h1', WHY)
        self.admin.approve_host('h1', self.source.ek_hash)
        self.korora.nova.servers[OTHER] = 'h3'
        self.source.attest_now()
        with self.refused('SERVER_NOT_IN_NOVA'):
            self.source.claim(OTHER, key)

    def test_in_the_wrong_order(self):
        with self.refused('NOT_FOUND'):
            self.admin.reissue_server(OTHER, WHY)
        with self.refused('NOT_FOUND'):
            self.admin.release_server(OTHER, WHY, force='It never was.')
        migration, _ = self.moving(self.source, self.dest, SERVER)
        for fenced in ('', 'It is off.'):
            with self.refused('CUSTODY_PENDING'):
                self.admin.reissue_server(SERVER, WHY, fenced=fenced)
        with self.refused('CUSTODY_PENDING'):
            self.admin.release_server(SERVER, WHY, force='Away.')
        self.source.state(migration, 'kept')
        self.dest.state(migration, 'activated')
        with self.refused('CUSTODY_DISPUTED'):
            self.admin.reissue_server(SERVER, WHY, fenced='It is off.')

    def test_lost_documents_that_come_back_later(self):
        """They are of the past: what an operator decided stays."""
        with self.korora.service.db.write() as session:
            session.execute(sa.delete(models.Server))
            session.execute(sa.delete(models.Document))
        with self.refused('LEDGER_BEHIND'):
            self.source.approve((SERVER, 1))
        shown = self.admin.get_server(SERVER)
        self.assertEqual('LEDGER_BEHIND', shown['refused']['reason'])
        self.assertNotIn('holder', shown)
        with self.refused('NOT_FENCED'):
            self.admin.reissue_server(SERVER, WHY)
        plan = self.admin.reissue_server(
            SERVER, WHY, fenced='All are off.', dry_run=True
        )
        self.assertIn('document, 1, is lost', plan['consequences'][0])
        self.admin.reissue_server(SERVER, WHY, fenced='All are off.')
        self.admin.present_documents([self.grant.token])
        self.assertEqual('released', self.admin.get_server(SERVER)['state'])
        grant = self.third.claim(SERVER)
        self.assertEqual(3, grant.content.version)

    def test_two_at_once(self):
        self.source.reboot()
        self.source.attest_now()
        tokens: list[str] = []

        def one() -> None:
            client = self.korora.client_as('admin')
            tokens.append(client.reissue_server(SERVER, WHY)['receipt'])

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((4, 1), (len(tokens), len(set(tokens))))
        self.assertEqual(1, self.audit().count('released'))

    def test_service_that_restarts(self):
        """The anchor fails after the commit: said again, it is told."""
        self.source.reboot()
        self.source.attest_now()
        anchor = type(self.korora.service.anchor)
        rise, anchor.rise = anchor.rise, _fails
        try:
            with self.refused('ANCHOR_UNAVAILABLE'):
                self.admin.reissue_server(SERVER, WHY)
        finally:
            anchor.rise = rise
        self.korora.restart()
        admin = self.korora.client_as('admin')
        self.assertTrue(admin.reissue_server(SERVER, WHY)['done'])
        self.assertEqual(1, self.audit().count('released'))
        self.audited()


def _fails(*args: object) -> None:
    raise errors.Unavailable(errors.Reason.ANCHOR_UNAVAILABLE)


class ConcurrencyTest(base.MariaDbTestCase, OperatorTestCase):
    """Several operators at once, with a real database."""

    def at_once(self, *calls: str) -> list[object]:
        """Each call by its own client; what it answered or raised."""
        answers: list[object] = []

        def one(name: str) -> None:
            client = self.korora.client_as('admin')
            calls = {
                'reissue': lambda: client.reissue_server(
                    SERVER, WHY, fenced='It is off.'
                ),
                'release': lambda: client.release_server(SERVER, WHY),
                'evict': lambda: client.evict_host('h1', WHY),
                'approve': lambda: self.source.approve((SERVER, 1)),
            }
            try:
                answers.append(calls[name]())
            except errors.KororaError as exc:
                answers.append(exc.reason)

        threads = [threading.Thread(target=one, args=[x]) for x in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def setUp(self) -> None:
        super().setUp()
        self.source.reboot()
        self.source.attest_now()

    def test_the_same(self):
        answers = self.at_once(*['reissue'] * 4)
        self.assertEqual(4, len(answers))
        self.assertEqual(1, self.audit().count('released'))
        self.assertEqual(2, len(self.documents()))

    def test_different_ones(self):
        self.korora.nova.gone.add(SERVER)
        self.at_once('reissue', 'release', 'evict', 'evict')
        shown = self.admin.get_server(SERVER)
        self.assertIsNone(shown['holder'])
        # The claim, and at most one of each: what was evicted can be
        # released, and what was released reissued.
        self.assertLessEqual(len(self.documents()), 4)
        self.audited()

    def test_one_after_another(self):
        self.korora.nova.gone.add(SERVER)
        for name in ('evict', 'release', 'reissue', 'evict'):
            self.at_once(name)
        self.assertEqual(4, len(self.documents()))
        self.assertIsNone(self.admin.get_server(SERVER)['holder'])
        self.audited()

    def test_an_approval_meanwhile(self):
        """Whoever is first: a key is not opened and given up in one boot."""
        # So that no operator's sentence fences the host.
        self.korora.nova.servers[SERVER] = 'h1'
        for _ in range(3):
            answers = self.at_once('approve', 'reissue')
            opened = any(isinstance(one, list) for one in answers)
            released = self.admin.get_server(SERVER)['released']
            self.assertNotEqual(opened, released, answers)
            if released:
                break
            self.source.reboot()
            self.source.attest_now()

    def documents(self) -> list[str]:
        with self.korora.service.db.read() as session:
            return list(session.scalars(sa.select(models.Document.hash)))


class PostgreSqlConcurrencyTest(ConcurrencyTest):
    """The same with PostgreSQL."""

    SERVER = postgresql.PostgreSql


class TestUnheard(base.ApiTestCase):
    """Without an anchor that lasts, operators wait for hosts, too."""

    ANCHOR = {'backend': 'none'}

    def test_evict_is_the_way_out(self):
        source, dest = self.host('h1'), self.host('h2')
        source.attest_now()
        dest.attest_now()
        source.claim(SERVER)
        self.korora.restart()
        admin = self.korora.client_as('admin')
        dest.api = self.korora.client_as('attester')
        plan = admin.reissue_server(SERVER, WHY, fenced='Off.', dry_run=True)
        self.assertIsNotNone(plan['refused'])
        answer = admin.evict_host('h1', WHY)
        self.assertEqual([SERVER], answer['left'])
        (left,) = answer['servers']
        self.assertEqual('HOSTS_UNHEARD', left['refused']['reason'])
        dest.attest_now()
        self.assertEqual([], admin.evict_host('h1', WHY)['left'])
        dest.claim(SERVER)


class TestRelease(OperatorTestCase):
    def test_nova_has_it(self):
        self.korora.nova.servers[SERVER] = 'h1'
        with self.refused('SERVER_IN_NOVA'):
            self.admin.release_server(SERVER, WHY)
        self.admin.release_server(SERVER, WHY, force='Its owner left.')
        self.assertEqual('deleted', self.admin.get_server(SERVER)['state'])

    def test_nova_does_not_answer(self):
        self.korora.nova.gone.add(SERVER)
        self.korora.nova.down = True
        with self.refused('NOVA_UNAVAILABLE'):
            self.admin.release_server(SERVER, WHY)
        self.admin.release_server(SERVER, WHY, force='Nova is gone, too.')
        self.source.heal()
        self.assertEqual('deleted', self.source.newest[SERVER].content.outcome)

    def test_a_server_that_was_released_by_mistake(self):
        self.korora.nova.gone.add(SERVER)
        self.admin.release_server(SERVER, WHY)
        self.korora.nova.gone.clear()
        self.admin.reissue_server(SERVER, WHY)
        self.assertTrue(self.admin.get_server(SERVER)['released'])
        self.third.claim(SERVER)


class TestResolve(OperatorTestCase):
    def test_what_cannot_be(self):
        migration, _ = self.handed_over(self.source, self.dest, SERVER)
        with self.refused('CANNOT_KEEP') as caught:
            self.admin.resolve_migration(migration, 'destination', WHY)
        self.assertIn('never said', caught[0].message)
        plan = self.admin.resolve_migration(
            migration, 'destination', WHY, dry_run=True
        )
        self.assertEqual('CANNOT_KEEP', plan['refused']['reason'])
        self.admin.resolve_migration(migration, 'source', WHY)
        with self.refused('MIGRATION_SPENT'):
            self.admin.resolve_migration(migration, 'destination', WHY)

    def test_destination_that_gave_up(self):
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.dest.state(migration, 'no_domain')
        with self.refused('CANNOT_KEEP'):
            self.admin.resolve_migration(migration, 'destination', WHY)

    def test_source_that_gave_up(self):
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.source.state(migration, 'stream_completed')
        with self.refused('CANNOT_KEEP'):
            self.admin.resolve_migration(migration, 'source', WHY)

    def test_both_decisions_of_a_dispute(self):
        migration = self.dispute()
        self.admin.resolve_migration(migration, 'source', WHY)
        self.source.approve((SERVER, 1))
        # What was decided is not decided the other way.
        with self.refused('MIGRATION_SPENT'):
            self.admin.resolve_migration(migration, 'destination', WHY)
        # Nor by words.
        self.dest.state(migration, 'activated')
        self.source.approve((SERVER, 1))
        self.audited()

    def test_dispute_after_the_decision(self):
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.dest.state(migration, 'activated')
        self.source.state(migration, 'kept')
        with self.refused('CUSTODY_DISPUTED'):
            self.dest.approve((SERVER, 2))
        self.admin.resolve_migration(migration, 'source', WHY)
        self.source.approve((SERVER, 1))
        with self.refused('NOT_HOLDER'):
            self.dest.approve((SERVER, 2))
        self.audited()

    def test_unknown(self):
        with self.refused('MIGRATION_UNKNOWN'):
            self.admin.resolve_migration(str(uuid.uuid4()), 'source', WHY)

    def test_after_a_later_document(self):
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.dest.state(migration, 'activated')
        self.dest.delete(SERVER)
        with self.refused('MIGRATION_SPENT'):
            self.admin.resolve_migration(migration, 'source', WHY)


class TestEvict(OperatorTestCase):
    def test_a_host_that_comes_back(self):
        self.admin.evict_host('h1', WHY)
        host = self.admin.get_host('h1')
        self.assertEqual(
            ('evicted', 'contraindicated', ['EVICTED']),
            (host['status'], host['tier'], host['reasons']),
        )
        for call in (
            lambda: self.source.attest_now(),
            lambda: self.source.approve((SERVER, 1)),
            lambda: self.source.claim(OTHER),
        ):
            with self.refused('EVICTED'):
                call()
        self.third.claim(SERVER)
        self.admin.approve_host('h1', self.source.ek_hash)
        self.source.attest_now()
        self.assertEqual('affirming', self.tier('h1'))
        with self.refused('NOT_HOLDER'):
            self.source.approve((SERVER, 1))
        self.source.heal()
        self.assertGreater(self.source.newest[SERVER].content.version, 1)
        self.audited()

    def test_challenges_from_before(self):
        challenge = self.source.challenge()
        self.admin.evict_host('h1', WHY)
        with self.refused('EVICTED'):
            self.source.say('attest', challenge, known=[])

    def test_readers_are_told_at_once(self):
        before = self.admin.results()
        self.admin.evict_host('h1', WHY)
        after = self.admin.results(changes_since=before.seq)
        (told,) = after.results
        self.assertEqual(
            ('h1', 'contraindicated'), (told['host'], told['tier'])
        )

    def test_a_host_that_was_deleted_before(self):
        self.admin.delete_host('h1', force=True)
        self.assertEqual(['holder-unknown'], self.issues())
        answer = self.admin.evict_host('h1', WHY)
        self.assertEqual([SERVER], [x['instance'] for x in answer['servers']])
        self.assertEqual(['released'], self.issues())
        with self.refused('HOST_UNKNOWN'):
            self.admin.evict_host('h1', WHY)

    def test_nobody(self):
        with self.refused('HOST_UNKNOWN'):
            self.admin.evict_host('h9', WHY)
        with self.refused('HOST_UNKNOWN'):
            self.admin.evict_host('h9', WHY, dry_run=True)

    def test_source_while_the_destination_is_silent(self):
        for word in ('activated', 'no_domain'):
            with self.subTest(word):
                instance = str(uuid.uuid4())
                source = self.host('s' + word[:1])
                source.claim(instance)
                migration, _ = self.moving(source, self.dest, instance)
                answer = self.admin.evict_host(source.name, WHY)
                self.assertEqual([instance], answer['left'])
                self.dest.state(migration, word)
                answer = self.admin.evict_host(source.name, WHY)
                self.assertEqual([], answer['left'])
                state = self.admin.get_server(instance)
                self.assertEqual(
                    'h2' if word == 'activated' else None, state['holder']
                )

    def test_both_ends(self):
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.admin.evict_host('h2', WHY)
        self.admin.evict_host('h1', WHY)
        self.assertEqual('released', self.admin.get_server(SERVER)['state'])
        self.third.claim(SERVER)
        self.audited()

    def test_more_than_a_batch(self):
        self.patch(evicting, 'BATCH', 2)
        for number in range(10, 14):
            self.source.claim(str(uuid.UUID(int=number)))
        first = self.admin.evict_host('h1', WHY)
        self.assertEqual(2, len(first['servers']))
        # It was cut off here; said again, it goes on.
        after, seen = '', []
        while True:
            answer = self.admin.evict_host('h1', WHY, after=after)
            seen += [one['instance'] for one in answer['servers']]
            after = answer['next']
            if not after:
                break
        self.assertEqual(3, len(seen))
        self.assertEqual([], self.admin.list_servers(holder='h1'))

    def test_a_server_that_is_behind_stays(self):
        self.source.claim(OTHER)
        with self.korora.service.db.write() as session:
            session.execute(
                sa.update(models.Server)
                .where(models.Server.instance == SERVER)
                .values(head='ff' * 32)
            )
        answer = self.admin.evict_host('h1', WHY)
        self.assertEqual([SERVER], answer['left'])
        self.assertEqual('released', self.admin.get_server(OTHER)['state'])
        self.admin.reissue_server(SERVER, WHY, fenced='It is destroyed.')


class TestReceipts(OperatorTestCase):
    def test_pages(self):
        for number in range(10, 15):
            instance = str(uuid.UUID(int=number))
            self.source.claim(instance)
            self.source.delete(instance)
        whole = self.admin.list_receipts()
        self.patch(log, 'PAGE', 2)
        self.assertEqual(5, len(whole))
        self.assertEqual(whole, self.admin.list_receipts())


class TestList(OperatorTestCase):
    def test_pages(self):
        for number in range(10, 15):
            self.dest.claim(str(uuid.UUID(int=number)))
        pages = list(self.admin.server_pages(limit=2))
        self.assertEqual([2, 2, 2], [len(x['servers']) for x in pages][:3])
        self.assertEqual(6, len(self.admin.list_servers()))
        self.assertEqual(5, len(self.admin.list_servers(holder='h2')))
        self.assertEqual([], self.admin.list_servers(holder='nobody'))

    def test_nothing_is_the_matter(self):
        self.assertEqual([], self.admin.list_servers(issues=True))

    def test_gone(self):
        self.korora.nova.gone.add(SERVER)
        self.assertEqual(['gone'], self.issues())
        self.korora.nova.down = True
        (page,) = self.admin.server_pages(issues=True)
        self.assertEqual(([], False), (page['servers'], page['nova']))

    def test_elsewhere(self):
        """Nova has lost the end of a stream; it is given some time."""
        self.korora.nova.servers[SERVER] = 'h2'
        self.assertEqual([], self.issues())
        self.korora.clock.advance(121)
        for host in (self.source, self.dest, self.third):
            host.attest_now()
        self.assertIn('elsewhere', self.issues())
        self.korora.nova.servers[SERVER] = 'h1'
        self.assertNotIn('elsewhere', self.issues())

    def test_nova_that_is_slow(self):
        """What it was not asked about is on the next page."""
        self.patch(servers, 'NOVA_TIME', 0.0)
        self.source.claim(OTHER)
        self.korora.nova.gone.update((SERVER, OTHER))
        pages = list(self.admin.server_pages(issues=True))
        self.assertEqual(2, sum(len(x['servers']) for x in pages))

    def test_pending_and_disputed(self):
        migration, _ = self.moving(self.source, self.dest, SERVER)
        self.assertEqual([], self.issues())
        self.korora.clock.advance(901)
        self.attest()
        self.assertEqual(['pending', 'old-key'], self.issues())
        self.source.state(migration, 'kept')
        self.dest.state(migration, 'activated')
        self.assertEqual(['old-key'], self.issues())
        self.korora.clock.advance(61)
        self.assertEqual(['disputed', 'old-key'], self.issues())

    def attest(self) -> None:
        known = [Known(SERVER, 1, self.grant.hash, 'ab' * 8)]
        self.source.attest_now(known=known)
        for host in (self.dest, self.third):
            host.attest_now()

    def test_holders(self):
        self.source.measure('/tmp/rootkit')
        self.source.attest_now()
        self.assertEqual(['holder-untrusted'], self.issues())

    def test_behind_and_forked(self):
        with self.korora.service.db.write() as session:
            session.execute(sa.update(models.Server).values(head='ff' * 32))
        self.assertEqual(['forked'], self.issues())
        self.source.attest_now()

    def test_bad_parameters(self):
        for query in (
            'issues=yes',
            'limit=0',
            'limit=-1',
            'limit=10000',
            'limit=1%0a',
            'marker=x',
            'holder=..',
            'holder=a%2f..%2fb',
            'holder=%00',
            'holder=a&holder=b',
            'other=1',
            'marker=%ff',
        ):
            answer = self.korora.request('GET', f'/v1/servers?{query}')
            self.assertEqual(400, answer.status_code, query)
        answer = self.korora.request('GET', '/v1/servers?limit=9999')
        self.assertEqual(200, answer.status_code)

    def test_bad_bodies(self):
        evict, keep = '/v1/hosts/h1/evict', str(uuid.uuid4())
        for path, bad in (
            (evict, {'dry_run': True}),
            (evict, {'reason': ''}),
            (evict, {'reason': 'two\nlines'}),
            (evict, {'reason': 'x', 'after': 'y'}),
            (evict, {'reason': 'x', 'dry_run': 'false'}),
            (f'/v1/servers/{SERVER}/reissue', {'reason': 'x', 'force': 'y'}),
            (f'/v1/servers/{SERVER}/release', {'reason': 'x', 'fenced': 'y'}),
            (f'/v1/migrations/{keep}/resolve', {'reason': 'x'}),
            (
                f'/v1/migrations/{keep}/resolve',
                {'reason': 'x', 'keep': 'dest'},
            ),
            ('/v1/documents', {'documents': []}),
        ):
            answer = self.korora.request(
                'POST',
                path,
                body=json.dumps(bad).encode(),
                content_type='application/json',
            )
            self.assertEqual(400, answer.status_code, (path, bad))
        self.assertEqual([], self.admin.list_servers(issues=True))
