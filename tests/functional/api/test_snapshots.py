# SPDX-License-Identifier: Apache-2.0
"""Snapshots of all results: the service makes, a reader verifies them."""

import contextlib
import dataclasses
import gzip
import json
import random
import threading
from unittest import mock

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.api import deploy
from korora_nova.rats.signed import keys, snapshot
from korora_nova.rats.signed import result as signed
from korora_nova.verifier import numbers, snapshots
from korora_nova.verifier import service as services
from korora_nova.verifier.db import models
from tests.functional.api import base
from tests.support import service as support


class Reader:
    """As the scheduler, without a thread."""

    def __init__(self, test, client=None):
        self.test = test
        self.client = client or test.korora.client_as('service')
        self.held = None
        self.update = None

    def read(self, base=None):
        if base is None:
            base = self.held.head.mark if self.held else ''
        answer = self.client.snapshot(base)
        self.update = snapshot.Update(
            answer.token, answer.base, answer.rows, answer.gone
        )
        self.held = snapshot.verify(
            self.update,
            self.test.korora.ring,
            now=self.test.korora.clock(),
            held=self.held,
        )
        return self.held.rows


class SnapshotTestCase(base.ApiTestCase):
    def setUp(self):
        super().setUp()
        self.reader = Reader(self)

    def put(self, host, tier='affirming', **changed):
        """A host with a result that the service signed."""
        now = self.korora.clock()
        row = {
            'name': host,
            'ek_hash': f'{abs(hash(host)):064x}',
            'approved': True,
            'tier': tier,
            'reasons': [],
            'token': self.token(host, tier, now),
            'issued': now,
            'expires': now + 180,
            **changed,
        }
        with self.korora.service.db.write() as session:
            found = session.get(models.Host, host)
            if found is None:
                found = models.Host(name=host)
                session.add(found)
            for name, value in row.items():
                setattr(found, name, value)
            found.seq = numbers.CHANGED

    def token(self, host, tier, now, key=None):
        return signed.sign_result(
            signed.Result(
                host,
                '00' * 34,
                tier,
                () if tier == 'affirming' else ('PCR_NOT_GOLDEN',),
                '',
                now,
                now + 180,
                support.CLOUD,
            ),
            key or self.korora.service.signers.result,
        )

    def read(self, reader=None):
        self.korora.clock.advance(snapshots.REUSE)
        return (reader or self.reader).read()

    def tiers(self, reader=None):
        return {host: str(row.tier) for host, row in self.read(reader).items()}

    def other_worker(self):
        """A reader of another worker of the same service."""
        worker = services.from_conf(
            self.korora.conf, self.korora.nova, self.korora.clock
        )
        transport = support.WsgiTransport(
            deploy.application(self.korora.conf, worker, support.FakeKeystone)
        )
        client = self.korora.client_as('service')
        client._adapter.session.session.mount('http://', transport)
        return Reader(self, client)


