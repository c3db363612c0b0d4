# SPDX-License-Identifier: Apache-2.0
"""MariaDB with durable commits, alone or as three nodes of Galera."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql

from korora_tools import ui
from korora_tools.fleet.processes import LOCAL, Scratch

#: Of this machine, by MariaDB's package.
ACCOUNT = 'mysql'
USER, PASSWORD = 'korora', 'fleet'  # noqa: S105 of loopback only
PROVIDERS = (
    '/usr/lib/galera/libgalera_smm.so',
    '/usr/lib/libgalera_smm.so',
)
NODES = 3
_SYNCED = '4'
ERRORS = (pymysql.err.MySQLError,)


def url(port: int, name: str) -> str:
    """SQLAlchemy's URL of a database."""
    return (
        f'mysql+mysqldb://{USER}:{PASSWORD}@{LOCAL}:{port}/{name}'
        '?charset=utf8mb4'
    )


@contextlib.contextmanager
def _cursor(port: int, database: str | None = None) -> Iterator[Any]:
    connection = pymysql.connect(
        host=LOCAL,
        port=port,
        user=USER,
        password=PASSWORD,
        database=database,
        connect_timeout=2,
        read_timeout=60,
        autocommit=True,
    )
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def rows(port: int, statement: str) -> Any:
    """What one statement finds, of whoever is behind a port."""
    with _cursor(port) as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


class Server:
    """One mariadbd."""

    def __init__(
        self, scratch: Scratch, name: str, options: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.port = scratch.port()
        self._data = scratch.path / name
        shutil.copytree(_template(scratch), self._data)
        # A server that starts removes what others left in a shared one.
        temporary = scratch.path / f'{name}-tmp'
        temporary.mkdir()
        # What transfers a node's state does not write as root.
        for path in (temporary, self._data, *self._data.rglob('*')):
            shutil.chown(path, ACCOUNT)
        self.process = scratch.process(
            name,
            [
                'mariadbd',
                '--no-defaults',
                f'--user={ACCOUNT}',
                f'--datadir={self._data}',
                f'--tmpdir={temporary}',
                f'--socket={self._data}/socket',
                f'--pid-file={self._data}/pid',
                f'--bind-address={LOCAL}',
                f'--port={self.port}',
                '--skip-name-resolve',
                '--max-connections=300',
                '--innodb-buffer-pool-size=128M',
                '--innodb-flush-log-at-trx-commit=1',
                *options,
            ],
            self.answers,
        )

    def answers(self) -> bool:
        try:
            self.rows('SELECT 1')
        except pymysql.err.MySQLError:
            return False
        return True

    @contextlib.contextmanager
    def cursor(self, database: str | None = None) -> Iterator[Any]:
        """As its administrator, each statement for itself."""
        with _cursor(self.port, database) as cursor:
            yield cursor

    def rows(self, statement: str, database: str | None = None) -> Any:
        """What one statement finds."""
        with self.cursor(database) as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def status(self, like: str) -> dict[str, str]:
        return dict(self.rows(f"SHOW GLOBAL STATUS LIKE '{like}'"))

    def create(self, *names: str) -> None:
        for name in names:
            self.rows(f'CREATE DATABASE {name} CHARACTER SET utf8mb4')

    @property
    def synced(self) -> bool:
        """Whether this node of a cluster may be asked."""
        try:
            found = self.status('wsrep_%')
        except pymysql.err.MySQLError:
            return False
        return (
            found.get('wsrep_local_state') == _SYNCED
            and found.get('wsrep_ready') == 'ON'
        )


def _template(scratch: Scratch) -> pathlib.Path:
    """A data directory with one user, made once."""
    made = scratch.path / 'mariadb-template'
    if not made.exists():
        scratch.run(
            [
                'mariadb-install-db',
                '--no-defaults',
                '--user=root',
                f'--datadir={made}',
                '--skip-test-db',
                '--auth-root-authentication-method=normal',
            ]
        )
        scratch.run(
            [
                'mariadbd',
                '--no-defaults',
                '--user=root',
                f'--datadir={made}',
                '--bootstrap',
            ],
            stdin='\n'.join(
                [
                    'FLUSH PRIVILEGES;',
                    f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}';",
                    f"GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;",
                    '',
                ]
            ),
        )
    return made


def single(scratch: Scratch, name: str = 'mariadb') -> Server:
    """One server that answers."""
    made = Server(scratch, name)
    made.process.wait()
    return made


class Galera:
    """Three nodes that replicate; writes are taken by each."""

    def __init__(self, scratch: Scratch) -> None:
        provider = next(filter(lambda p: pathlib.Path(p).exists(), PROVIDERS))
        ports = [
            (scratch.port(), scratch.port(), scratch.port())
            for _ in range(NODES)
        ]
        address = ','.join(f'{LOCAL}:{group}' for group, *_ in ports)
        self.nodes: list[Server] = []
        for number, (group, incremental, transfer) in enumerate(ports, 1):
            # Only the first one begins a cluster; see start().
            self.nodes.append(
                _Node(
                    scratch,
                    f'galera{number}',
                    [
                        '--binlog-format=ROW',
                        '--innodb-autoinc-lock-mode=2',
                        '--wsrep-on=ON',
                        f'--wsrep-provider={provider}',
                        f'--wsrep-cluster-address=gcomm://{address}',
                        '--wsrep-cluster-name=fleet',
                        f'--wsrep-node-name=galera{number}',
                        f'--wsrep-node-address={LOCAL}:{group}',
                        '--wsrep-sst-method=rsync',
                        f'--wsrep-sst-receive-address={LOCAL}:{transfer}',
                        '--wsrep-provider-options='
                        f'gmcast.listen_addr=tcp://{LOCAL}:{group};'
                        f'ist.recv_addr={LOCAL}:{incremental};'
                        'gcache.size=64M',
                    ],
                    first=number == 1,
                )
            )

    def await_size(self, size: int = NODES) -> None:
        """Until so many nodes are one cluster.

        :raises Problem: they are not.
        """
        ui.wait(
            f'{size} nodes of Galera',
            lambda: sum(one.synced for one in self.nodes) >= size,
            300,
            0.5,
        )

    @contextlib.contextmanager
    def isolated(self, node: Server) -> Iterator[None]:
        """The network between a node and the others is cut.

        Its clients still reach it: Galera's own switch for this closes the
        connections of the group alone.
        """
        node.rows(_ISOLATE.format(1))
        try:
            yield
        finally:
            node.rows(_ISOLATE.format(0))


_ISOLATE = "SET GLOBAL wsrep_provider_options = 'gmcast.isolate={}'"


class _Node(Server):
    """A node that joins; the first one begins the cluster, once."""

    def __init__(
        self,
        scratch: Scratch,
        name: str,
        options: Sequence[str],
        *,
        first: bool,
    ) -> None:
        super().__init__(
            scratch,
            name,
            [*options, *(['--wsrep-new-cluster'] if first else [])],
        )
        self._await()
        if first:
            # Started again, it joins the others.
            self.process.argv.remove('--wsrep-new-cluster')

    def _await(self) -> None:
        ui.wait(
            self.name,
            lambda: self.synced,
            300,
            0.3,
            lambda: (
                None
                if self.process.alive
                else 'it has ended' + self.process.tail()
            ),
        )
