# SPDX-License-Identifier: Apache-2.0
"""Anchors that are servers: MariaDB, PostgreSQL and etcd."""

from __future__ import annotations

import contextlib
import os
import random
import signal

import fixtures
import sqlalchemy as sa
from etcd3gw import exceptions

from tests.functional.api import anchor_servers
from tests.support import (
    anchors,
    databases,
    etcd,
    mariadb,
    postgresql,
    proxy,
    tls,
)
from tests.support.anchors import LEDGER, SERVER, mark


class TestMariaDb(anchor_servers.SqlMixin):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = databases.shared(mariadb.MariaDb)

    def settings(self):
        self.direct = self.server.database()
        self.addCleanup(self.server.drop, self.direct)
        name = sa.make_url(self.direct).database
        self.proxy = self.useFixture(proxy.Proxy(self.server.socket))
        return {
            'backend': 'database',
            'connection': (
                f'mysql+pymysql://root@127.0.0.1:{self.proxy.port}/{name}'
            ),
        }

    def test_what_a_connection_is_told(self) -> None:
        with self.anchor._marks._engine.connect() as connection:
            told = connection.execute(
                sa.text(
                    'SELECT @@tx_isolation, @@innodb_lock_wait_timeout,'
                    ' @@wsrep_sync_wait'
                )
            ).one()
        self.assertEqual(('READ-COMMITTED', 30, 1), tuple(told))


class TestPostgreSql(anchor_servers.SqlMixin):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = databases.shared(postgresql.PostgreSql)

    def settings(self):
        self.direct = self.server.database()
        self.addCleanup(self.server.drop, self.direct)
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