class TestSnapshots(SnapshotTestCase):
    def test_of_hosts(self):
        """Of hosts as they are: trusted, not, waiting, evicted, gone."""
        good = self.host('h1')
        bad = self.host('h2')
        bad.measure('/tmp/rootkit')
        bad.attest_now()
        self.stranger('h3').enrol()
        self.host('h4')
        self.admin.evict_host('h4', 'burnt')
        self.host('h5')
        self.read()
        self.admin.delete_host('h5')
        rows = self.read()
        self.assertEqual(
            {
                'h1': ('affirming', ()),
                'h2': ('contraindicated', mock.ANY),
                'h3': ('none', ('HOST_PENDING',)),
                'h4': ('none', ('EVICTED',)),
            },
            {host: (str(row.tier), row.reasons) for host, row in rows.items()},
        )
        verified = signed.verify_result(
            good.attest_now()['result'],
            self.korora.ring,
            host='h1',
            cloud=support.CLOUD,
            now=self.korora.clock(),
        )
        row = self.read()['h1']
        self.assertEqual(
            (verified.result.issued, verified.result.expires),
            (row.issued, row.expires),
        )
        self.assertEqual(verified.result.enforcer, row.enforcer)

    def test_only_changes_come(self):
        for number in range(20):
            self.put(f'h{number}')
        self.read()
        self.assertEqual('', self.reader.update.base)
        self.put('h7')
        self.put('h8', 'contraindicated')
        self.put('h99')
        self.read()
        self.assertEqual(2, self.reader.update.rows.count('\n'))
        self.assertEqual((), self.reader.update.gone)
        self.read()
        self.assertEqual('', self.reader.update.rows)
        self.assertEqual(21, len(self.reader.held.rows))
        self.assertEqual('contraindicated', self.tiers()['h8'])

    def test_many_readers_cost_one_signature(self):
        self.put('h1')
        readers = [Reader(self) for _ in range(5)]
        with mock.patch.object(snapshot, 'sign', wraps=snapshot.sign) as sign:
            for reader in readers:
                reader.read()
        self.assertEqual(1, sign.call_count)

    def test_a_result_is_verified_once(self):
        for number in range(5):
            self.put(f'h{number}')
        with mock.patch.object(
            snapshots.tokens, 'authentic', wraps=snapshots.tokens.authentic
        ) as authentic:
            self.read()
            self.assertEqual(5, authentic.call_count)
            self.put('h1')
            self.read()
            self.assertEqual(6, authentic.call_count)

    def test_readers_wait_for_one_look(self):
        """A worker that has just started verifies all results, once."""
        self.put('h1')
        begun, go, looks = threading.Event(), threading.Event(), []

        def look(service, last):
            looks.append(last)
            begun.set()
            go.wait(30)
            return real(service, last)

        real = snapshots._observe
        readers = [Reader(self) for _ in range(4)]
        threads = [threading.Thread(target=one.read) for one in readers]
        with mock.patch.object(snapshots, '_observe', look):
            threads[0].start()
            begun.wait(30)
            for thread in threads[1:]:
                thread.start()
            go.set()
            for thread in threads:
                thread.join(30)
        self.assertEqual([None], looks)
        self.assertEqual({('h1',)}, {tuple(one.held.rows) for one in readers})

    def test_a_look_that_fails_is_nobody_elses(self):
        self.put('h1')
        with mock.patch.object(
            snapshots, '_observe', side_effect=ZeroDivisionError
        ):
            self.assertRaises(errors.Unavailable, self.reader.read)
        self.assertEqual({'h1'}, set(self.read()))

    def test_it_is_signed_anew(self):
        """A snapshot of long ago is a replay, also if nothing changed."""
        self.put('h1')
        self.read()
        self.korora.clock.advance(100)
        self.read()

    def test_who_may_read_it(self):
        """Whoever may list results, whatever the policy has made of that."""
        for roles in ('service', 'admin', 'attester', 'attestation_reader'):
            self.assertEqual(
                200,
                self.korora.request(
                    'GET', '/v1/snapshot', roles=roles
                ).status_code,
            )
        self.assertEqual(
            403,
            self.korora.request(
                'GET', '/v1/snapshot', roles='member'
            ).status_code,
        )
        self.assertEqual(
            401,
            self.korora.request('GET', '/v1/snapshot', roles=None).status_code,
        )
        path = f'{self.korora.directory}/policy.yaml'
        with open(path, 'w') as file:
            file.write('"attestation:results:list": "role:auditor"\n')
        self.korora.conf.set_override('policy_file', path, 'oslo_policy')
        self.korora.restart()
        for roles, status in (('service', 403), ('auditor', 200)):
            answer = self.korora.request('GET', '/v1/snapshot', roles=roles)
            self.assertEqual(status, answer.status_code)

    def test_bad_bases(self):
        for text in ('x', '1', '-', f'{"9" * 19}-{"0" * 36}', '1-' + 'x' * 36):
            answer = self.korora.request('GET', f'/v1/snapshot?base={text}')
            self.assertEqual(400, answer.status_code)
            self.assertEqual('INVALID_REQUEST', answer.json['error']['reason'])
        answer = self.korora.request('GET', '/v1/snapshot?since=1')
        self.assertEqual(400, answer.status_code)

    def test_gzip(self):
        for number in range(50):
            self.put(f'h{number}')
        plain = self.korora.request('GET', '/v1/snapshot')
        packed = self.korora.request(
            'GET', '/v1/snapshot', headers={'Accept-Encoding': 'gzip'}
        )
        refused = self.korora.request(
            'GET', '/v1/snapshot', headers={'Accept-Encoding': 'gzip;q=0'}
        )
        self.assertEqual(plain.body, gzip.decompress(packed.body))
        self.assertLess(len(packed.body), len(plain.body) / 2)
        self.assertEqual(plain.body, refused.body)
        self.assertEqual('gzip', packed.headers['Content-Encoding'])
        for answer in (plain, packed):
            self.assertIn('Accept-Encoding', answer.vary)
        self.assertEqual(
            {'token', 'base', 'rows', 'gone'}, set(json.loads(plain.body))
        )

    def test_the_list_is_as_before(self):
        """A scheduler of the release before asks for it."""
        self.put('h1')
        listed = self.korora.client_as('service').results()
        self.assertEqual(['h1'], [row['host'] for row in listed.results])


