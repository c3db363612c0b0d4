# SPDX-License-Identifier: Apache-2.0
"""Anchors that are servers: MariaDB, PostgreSQL and etcd."""

from __future__ import annotations

import sqlalchemy as sa

from tests.functional.api import anchor_servers
from tests.support import mariadb, postgresql, proxy


class TestMariaDb(anchor_servers.SqlMixin):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = mariadb.MariaDb()
        cls.server.setUp()
        cls.addClassCleanup(cls.server.cleanUp)

    def settings(self):
        self.direct = self.server.database()
        name = sa.make_url(self.direct).database
        self.proxy = self.useFixture(proxy.Proxy(self.server.socket))
        return {
            'backend': 'database',
            'connection': (
                f'mysql+pymysql://root@127.0.0.1:{self.proxy.port}/{name}'
            ),
        }


class TestPostgreSql(anchor_servers.SqlMixin):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = postgresql.PostgreSql()
        cls.server.setUp()
        cls.addClassCleanup(cls.server.cleanUp)

    def settings(self):
        self.direct = self.server.database()
        name = sa.make_url(self.direct).database
        socket = f'{self.server.directory}/.s.PGSQL.5432'
        self.proxy = self.useFixture(proxy.Proxy(socket))
        return {
            'backend': 'database',
            'connection': (
                'postgresql+psycopg2://korora@127.0.0.1:'
                f'{self.proxy.port}/{name}'
            ),
        }
