# SPDX-License-Identifier: Apache-2.0
"""Marks in two tables, in any database that oslo.db knows.

The mark of a server is raised by a compare-and-swap: the condition of the
UPDATE says that the stored version is lower. So it does not matter how many
processes raise at once, in which order, or whether one of them repeats itself
after its connection was lost in the middle of a transaction.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import engines
from sqlalchemy import schema

from korora_nova.verifier.anchor import base

T = TypeVar('T')

_KIND: Any = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
_tables = sa.MetaData()
#: The single row (id 1): the ledger that this anchor was made for.
LEDGER = sa.Table(
    'anchor_ledger',
    _tables,
    sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('incarnation', sa.String(36), nullable=False),
    sa.Column('created_at', sa.Double, nullable=False),
    **_KIND,
)
MARKS = sa.Table(
    'anchor_marks',
    _tables,
    sa.Column('instance', sa.String(36), primary_key=True),
    sa.Column('version', sa.BigInteger, nullable=False),
    sa.Column('digest', sa.String(64), nullable=False),
    **_KIND,
)

# What each new connection is told, with the timeout in s and in ms.
_SESSION = {
    # The comment is for MariaDB alone: with Galera, wait for the others.
    'mysql': [
        'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED',
        'SET SESSION innodb_lock_wait_timeout = {s}'
        ' /*M!100100 , SESSION wsrep_sync_wait = 1 */',
    ],
    'postgresql': [
        'SET SESSION CHARACTERISTICS AS TRANSACTION'
        ' ISOLATION LEVEL READ COMMITTED',
        'SET SESSION statement_timeout = {ms}',
        'SET SESSION synchronous_commit = on',
    ],
    # Not only the content, also that the journal is gone.
    'sqlite': ['PRAGMA synchronous = EXTRA'],
}
# How drivers are told their timeouts in an URL.
_URL = {
    'pymysql': (
        'connect_timeout={s}',
        'read_timeout={s}',
        'write_timeout={s}',
    ),
    'mysqldb': (
        'connect_timeout={s}',
        'read_timeout={s}',
        'write_timeout={s}',
    ),
    'psycopg2': ('connect_timeout={s}', 'tcp_user_timeout={ms}'),
    'psycopg': ('connect_timeout={s}', 'tcp_user_timeout={ms}'),
    'pysqlite': ('timeout={s}',),
}


# The last is what becomes of a connection that is lost while it is made, when
# oslo.db asks SQLAlchemy for its state.
_ERRORS = (db_exc.DBError, sa.exc.SQLAlchemyError, NotImplementedError)


class _Lost(Exception):
    """Another process was faster; the transaction is to be repeated."""


class Marks:
    """The two tables of one database.

    :param where: the database, for errors: "The anchor, WHERE, ...".
    :param timeout: of connecting, of a statement and of all attempts, s.
    """

    def __init__(self, url: sa.URL, where: str, timeout: float) -> None:
        self._where = where
        self._timeout = timeout
        self._engine = _engine(url, timeout)
        self._watch = _Watch(self._engine, timeout)

    def create(self, incarnation: str) -> None:
        """See :meth:`base.Anchor.create`."""

        def attempt() -> None:
            with self._transaction() as connection:
                for table in (LEDGER, MARKS):
                    connection.execute(
                        schema.CreateTable(table, if_not_exists=True)
                    )
                if self._is_used(connection):
                    raise base.exists(self._where)
                connection.execute(
                    sa.insert(LEDGER).values(
                        id=1, incarnation=incarnation, created_at=time.time()
                    )
                )

        self._repeated(attempt)

    def get(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, base.Mark]:
        """See :meth:`base.Anchor.get`."""

        def attempt() -> Mapping[str, base.Mark]:
            with self._transaction() as connection:
                self._check(connection, incarnation)
                rows = connection.execute(
                    sa.select(MARKS).where(MARKS.c.instance.in_(instances))
                )
                return {
                    row.instance: base.Mark(row.version, row.digest)
                    for row in rows
                }

        return self._repeated(attempt)

    def rise(self, incarnation: str, instance: str, mark: base.Mark) -> None:
        """See :meth:`base.Anchor.rise`."""

        def attempt() -> None:
            with self._transaction() as connection:
                raised = self._swap(connection, instance, mark)
                self._check(connection, incarnation)
                if not raised:
                    self._insert(connection, instance, mark)

        self._repeated(attempt)

    def _swap(
        self, connection: sa.Connection, instance: str, mark: base.Mark
    ) -> bool:
        # First in its transaction, so that SQLite waits for other writers
        result = connection.execute(
            sa.update(MARKS)
            .where(
                MARKS.c.instance == instance, MARKS.c.version < mark.version
            )
            .values(version=mark.version, digest=mark.digest)
        )
        return bool(result.rowcount)

    def _insert(
        self, connection: sa.Connection, instance: str, mark: base.Mark
    ) -> None:
        row = connection.execute(
            sa.select(MARKS).where(MARKS.c.instance == instance)
        ).one_or_none()
        held = None if row is None else base.Mark(row.version, row.digest)
        if held is not None and held.version < mark.version:
            raise _Lost()
        if base.is_news(held, mark, instance):
            connection.execute(
                sa.insert(MARKS).values(instance=instance, **mark._asdict())
            )

    def _check(self, connection: sa.Connection, incarnation: str) -> None:
        found = connection.execute(
            sa.select(LEDGER.c.incarnation).where(LEDGER.c.id == 1)
        ).scalar_one_or_none()
        base.check_ledger(self._where, found, incarnation)

    def _is_used(self, connection: sa.Connection) -> bool:
        return any(
            connection.execute(sa.select(table).limit(1)).first()
            for table in (LEDGER, MARKS)
        )

    def _repeated(self, attempt: Callable[[], T]) -> T:
        end = time.monotonic() + self._timeout
        while True:
            try:
                return attempt()
            except _Lost:
                if time.monotonic() > end:
                    raise base.unavailable(
                        self._where, 'too many processes write to it'
                    ) from None
            time.sleep(random.uniform(0.001, 0.02))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """One that commits unless an exception leaves it.

        :raises _Lost: repeat it.
        """
        try:
            with self._watch.limited(), self._engine.begin() as connection:
                yield connection
        except (db_exc.DBDeadlock, db_exc.DBDuplicateEntry):
            raise _Lost() from None
        # Without its text and cause, which may hold the connection's secret
        except _ERRORS as exc:
            if _is_about_tables(exc) and self._is_empty():
                raise base.missing(self._where) from None
            raise base.unavailable(self._where, _why(exc)) from None

    def _is_empty(self) -> bool:
        """Whether it answers, and has not all of the tables."""
        try:
            with self._watch.limited():
                found = set(sa.inspect(self._engine).get_table_names())
        except _ERRORS:
            return False
        return not {LEDGER.name, MARKS.name} <= found


class _Watch:
    """Cuts connections whose driver would wait for ever: PostgreSQL's.

    libpq has no timeout for an answer. All connections are cut: while one
    is not answered, none is to be trusted, and the pool makes new ones.
    """

    def __init__(self, engine: sa.Engine, timeout: float) -> None:
        self._timeout = timeout
        self._needed = engine.dialect.name == 'postgresql'
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        if self._needed:
            sa.event.listen(engine, 'connect', self._add)

    @contextlib.contextmanager
    def limited(self) -> Iterator[None]:
        """Cut if the block takes longer than the timeout."""
        if not self._needed:
            yield
            return
        timer = threading.Timer(self._timeout, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _add(self, connection: Any, _: object) -> None:
        self._open.add(connection)

    def _cut(self) -> None:
        for connection in list(self._open):
            # It may be closed by now, with an error of its driver's
            with contextlib.suppress(Exception):
                with socket.socket(fileno=os.dup(connection.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)


def _engine(url: sa.URL, timeout: float) -> sa.Engine:
    """A lazy engine whose every wait ends."""
    numbers = {'s': math.ceil(timeout), 'ms': math.ceil(timeout * 1000)}
    for parameter in _URL.get(url.get_driver_name(), ()):
        name, _, value = parameter.format(**numbers).partition('=')
        if name not in url.query:
            url = url.update_query_dict({name: value})
    kind = url.get_backend_name()
    pool = {} if kind == 'sqlite' else {'pool_timeout': numbers['s']}
    engine: sa.Engine = engines.create_engine(
        url, mysql_sql_mode='TRADITIONAL', max_retries=0, **pool
    )
    told = [text.format(**numbers) for text in _SESSION.get(kind, ())]

    @sa.event.listens_for(engine, 'connect')
    def tell(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for statement in told:
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    return engine


def _is_about_tables(exc: Exception) -> bool:
    inner = getattr(exc, 'inner_exception', exc)
    return isinstance(exc, db_exc.DBNonExistentTable) or isinstance(
        inner, sa.exc.ProgrammingError
    )


def _why(exc: Exception) -> str:
    """The kind of an error, with what is sure to be no secret of it."""
    inner = getattr(exc, 'inner_exception', None) or exc
    original = getattr(inner, 'orig', None) or inner
    kind = type(original).__name__
    if type(original).__module__ == 'sqlite3':
        return str(original)
    number = original.args[0] if original.args else None
    return f'{kind} {number}' if isinstance(number, int) else kind
