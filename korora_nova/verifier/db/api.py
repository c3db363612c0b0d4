# SPDX-License-Identifier: Apache-2.0
"""Transactions: short, never across a network call or an appraisal."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import api as oslo_db_api
from oslo_db import exception as db_exc
from oslo_db import options
from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import orm

from korora_nova import errors, spans
from korora_nova.verifier.db import spare

P = ParamSpec('P')
T = TypeVar('T')

#: Attempts at a transaction that loses races against other workers.
ATTEMPTS = 12
#: What oslo.db does not know, or takes for something else, of a lost race.
_LOST = (
    # SQLite admits one writer.
    'database is locked',
    # PostgreSQL with an isolation above READ COMMITTED.
    'could not serialize access',
    # MariaDB with innodb_snapshot_isolation, the default since 11.6.
    'Record has changed since last read',
)


#: What oslo.db does not know of a database that is away.
_AWAY = (
    # A node that its cluster has lost, at COMMIT (1180): as after a lost
    # connection nobody knows what came of it.
    'Not connected to Primary Component',
    'during COMMIT',
)


class Lost(errors.Retry):
    """A compare-and-swap or a lock was lost; see :func:`retried`."""


@enginefacade.transaction_context_provider
class _Context:
    """enginefacade keeps the session of one transaction in here."""


class Database:
    """The database of one application; there is no global one.

    :param conf: with ``[database]`` read; see :func:`register_opts`.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        register_opts(conf)
        self._options = dict(conf.database.items())
        self._facade = self._configured()
        if spans.enabled():
            sa.event.listen(sa.Engine, 'before_cursor_execute', _count)

    def _configured(self) -> Any:
        facade = enginefacade.transaction_context()
        facade.configure(**self._options)
        if self._options['mysql_wsrep_sync_wait'] is None:
            facade.append_on_engine_create(_read_causally)
        return facade

    @functools.cached_property
    def engine(self) -> sa.Engine:
        engine: sa.Engine = self._facade.writer.get_engine()
        spare.rollbacks(engine)
        spare.pings(engine)
        return engine

    def look(
        self, statement: sa.Select[Any], values: Mapping[str, object]
    ) -> sa.Row[Any] | None:
        """Run one statement that reads at most one row, for itself.

        There is no transaction around it, so none to end.

        :raises Lost: as :func:`available`.
        :raises Unavailable: DATABASE_UNAVAILABLE.
        """
        with available(), self._looking.connect() as connection:
            return connection.execute(statement, values).one_or_none()

    def look_all(
        self, statement: sa.Select[Any], values: Mapping[str, object]
    ) -> Sequence[sa.Row[Any]]:
        """The same of any number of rows."""
        with available(), self._looking.connect() as connection:
            return connection.execute(statement, values).all()

    @functools.cached_property
    def _looking(self) -> sa.Engine:
        """Connections that commit each statement."""
        engine = self.engine
        if engine.dialect.name != 'mysql':
            return engine.execution_options(isolation_level='AUTOCOMMIT')
        # To switch there and back costs two round trips, so these stay so.
        made: sa.Engine = self._configured().writer.get_engine()

        @sa.event.listens_for(made, 'connect')
        def _(connection: Any, record: object) -> None:
            made.dialect.set_isolation_level(connection, 'AUTOCOMMIT')

        made.dispose()
        dialect: Any = made.dialect
        dialect.do_rollback = dialect.do_commit = lambda connection: None
        spare.pings(made)
        return made

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """As :meth:`write`, for statements that need no session.

        :raises Unavailable: DATABASE_UNAVAILABLE.
        """
        with available(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[orm.Session]:
        """A transaction that only reads.

        :raises Unavailable: DATABASE_UNAVAILABLE.
        """
        with available(), self._facade.reader.using(_Context()) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[orm.Session]:
        """A transaction that commits unless an exception leaves it.

        :raises Unavailable: DATABASE_UNAVAILABLE.
        """
        with available(), self._facade.writer.using(_Context()) as session:
            yield session


def _read_causally(engine: sa.Engine) -> None:
    """With Galera, read what was committed on any node before.

    A challenge, a hand-over, or a host that lost its trust may have been
    written on another node a moment ago. Whoever sets
    ``mysql_wsrep_sync_wait`` knows better.
    """
    if engine.dialect.name != 'mysql':
        return
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("SHOW VARIABLES LIKE 'wsrep_on'")
        ).first()
    if found is None or found[1] != 'ON':
        return

    def connected(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute('SET SESSION wsrep_sync_wait = 1')

    sa.event.listen(engine, 'connect', connected)
    # The connection of the question is none of these.
    engine.dispose()


def _count(*_: object) -> None:
    spans.count('sql')


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register ``[database]`` of oslo.db.

    A worker gives up on a database that is away within seconds: its
    caller would not wait for more.
    """
    conf.register_opts(options.database_opts, 'database')
    conf.set_default('max_retries', 3, 'database')
    conf.set_default('retry_interval', 1, 'database')


@contextlib.contextmanager
def available() -> Iterator[None]:
    """Lost races become Lost, a database that is away Unavailable.

    :raises Lost: repeat the transaction.
    :raises Unavailable: DATABASE_UNAVAILABLE.
    """
    try:
        yield
    except (db_exc.DBDeadlock, db_exc.RetryRequest):
        raise Lost() from None
    except (
        db_exc.DBConnectionError,
        db_exc.CantStartEngineError,
        db_exc.DBNonExistentTable,
        db_exc.DBNonExistentDatabase,
    ) as exc:
        raise _unavailable(exc) from exc
    except (db_exc.DBError, sa.exc.OperationalError) as exc:
        said = _said(exc)
        if any(text in said for text in _LOST):
            raise Lost() from None
        if any(text in said for text in _AWAY):
            raise _unavailable(exc) from exc
        raise


def _said(exc: db_exc.DBError | sa.exc.OperationalError) -> str:
    """What the driver said, without the statement and its values."""
    inner = getattr(exc, 'inner_exception', None) or exc
    return str(getattr(inner, 'orig', None) or inner)


def _unavailable(exc: Exception) -> errors.Unavailable:
    return errors.Unavailable(
        errors.Reason.DATABASE_UNAVAILABLE,
        details={'why': type(exc).__name__},
    )


def _is_lost(exc: Exception) -> bool:
    return isinstance(exc, Lost)


# Not after a lost connection: the transaction may have been committed.
_retry = oslo_db_api.wrap_db_retry(
    max_retries=ATTEMPTS - 1,
    retry_interval=0.005,
    max_retry_interval=0.06,
    jitter=True,
    exception_checker=_is_lost,
)


def retried(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function that is one transaction again when it lost a race.

    Only for functions whose whole effect is that transaction.

    :raises Lost: it lost :data:`ATTEMPTS` times.
    """
    wrapped: Callable[P, T] = _retry(function)
    return wrapped


def swap(
    session: orm.Session | sa.Connection,
    statement: sa.Update,
    values: Mapping[str, object] | None = None,
) -> bool:
    """Run a compare-and-swap: did its condition still hold?

    :param values: of its parameters.
    """
    # Not of the statement: a new one each time would be compiled each time.
    result: Any = session.execute(
        statement,
        values,
        execution_options={'synchronize_session': False},
    )
    return bool(result.rowcount == 1)


def must_swap(
    session: orm.Session | sa.Connection,
    statement: sa.Update,
    values: Mapping[str, object] | None = None,
) -> None:
    """Run a compare-and-swap that is repeated by :func:`retried`.

    :raises Lost: its condition did not hold any more.
    """
    if not swap(session, statement, values):
        raise Lost()


@functools.lru_cache(256)
def setting(
    statement: sa.Update, columns: tuple[str, ...]
) -> tuple[sa.Update, tuple[str, ...]]:
    """An UPDATE that sets columns, and the names of its parameters.

    To make one takes longer than to run it.
    """
    names = tuple(f'to_{column}' for column in columns)
    return statement.values(
        {
            column: sa.bindparam(name)
            for column, name in zip(columns, names, strict=True)
        }
    ), names


def swap_to(
    session: orm.Session | sa.Connection,
    statement: sa.Update,
    condition: Mapping[str, object],
    columns: Mapping[str, object],
) -> None:
    """Run a compare-and-swap that was made before, as :func:`must_swap`.

    :param statement: without what it sets; one of a few in the process.
    :param condition: values of its parameters.
    :param columns: what it sets.
    :raises Lost: its condition did not hold any more.
    """
    made, names = setting(statement, tuple(columns))
    values = dict(zip(names, columns.values(), strict=True))
    must_swap(session, made, {**condition, **values})


def isolate(session: orm.Session, level: str) -> None:
    """Give a transaction another isolation level before its first statement.

    SQLite's is above all of them.
    """
    if session.get_bind().dialect.name != 'sqlite':
        session.connection(execution_options={'isolation_level': level})


def wait_for_replication(session: orm.Session) -> None:
    """Let what is read next include all that was committed anywhere.

    Galera answers from the node that is asked, which may lag behind; other
    databases have nothing to wait for.

    :raises Unavailable: DATABASE_UNAVAILABLE, the node cannot catch up.
    """
    if session.get_bind().dialect.name != 'mysql':
        return
    found = session.execute(sa.text("SHOW VARIABLES LIKE 'wsrep_sync_wait'"))
    if found.first() is not None:
        session.execute(sa.text('SET SESSION wsrep_sync_wait = 1'))