class TestAttacks(SnapshotTestCase):
    def test_the_database_makes_no_host_trusted(self):
        """I15: what counts is what was signed."""
        self.put('h1', 'contraindicated')
        self.put('h2')
        self.put(
            'h3', token=self.token('h2', 'affirming', self.korora.clock())
        )
        other = keys.SigningKey.generate()
        self.put(
            'h4',
            token=self.token('h4', 'affirming', self.korora.clock(), other),
        )
        self.put('h5', token='rubbish')
        self.put('h6', expires=1e12)
        self.put('h7', token=None, approved=True)
        # As another release may have signed it.
        self.put(
            'h8',
            token=snapshots.tokens.sign(
                {'cloud': support.CLOUD, 'sub': 'h8', 'tier': 'affirming'},
                self.korora.service.signers.result,
                signed.KIND,
                support.CLOUD,
            ),
        )
        with self.korora.service.db.write() as session:
            session.execute(
                sa.update(models.Host).values(tier='affirming', reasons=[])
            )
        rows = self.read()
        self.assertEqual(
            {
                'h1': 'contraindicated',
                'h2': 'affirming',
                'h3': 'none',
                'h4': 'none',
                'h5': 'none',
                'h6': 'affirming',
                'h8': 'none',
            },
            {host: str(row.tier) for host, row in rows.items()},
        )
        self.assertEqual(rows['h6'].issued + 180, rows['h6'].expires)

    def test_a_key_that_is_revoked(self):
        self.put('h1')
        self.read()
        new = keys.SigningKey.generate()
        new.save(f'{self.korora.directory}/result-{new.kid}.pem')
        old = self.korora.ring.active('result')
        self.korora.ring = self.korora.ring.having(
            dataclasses.replace(old, state=keys.State.REVOKED),
            keys.Pinned('result', new.kid, new.public),
        )
        self.korora.ring.save(self.korora.keys_file)
        self.put('h2')
        self.reader.held = None
        self.assertEqual({'h1': 'none', 'h2': 'affirming'}, self.tiers())

    def test_the_clock_went_back(self):
        """The reader refuses it, and takes it again when it is right."""
        self.put('h1')
        self.read()
        now = self.korora.clock()
        with mock.patch.object(
            type(self.korora.clock), '__call__', lambda clock: now - 3600
        ):
            answer = self.reader.client.snapshot(self.reader.held.head.mark)
        error = self.assertRaises(
            errors.Untrusted,
            snapshot.verify,
            snapshot.Update(
                answer.token, answer.base, answer.rows, answer.gone
            ),
            self.korora.ring,
            now=now,
            held=self.reader.held,
        )
        self.assertEqual('RESULT_EXPIRED', error.reason)
        self.put('h2')
        self.assertEqual({'h1', 'h2'}, set(self.read()))


