# SPDX-License-Identifier: Apache-2.0
"""Numbers of changes: a reader that has read up to one misses none."""

import contextlib
import threading
import time
from concurrent import futures

import sqlalchemy as sa
import testtools
from oslo_config import cfg

from korora_nova.verifier import numbers
from korora_nova.verifier.db import api, models
from tests.functional.api import base
from tests.support import mariadb

HOSTS = 12
#: Seconds that MariaDB has a statement wait for a row.
LOCK_WAIT = 50
_T = models.Host


def database(connection: str) -> api.Database:
    """Another worker's connections."""
    conf = cfg.ConfigOpts()
    conf([], project='test', default_config_files=[])
    api.register_opts(conf)
    conf.set_override('connection', connection, 'database')
    return api.Database(conf)


def read(db: api.Database, upto: int) -> tuple[int, dict[str, int]]:
    """What changed after a number: the newest one, and versions by host."""
    numbers.give(db)
    with db.read() as session:
        last = numbers.last(session)
        rows = session.execute(
            sa.select(_T.name, _T.version).where(_T.seq > upto)
        )
        return last, dict(rows.tuples().all())


class Numbers:
    SERVER = None

    def setUp(self) -> None:
        super().setUp()
        self.url = self.connection()
        self.db = database(self.url)
        with self.db.write() as session:
            for number in range(HOSTS):
                session.add(
                    models.Host(
                        name=f'h{number}',
                        ek_hash=f'{number:064x}',
                        approved=True,
                    )
                )
        numbers.give(self.db)

    def change(self, session, host: str) -> None:
        session.execute(
            sa.update(_T)
            .where(_T.name == host)
            .values(version=_T.version + 1, seq=numbers.CHANGED)
        )

    def write(self, number: int) -> None:
        """Commit in any order, sometimes late, sometimes not at all."""
        db = database(self.url)
        step = number
        while not self.done.is_set():
            step += 1
            with contextlib.suppress(ZeroDivisionError, api.Lost):
                with db.write() as session:
                    self.change(session, f'h{(number + 3 * step) % HOSTS}')
                    time.sleep(0.001 * (step % 7))
                    1 / (step % 11)

    def follow(self) -> tuple[int, dict[str, int]]:
        """Versions of all hosts, by what changed from look to look."""
        db, upto, last = database(self.url), 0, False
        seen: dict[str, int] = {}
        while not last:
            last = self.done.is_set()
            upto, changes = read(db, upto)
            for host, version in changes.items():
                self.assertGreaterEqual(version, seen.get(host, 0))
            seen.update(changes)
        return upto, seen

    def test_no_change_is_missed(self) -> None:
        self.done = threading.Event()
        with futures.ThreadPoolExecutor(6) as pool:
            self.writers = [pool.submit(self.write, one) for one in range(3)]
            readers = [pool.submit(self.follow) for _ in range(3)]
            time.sleep(3)
            self.done.set()
            found = [reader.result(60) for reader in readers]
        # The next look: while others look, they may hold a row.
        views = [seen | read(self.db, upto)[1] for upto, seen in found]
        with self.db.read() as session:
            final = dict(
                session.execute(sa.select(_T.name, _T.version)).tuples().all()
            )
        self.assertLess(HOSTS, sum(final.values()))
        self.assertEqual([final] * 3, views)

    def test_a_writer_that_hangs_holds_up_nobody(self) -> None:
        """Neither writers of other hosts, nor readers."""
        with self.db.write() as session:
            self.change(session, 'h1')
        hung = database(self.url).engine.connect()
        self.addCleanup(hung.close)
        hung.execute(
            sa.update(_T)
            .where(_T.name == 'h1')
            .values(version=100, seq=numbers.CHANGED)
        )
        before, _ = read(self.db, 0)
        began = time.monotonic()
        with self.db.write() as session:
            self.change(session, 'h2')
        upto, changes = read(self.db, before)
        self.assertLess(time.monotonic() - began, LOCK_WAIT / 2)
        self.assertEqual({'h2'}, set(changes))
        hung.commit()
        self.assertEqual({'h1': 100}, read(self.db, upto)[1])

    def test_a_reader_that_hangs_holds_up_no_writer(self) -> None:
        """It has numbered rows, and does not commit."""
        with self.db.write() as session:
            self.change(session, 'h1')
        upto, _ = read(self.db, 0)
        with self.db.write() as session:
            self.change(session, 'h2')
        with self.db.write() as session:
            api.isolate(session, 'READ COMMITTED')
            names = session.scalars(
                sa.select(_T.name)
                .where(_T.seq == numbers.CHANGED)
                .with_for_update(skip_locked=True)
            ).all()
            self.assertEqual(['h2'], names)
            began = time.monotonic()
            other = database(self.url)
            with other.write() as writing:
                for host in ('h3', 'h4'):
                    self.change(writing, host)
            self.assertLess(time.monotonic() - began, LOCK_WAIT / 2)
        self.assertEqual({'h2', 'h3', 'h4'}, set(read(self.db, upto)[1]))

    def test_it_is_one_number_for_many(self) -> None:
        with self.db.write() as session:
            session.execute(sa.update(_T).values(seq=numbers.CHANGED))
            before = numbers.last(session)
        upto, changes = read(self.db, before)
        self.assertEqual((before + 1, HOSTS), (upto, len(changes)))
        self.assertEqual((upto, {}), read(self.db, upto))


class TestMariaDb(Numbers, base.MariaDbTestCase, testtools.TestCase):
    SERVER = base.MariaDbTestCase.SERVER


class TestMysqlClient(TestMariaDb):
    SERVER = mariadb.WithMysqlClient


class TestPostgreSql(Numbers, base.PostgreSqlTestCase, testtools.TestCase):
    SERVER = base.PostgreSqlTestCase.SERVER


del Numbers