class TestEtcd(anchor_servers.ServerMixin):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = etcd.Etcd()
        cls.server.setUp()
        cls.addClassCleanup(cls.server.cleanUp)

    def settings(self):
        target = ('127.0.0.1', self.server.ports[0])
        self.proxy = self.useFixture(proxy.Proxy(target))
        self.prefix = f'/{random.randbytes(8).hex()}'
        return {
            'backend': 'etcd',
            'endpoints': [f'http://127.0.0.1:{self.proxy.port}'],
            'prefix': self.prefix,
        }

    def test_the_first_endpoint_is_away(self) -> None:
        good = self.options['endpoints'][0]
        anchor = self.another(endpoints=['http://127.0.0.1:1', good])
        anchor.create(LEDGER)
        anchor.rise(LEDGER, SERVER, mark(1))
        self.assertMark(mark(1))

    def test_endpoints_that_are_none(self) -> None:
        for endpoint in (
            '127.0.0.1:2379',
            'ftp://h',
            'http://',
            'http://h:x',
            'http://h:0',
        ):
            with self.refused('ANCHOR_UNAVAILABLE', 'endpoints', endpoint):
                self.another(endpoints=[endpoint])
        with self.refused('ANCHOR_UNAVAILABLE', 'no member is configured'):
            self.another(endpoints=[]).get(LEDGER, [])

    def test_another_cloud_beside_it(self) -> None:
        self.anchor.create(LEDGER)
        other = self.another(prefix=f'{self.prefix}0')
        other.create(anchors.OTHER)
        other.rise(anchors.OTHER, SERVER, mark(3))
        self.assertMark(None)

    def test_marks_of_nobody_are_not_adopted(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        self.server.client().delete(f'{self.prefix}/ledger')
        with self.refused('ANCHOR_MISSING'):
            self.anchor.get(LEDGER, [SERVER])
        with self.refused('ANCHOR_MISSING'):
            self.anchor.rise(LEDGER, SERVER, mark(2))
        with self.refused('ANCHOR_EXISTS'):
            self.anchor.create(LEDGER)

    def test_a_mark_that_is_none(self) -> None:
        self.anchor.create(LEDGER)
        for value in ('', 'x', '1', '-1 aa', ' 1 aa'):
            self.server.client().put(f'{self.prefix}/marks/{SERVER}', value)
            for call in self.calls(self.anchor)[:2]:
                with self.refused('ANCHOR_UNAVAILABLE', 'not of this service'):
                    call()

    def test_an_answer_that_is_none(self) -> None:
        for answer in (
            b'HTTP/1.0 200 OK\r\n\r\nnonsense',
            b'HTTP/1.0 200 OK\r\n\r\n[]',
            b'HTTP/1.0 200 OK\r\n\r\n{"responses": [1]}',
            b'HTTP/1.0 200 OK\r\n\r\n'
            b'{"responses": [{"response_range": {"kvs": [{}]}}]}',
            b'HTTP/1.0 500 No\r\n\r\n{"error": []}',
            b'HTTP/1.0 404 No\r\n\r\n<html>',
            b'nonsense',
            b'',
        ):
            self.proxy.answer(answer)
            for call in self.calls(self.anchor)[:2]:
                with self.refused('ANCHOR_UNAVAILABLE'):
                    call()

    def test_killed_and_started_again(self) -> None:
        self.anchor.create(LEDGER)
        for version in range(1, 4):
            self.anchor.rise(LEDGER, SERVER, mark(version))
            self.server.kill(0)
            with self.refused('ANCHOR_UNAVAILABLE'):
                self.anchor.get(LEDGER, [SERVER])
            self.server.start(0)
            self.server.wait(0)
            self.assertMark(mark(version))


class TestFullEtcd(anchors.Refusals):
    def test_full(self) -> None:
        server = self.useFixture(
            etcd.Etcd(arguments=[f'--quota-backend-bytes={1 << 20}'])
        )
        anchor = anchors.load(
            {'backend': 'etcd', 'endpoints': server.endpoints}
        )
        anchor.create(LEDGER)
        anchor.rise(LEDGER, SERVER, mark(1))
        with contextlib.suppress(exceptions.Etcd3Exception):
            for number in range(99):
                server.client().put(f'/else/{number}', 'x' * 100_000)
            self.fail('it never was full')
        with self.refused('ANCHOR_UNAVAILABLE', 'space exceeded'):
            anchor.rise(LEDGER, SERVER, mark(2))
        self.assertEqual({SERVER: mark(1)}, anchor.get(LEDGER, [SERVER]))


class TestEtcdCluster(anchors.Refusals):
    def test_members_die(self) -> None:
        """One may; two of three take the anchor along until one is back."""
        server = self.useFixture(etcd.Etcd(3))
        settings = {
            'backend': 'etcd',
            'endpoints': server.endpoints,
            'timeout': 5,
        }
        anchor = anchors.load(settings)
        anchor.create(LEDGER)
        anchor.rise(LEDGER, SERVER, mark(1))
        server.processes[0].send_signal(signal.SIGSTOP)
        anchor = anchors.load(settings)
        anchor.rise(LEDGER, SERVER, mark(2))
        server.kill(1)
        with self.refused('ANCHOR_UNAVAILABLE'):
            anchors.load({**settings, 'timeout': 1}).get(LEDGER, [SERVER])
        # It was asleep, and must not answer with what it knew
        server.processes[0].send_signal(signal.SIGCONT)
        server.wait(0)
        only = {**settings, 'endpoints': server.endpoints[:1]}
        self.assertEqual(
            {SERVER: mark(2)}, anchors.load(only).get(LEDGER, [SERVER])
        )


class TestSecuredEtcd(anchors.Refusals):
    def test_users(self) -> None:
        server = self.useFixture(etcd.Etcd(arguments=['--auth-token-ttl=1']))
        client = server.client()

        def post(path: str, **json: object) -> None:
            client.post(client.get_url(path), json=json)

        post('/auth/user/add', name='root', password='r')
        post('/auth/user/grant', user='root', role='root')
        post('/auth/user/add', name='korora', password='pa55word')
        post('/auth/role/add', name='anchor')
        post(
            '/auth/role/grant',
            name='anchor',
            perm={
                'permType': 'READWRITE',
                'key': 'L2tvcm9yYS9hbmNob3Iv',  # /korora/anchor/
                'range_end': 'L2tvcm9yYS9hbmNob3Iw',
            },
        )
        post('/auth/user/grant', user='korora', role='anchor')
        post('/auth/enable')
        settings = {'backend': 'etcd', 'endpoints': server.endpoints}
        with self.refused('ANCHOR_UNAVAILABLE', 'user name is empty'):
            anchors.load(settings).create(LEDGER)
        settings |= {'username': 'korora', 'password': 'wr0ng'}
        with self.refused('ANCHOR_UNAVAILABLE', 'authentication failed'):
            anchors.load(settings).create(LEDGER)
        settings['password'] = 'pa55word'
        anchor = anchors.load(settings)
        anchor.create(LEDGER)
        anchor.rise(LEDGER, SERVER, mark(1))
        # All tokens are forgotten
        server.kill(0)
        server.start(0)
        server.wait_for_port(0)
        anchor.rise(LEDGER, SERVER, mark(2))
        self.assertEqual({SERVER: mark(2)}, anchor.get(LEDGER, [SERVER]))
        with self.refused('ANCHOR_UNAVAILABLE', 'permission denied'):
            anchors.load({**settings, 'prefix': '/else'}).create(LEDGER)

    def test_tls(self) -> None:
        directory = self.useFixture(fixtures.TempDir()).path
        files = tls.Files(directory)
        server = self.useFixture(
            etcd.Etcd(
                arguments=[
                    f'--cert-file={files.server}',
                    f'--key-file={files.server_key}',
                    f'--trusted-ca-file={files.authority}',
                    '--client-cert-auth',
                ],
                scheme='https',
            )
        )
        server.wait_for_port(0)
        settings = {'backend': 'etcd', 'endpoints': server.endpoints}
        with self.refused('ANCHOR_UNAVAILABLE'):
            anchors.load(settings).create(LEDGER)
        settings['ca_file'] = files.authority
        with self.refused('ANCHOR_UNAVAILABLE'):
            anchors.load(settings).create(LEDGER)
        settings |= {
            'cert_file': files.client,
            'key_file': files.client_key,
        }
        anchors.load(settings).create(LEDGER)
        for name in ('ca_file', 'cert_file'):
            gone = os.path.join(directory, 'gone')
            with self.refused('ANCHOR_UNAVAILABLE'):
                anchors.load({**settings, name: gone}).get(LEDGER, [])