class Workers(SnapshotTestCase):
    """Several workers with one database."""

    def test_removals_come(self):
        for number in range(5):
            self.put(f'h{number}')
        self.read()
        self.admin.delete_host('h1')
        self.put('h9')
        self.read()
        self.assertEqual(('h1',), self.reader.update.gone)
        self.assertEqual({'h0', 'h2', 'h3', 'h4', 'h9'}, set(self.read()))
        self.put('h1')
        self.assertIn('h1', self.read())
        self.assertNotEqual('', self.reader.update.base)

    def test_changes_of_rows_without_a_number_come(self):
        """They are counted, and the rows do not have the number."""
        for number in range(3):
            self.put(f'h{number}')
        self.stranger('h8').enrol()
        self.read()
        with self.korora.service.db.write() as session:
            session.execute(
                sa.delete(models.Host).where(models.Host.name == 'h1')
            )
            session.execute(
                sa.update(models.Host)
                .where(models.Host.name == 'h8')
                .values(approved=True)
            )
            session.add(
                models.Host(name='h7', ek_hash='07' * 32, approved=False)
            )
            numbers.take(session)
        self.assertEqual(
            {'h0': 'affirming', 'h2': 'affirming', 'h7': 'none'}, self.tiers()
        )
        self.assertNotEqual('', self.reader.update.base)

    def test_changes_of_any_worker(self):
        for number in range(5):
            self.put(f'h{number}')
        other = self.other_worker()
        self.read()
        self.read(other)
        for step in range(6):
            self.put(f'h{step % 3}')
            if step == 3:
                self.admin.delete_host('h4')
            for reader in (self.reader, other):
                self.read(reader)
                self.assertNotEqual('', reader.update.base, step)
            # The next answer is the other worker's.
            self.reader.client, other.client = (
                other.client,
                self.reader.client,
            )
        self.assertEqual(self.reader.held.rows, other.held.rows)
        self.assertEqual(4, len(other.held.rows))

    def test_expired_results_are_the_same_for_all(self):
        self.put('h1')
        self.read()
        self.korora.clock.advance(1000)
        other = self.other_worker()
        self.put('h2')
        self.read(other)
        self.read()
        self.reader.client = other.client
        self.put('h3')
        self.assertEqual({'h1', 'h2', 'h3'}, set(self.read()))
        self.assertNotEqual('', self.reader.update.base)

    def test_a_worker_that_has_just_started(self):
        self.put('h1')
        self.read()
        self.reader.client = self.other_worker().client
        self.put('h1', 'contraindicated')
        self.assertEqual({'h1': 'contraindicated'}, self.tiers())

    def test_a_worker_that_knows_less_looks_again(self):
        """It would answer with what it read up to a second ago."""
        self.put('h1')
        other = self.other_worker()
        other.read()
        self.put('h1', 'contraindicated')
        self.reader.read()
        self.reader.client = other.client
        self.assertEqual('contraindicated', self.reader.read()['h1'].tier)

    def test_a_restored_database(self):
        self.put('h1')
        self.put('h2', 'contraindicated')
        with self.korora.service.db.read() as session:
            rows = {
                row.name: {
                    column.name: getattr(row, column.name)
                    for column in models.Host.__table__.columns
                    if column.name != 'findings'
                }
                for row in session.scalars(sa.select(models.Host))
            }
            (seq,) = session.execute(
                sa.select(models.Counter.value).where(
                    models.Counter.name == 'results'
                )
            ).one()
        # Numbers count looks: one look after the copy is not told from it.
        self.put('h1', 'contraindicated')
        self.read()
        self.put('h2')
        self.assertEqual(
            {'h1': 'contraindicated', 'h2': 'affirming'}, self.tiers()
        )
        with self.korora.service.db.write() as session:
            for name, values in rows.items():
                session.execute(
                    sa.update(models.Host)
                    .where(models.Host.name == name)
                    .values(**values)
                )
            session.execute(
                sa.update(models.Counter)
                .where(models.Counter.name == 'results')
                .values(value=seq)
            )
        # Both are less trusted than the snapshot before had them.
        self.assertEqual({'h1': 'none', 'h2': 'contraindicated'}, self.tiers())
        self.assertEqual('', self.reader.update.base)
        self.put('h1')
        self.assertEqual(
            {'h1': 'affirming', 'h2': 'contraindicated'}, self.tiers()
        )

    def test_while_hosts_attest(self):
        """What is read in several statements is of one moment."""
        for number in range(8):
            self.put(f'h{number}')
        self.read()
        done = threading.Event()
        thread = threading.Thread(target=self.attest, args=(done,))
        thread.start()
        try:
            for _ in range(20):
                self.read()
                self.assertNotEqual('', self.reader.update.base)
        finally:
            done.set()
            thread.join()
        self.assertEqual(8, len(self.read()))

    def attest(self, done):
        step = 0
        while not done.is_set():
            step += 1
            self.put(f'h{step % 8}')

    def test_any_history(self):
        """Whatever happens, and whoever answers: all readers agree."""
        dice = random.Random(13)  # noqa: S311
        readers = [self.reader, self.other_worker(), self.other_worker()]
        names = [f'h{number}' for number in range(12)]
        changes = 0
        for step in range(60):
            for host in dice.sample(names, dice.randrange(4)):
                self.happens(dice, host)
            reader = dice.choice(readers)
            other = dice.choice(readers)
            reader.client, other.client = other.client, reader.client
            held = reader.held
            try:
                rows = self.read(reader)
            except errors.Untrusted:
                # As the scheduler: changes that do not fit, then all of it.
                self.assertIsNotNone(held)
                rows = reader.read('')
            changes += reader.update.base != ''
            fresh = Reader(self, reader.client)
            self.assertEqual(fresh.read(), rows, step)
        self.assertLess(30, changes)

    def happens(self, dice, host):
        what = dice.randrange(5)
        if what == 0:
            with contextlib.suppress(errors.NotFound):
                self.admin.delete_host(host, force=True)
        elif what == 1:
            with contextlib.suppress(errors.NotFound):
                self.admin.evict_host(host, 'burnt')
        elif what == 2:
            self.put(host, 'contraindicated', evicted_at=None)
        elif what == 3:
            self.put(host, approved=False, token=None, evicted_at=None)
        else:
            self.put(host, evicted_at=None)


class TestWorkers(Workers):
    # SQLite admits one writer, and no reader meanwhile.
    test_while_hosts_attest = None


class TestMariaDb(base.MariaDbTestCase, Workers):
    pass


class TestPostgreSql(base.PostgreSqlTestCase, Workers):
    pass


del Workers
