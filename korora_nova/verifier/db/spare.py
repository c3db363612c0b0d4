# SPDX-License-Identifier: Apache-2.0
"""Round trips to a database that say nothing, and are left out."""

from __future__ import annotations

import time
import weakref
from typing import Any

import sqlalchemy as sa

#: Seconds for which a connection that was used is taken to be there.
ALIVE = 1.0
#: Of a connection: it ran a statement since it committed.
_BUSY = 'korora_busy'


def pings(engine: sa.Engine) -> None:
    """Do not ask for a sign of life where there was one a moment ago.

    Of a database that went away the next statement tells; then the pool
    drops all its connections, also those that would not be asked.
    """
    dialect: Any = engine.dialect
    if dialect.name == 'sqlite':
        return
    ping = dialect.do_ping
    seen: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()

    @sa.event.listens_for(engine, 'checkin')
    def _(connection: Any, record: object) -> None:
        if connection is not None:
            seen[connection] = time.monotonic()

    def do_ping(connection: Any) -> Any:
        if time.monotonic() - seen.get(connection, -ALIVE) < ALIVE:
            return True
        return ping(connection)

    dialect.do_ping = do_ping


def rollbacks(engine: sa.Engine) -> None:
    """Roll nothing back on a connection that did nothing since its last end.

    The pool does so with each that it gets back; drivers of PostgreSQL and
    SQLite know that there is nothing, those of MySQL ask their server.
    """
    dialect: Any = engine.dialect
    if dialect.name != 'mysql':
        return
    commit, rollback = dialect.do_commit, dialect.do_rollback

    @sa.event.listens_for(engine, 'before_cursor_execute')
    def _(connection: sa.Connection, *_: object) -> None:
        connection.info[_BUSY] = True

    def do_commit(connection: Any) -> None:
        commit(connection)
        _info(connection)[_BUSY] = False

    def do_rollback(connection: Any) -> None:
        # What has no such mark is not the pool's, and in doubt.
        if _info(connection).get(_BUSY, True):
            rollback(connection)

    dialect.do_commit, dialect.do_rollback = do_commit, do_rollback


def _info(connection: Any) -> Any:
    """What is noted with a connection of the pool; of others nothing is."""
    try:
        return connection.info
    except (AttributeError, NotImplementedError):
        return {}
