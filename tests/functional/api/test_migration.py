# SPDX-License-Identifier: Apache-2.0
"""From one release's tables to the next one's, with rows in them."""

import json
import zlib

import sqlalchemy as sa
import testtools
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from oslo_config import cfg

from korora_nova.verifier.db import api, migration, models
from tests.functional.api import base

HOST = {
    'name': 'h1',
    'ek_hash': 'ab' * 32,
    'approved': True,
    'version': 3,
    'reasons': '["PCR_NOT_GOLDEN"]',
    'tier': 'contraindicated',
    'seq': 1,
    'receipt_head': '',
    'held': '[]',
    'token': 'a.b.c',
    'expires': 1.0,
}
REFERENCE = {
    'version': 1,
    'name': 'golden',
    'ima_digests': ['sha256:' + '00' * 32],
    'pcrs': {
        str(index): ['11' * 32] for index in (*range(10), *range(11, 16))
    },
}


def packed(document) -> bytes:
    return zlib.compress(json.dumps(document).encode())


class MigrationMixin:
    def setUp(self) -> None:
        super().setUp()
        conf = cfg.ConfigOpts()
        conf([])
        api.register_opts(conf)
        conf.set_override('connection', self.empty(), 'database')
        self.db = api.Database(conf)
        self.engine = self.db.engine
        self.addCleanup(self.engine.dispose)
        migration.upgrade(self.engine, '0001')

    def insert(self, table: str, **values) -> None:
        columns = ', '.join(values)
        named = ', '.join(f':{name}' for name in values)
        with self.engine.begin() as connection:
            connection.execute(
                sa.text(f'INSERT INTO {table} ({columns}) VALUES ({named})'),
                values,
            )

    def test_rows_survive(self):
        self.insert('hosts', **HOST)
        self.insert(
            'measurements',
            host='h1',
            pcr_digest='00' * 32,
            document=packed(REFERENCE),
            measured_at=1.0,
        )
        self.insert(
            'reference_values',
            name='golden',
            uuid='0' * 36,
            host='h1',
            document=packed(REFERENCE),
            created_at=1.0,
        )
        for _ in range(2):
            migration.upgrade(self.engine)
        self.assertEqual(migration.head(), migration.current(self.engine))
        with self.db.read() as session:
            host = session.scalars(sa.select(models.Host)).one()
            self.assertEqual(
                (['PCR_NOT_GOLDEN'], None), (host.reasons, host.findings)
            )
            kept = session.scalars(sa.select(models.Reference)).one()
            self.assertEqual(
                REFERENCE, json.loads(zlib.decompress(kept.document))
            )
            self.assertEqual(
                [], session.scalars(sa.select(models.Measurement)).all()
            )

    def test_schema_is_the_models(self):
        migration.upgrade(self.engine)
        with self.engine.connect() as connection:
            self.assertEqual(
                [],
                compare_metadata(
                    MigrationContext.configure(connection),
                    models.Base.metadata,
                ),
            )


class TestSqlite(MigrationMixin, testtools.TestCase):
    def empty(self) -> str:
        return 'sqlite://'


class TestMariaDb(MigrationMixin, base.MariaDbTestCase):
    pass


class TestPostgreSql(MigrationMixin, base.PostgreSqlTestCase):
    pass
