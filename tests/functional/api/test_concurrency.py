# SPDX-License-Identifier: Apache-2.0
"""Many workers, one winner: every compare-and-swap, on both databases."""

import concurrent.futures
import functools
import json
import uuid
from unittest import mock

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.verifier.appraisal import segments
from korora_nova.verifier.custody import log
from korora_nova.verifier.db import models
from tests.functional.api import base
from tests.support import mariadb

SERVER = str(uuid.UUID(int=1))
MIGRATION = str(uuid.UUID(int=3))
REPORT = json.dumps({'version': 1, 'known': []})


def together(*calls) -> list:
    """Run calls at once; results and refusals in order."""

    def attempt(call):
        try:
            return call()
        except errors.KororaError as exc:
            return exc.reason

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(attempt, calls))


class ConcurrencyMixin:
    def test_challenge(self):
        host = self.host('h1')
        message = host.message('attest', REPORT, host.challenge())
        results = together(*[lambda: host.api.evidence('h1', message)] * 8)
        self.assertEqual(7, results.count('CHALLENGE_USED'), results)

    def test_attestations(self):
        """In any order: the newest clock stays, the others may lose."""
        host = self.host('h1')
        messages = [
            host.message('attest', REPORT, host.challenge()) for _ in range(8)
        ]
        results = together(
            *[
                lambda message=message: host.api.evidence('h1', message)
                for message in messages
            ]
        )
        self.assertLessEqual(
            {one for one in results if isinstance(one, str)}, {'RETRY'}
        )
        self.assertIsInstance(results[-1], dict)
        with self.korora.service.db.read() as session:
            clock = session.scalars(sa.select(models.Host.clock_ms)).one()
        self.assertEqual(str(host.tpm.clock_ms), clock)

    def test_lists_that_go_on(self):
        """All from one place: each is stored, overtaken, or repeated."""
        host = self.host('h1')
        host.go_on()
        messages = []
        for _ in range(8):
            host.measure('/usr/bin/swtpm')
            messages.append(host.message('attest', REPORT, host.challenge()))
        results = together(
            *[
                lambda message=message: host.api.evidence('h1', message)
                for message in messages
            ]
        )
        self.assertLessEqual(
            {one for one in results if isinstance(one, str)},
            {'RETRY', 'IMA_CONTINUITY'},
        )
        stored = [
            one['ima_offset'] for one in results if isinstance(one, dict)
        ]
        host.offset = max(stored)
        host.measure('/usr/bin/swtpm')
        host.go_on()
        self.assertEqual(len(host.ima_log), host.offset)
        self.assertEqual('affirming', self.tier('h1'))

    def test_compaction(self):
        """Segments are put together while others are added."""
        host = self.host('h1')
        host.go_on()
        store = functools.partial(segments.compact, self.korora.service, 'h1')
        with mock.patch.object(segments, 'MAX_ROWS', 1):
            for number in range(8):
                host.measure(f'/usr/lib/{number}')
                self.assertEqual(
                    [None, None],
                    together(lambda: host.go_on() and None, store),
                )
        self.admin.create_reference('new', 'h1')
        self.assertEqual(
            10, len(self.admin.get_reference('new')['ima_digests'])
        )

    def test_policy(self):
        document = {
            'version': 1,
            'name': 'p',
            'rules': [
                {'pcrs': {'registers': [4], 'references': True}},
                {'ima': 'not-appraised'},
            ],
        }
        results = together(*[lambda: self.admin.create_policy(document)] * 4)
        self.assertEqual(3, results.count('POLICY_CONFLICT'), results)
        results = together(
            *[lambda: self.admin.update_policy('p', document, 1)] * 4
        )
        self.assertEqual(3, results.count('POLICY_CONFLICT'), results)
        self.assertEqual(document, self.admin.get_policy('p')['document'])

    def test_claim(self):
        hosts = [self.host(f'h{number}') for number in range(4)]
        results = together(
            *[lambda host=host: host.claim(SERVER) for host in hosts]
        )
        self.assertEqual(3, results.count('LEDGER_CONFLICT'), results)

    def sent(self, *nonces: str) -> list:
        """The source asks for one permit with each nonce, all at once."""
        source, dest = self.host('h1'), self.host('h2')
        source.claim(SERVER)
        msk = dest.receive(MIGRATION, SERVER, 'h1')
        self.korora.nova.migrations.add((MIGRATION, SERVER, 'h1', 'h2'))
        messages = []
        for nonce in nonces:
            body = {
                'version': 1,
                'migration': MIGRATION,
                'instance': SERVER,
                'nonce': nonce,
                'dest': 'h2',
                'msk_name': msk.name,
                'kid': source.approval_kid,
            }
            messages.append(
                source.message('send', json.dumps(body), source.challenge())
            )
        results = together(
            *[
                lambda message=message: source.api.evidence('h1', message)
                for message in messages
            ]
        )
        self.assertEqual(2, self.admin.get_server(SERVER)['version'])
        return results

    def test_send(self):
        results = self.sent(*(f'{number:02x}' * 32 for number in range(4)))
        permits = [one for one in results if isinstance(one, dict)]
        self.assertEqual(1, len(permits), results)

    def test_same_send(self):
        """Each gets the one permit, or is to try again."""
        results = self.sent(*['00' * 32] * 4)
        permits = {one['permit'] for one in results if isinstance(one, dict)}
        self.assertEqual(1, len(permits), results)
        refused = {one for one in results if isinstance(one, str)}
        self.assertLessEqual(refused, {'RETRY'})

    def test_sealed_and_start(self):
        """Many of each at once, and an end that gives up: one outcome."""
        source, dest = self.host('h1'), self.host('h2')
        source.claim(SERVER)
        for _ in range(3):
            migration, answer = self.handed_over(source, dest, SERVER)
            permit = source.read(answer['permit'])
            keys = [f'000b{number:02x}' + '00' * 31 for number in range(3)]
            together(
                *[functools.partial(dest.sealed, permit, key) for key in keys]
            )
            about = {'migration': migration, 'permit_hash': permit.hash}
            results = together(
                *[functools.partial(source.say, 'start', **about)] * 4,
                functools.partial(source.state, migration, 'never_started'),
                functools.partial(dest.state, migration, 'no_domain'),
            )
            started = {
                one['start'] for one in results if isinstance(one, dict)
            }
            self.assertLessEqual(len(started), 1, results)
            # Whatever came first, now it is aborted.
            for host, word in (
                (source, 'never_started'),
                (dest, 'no_domain'),
            ):
                host.state(migration, word)
            row = self.admin.get_server(SERVER)
            self.assertEqual(
                ('h1', 1, None), (row['holder'], row['epoch'], row['pending'])
            )
        self.assert_whole()

    def test_decision(self):
        """12 workers hear words that decide, each in another way."""
        source, dest = self.host('h1'), self.host('h2')
        source.claim(SERVER)
        words = [
            ('source', 'stream_completed'),
            ('source', 'kept'),
            ('dest', 'no_domain'),
            ('dest', 'activated'),
        ] * 3
        for _ in range(3):
            row = self.admin.get_server(SERVER)
            one, two = (
                (source, dest) if row['holder'] == 'h1' else (dest, source)
            )
            migration, permit = self.moving(one, two, SERVER)
            ends = {'source': one, 'dest': two}
            together(
                *[
                    functools.partial(ends[end].state, migration, word)
                    for end, word in words
                ]
            )
            # Both look again, and agree.
            one.state(migration, 'ended_here')
            receipt = two.state(migration, 'activated')
            row = self.admin.get_server(SERVER)
            content = one.read(receipt).content
            self.assertEqual(
                (content.holder, content.held, None, None),
                (
                    row['holder'],
                    row['epoch'],
                    row['pending'],
                    row['disputed'],
                ),
            )
            self.assertIn(
                (row['holder'], row['epoch']),
                (
                    (one.name, permit.content.epoch),
                    (two.name, permit.content.new_epoch),
                ),
            )
        self.assert_whole()

    def test_words_of_both_that_abort(self):
        """Neither alone decides: the second one does, whoever it is."""
        source, dest = self.host('h1'), self.host('h2')
        source.claim(SERVER)
        for _ in range(4):
            migration, _ = self.moving(source, dest, SERVER)
            results = together(
                functools.partial(source.state, migration, 'kept'),
                functools.partial(dest.state, migration, 'no_domain'),
            )
            self.assertEqual(1, len(set(results) - {''}), results)
            self.assertIsNone(self.admin.get_server(SERVER)['pending'])

    def test_documents(self):
        """What is signed everywhere at once comes into one log."""
        hosts = [self.host(f'h{number}') for number in range(6)]
        servers = [str(uuid.UUID(int=50 + number)) for number in range(6)]
        for host, server in zip(hosts, servers, strict=True):
            host.claim(server)
        together(
            *[
                lambda host=host, server=server: host.delete(server)
                for host, server in zip(hosts, servers, strict=True)
            ],
            *[self.admin.list_receipts] * 4,
        )
        # Who lost too many races asks again, and gets the same receipt.
        for host, server in zip(hosts, servers, strict=True):
            host.delete(server)
        self.assertEqual(6, len(self.admin.list_receipts()))
        self.assertEqual(12, self.assert_whole())

    def test_presented(self):
        """The same documents by many, with the server going on meanwhile."""
        source, dest = self.host('h1'), self.host('h2')
        source.claim(SERVER)
        self.moved(source, dest, SERVER)
        tokens = [one.token for one in source.documents.values()]
        with self.korora.service.db.write() as session:
            for table in (models.Document, models.Server, models.Migration):
                session.execute(sa.delete(table))
        shown = functools.partial(source.present, *tokens)
        results = together(*[shown] * 6, dest.heal, dest.heal)
        self.assertNotIn('INTERNAL', results)
        shown()
        dest.approve((SERVER, 2))
        self.assert_whole()

    def assert_whole(self) -> int:
        report = log.verify(
            self.korora.service.db,
            self.korora.ring,
            self.korora.service.anchor,
        )
        report.check()
        self.assertEqual([], report.holes)
        return report.documents

    def test_proof(self):
        rivals = [
            self.stranger('h1', ek=f'rival {number}') for number in range(3)
        ]
        proofs = [
            rival.open_credential(rival.ask_credential()) for rival in rivals
        ]
        results = together(
            *[
                lambda rival=rival, proof=proof: rival.api.prove('h1', proof)
                for rival, proof in zip(rivals, proofs, strict=True)
            ]
        )
        self.assertEqual(2, results.count('IDENTITY_CONFLICT'), results)

    def test_references(self):
        self.host('h1')
        results = together(
            *[lambda: self.admin.create_reference('new', 'h1')] * 4
        )
        self.assertEqual(3, results.count('INVALID_REQUEST'), results)


class TestSqlite(ConcurrencyMixin, base.ApiTestCase):
    pass


class TestMariaDb(ConcurrencyMixin, base.MariaDbTestCase, base.ApiTestCase):
    def test_large_list(self):
        """4,000 measured files: over the 64 KiB of a BLOB."""
        host = self.stranger('h1')
        for number in range(4000):
            host.measure(f'/usr/lib/{number}')
        host.join(self.admin)
        host.attest_now()
        self.admin.create_reference('large', 'h1')
        host.attest_now()
        self.assertEqual('affirming', self.tier('h1'))
        self.assertEqual(
            4002, self.admin.list_references()[0]['ima_digest_count']
        )


class TestMysqlClient(TestMariaDb):
    """Races that are lost look the same by another driver."""

    SERVER = mariadb.WithMysqlClient


class TestPostgreSql(
    ConcurrencyMixin, base.PostgreSqlTestCase, base.ApiTestCase
):
    pass
