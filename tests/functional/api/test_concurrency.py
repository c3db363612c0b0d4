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
from korora_nova.verifier.custody import receipts
from korora_nova.verifier.db import models
from tests.functional.api import base

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
        self.assertEqual(2, self.admin.get_server(SERVER)['max_epoch'])
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

    def test_decision(self):
        source, dest = self.host('h1'), self.host('h2')
        source.claim(SERVER)
        for number in range(3):
            row = self.admin.get_server(SERVER)
            one, two = (
                (source, dest) if row['holder'] == 'h1' else (dest, source)
            )
            migration, _ = self.handed_over(one, two, SERVER)
            results = together(
                functools.partial(one.state, migration, 'stream_completed'),
                functools.partial(two.state, migration, 'no_domain'),
                functools.partial(
                    self.admin.abort_migration, migration, 'h2 is off'
                ),
            )
            tokens = [
                (item['receipt'] if isinstance(item, dict) else item)
                for item in results
            ]
            # The operator alone is told that it is too late.
            said = set(tokens) - {'MIGRATION_SPENT'}
            self.assertEqual(1, len(said), results)
            self.assertEqual(number + 1, len(self.admin.list_receipts()))

    def test_receipts(self):
        """Appending to one chain from everywhere keeps it whole."""
        hosts = [self.host(f'h{number}') for number in range(6)]
        servers = [str(uuid.UUID(int=50 + number)) for number in range(6)]
        for host, server in zip(hosts, servers, strict=True):
            host.claim(server)
        results = together(
            *[
                lambda host=host, server=server: host.delete(server)
                for host, server in zip(hosts, servers, strict=True)
            ]
        )
        self.assertEqual(
            6,
            receipts.verify(self.korora.service.db, self.korora.ring),
            results,
        )

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


class TestPostgreSql(
    ConcurrencyMixin, base.PostgreSqlTestCase, base.ApiTestCase
):
    pass
