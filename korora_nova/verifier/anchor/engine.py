# SPDX-License-Identifier: Apache-2.0
"""Connections to a database whose every wait ends."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import engines

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
ERRORS = (db_exc.DBError, sa.exc.SQLAlchemyError, NotImplementedError)


class Watch:
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


def make(url: sa.URL, timeout: float) -> sa.Engine:
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


def is_about_tables(exc: Exception) -> bool:
    inner = getattr(exc, 'inner_exception', exc)
    return isinstance(exc, db_exc.DBNonExistentTable) or isinstance(
        inner, sa.exc.ProgrammingError
    )


def why(exc: Exception) -> str:
    """The kind of an error, with what is sure to be no secret of it."""
    inner = getattr(exc, 'inner_exception', None) or exc
    original = getattr(inner, 'orig', None) or inner
    kind = type(original).__name__
    if type(original).__module__ == 'sqlite3':
        return str(original)
    number = original.args[0] if original.args else None
    return f'{kind} {number}' if isinstance(number, int) else kind
