# SPDX-License-Identifier: Apache-2.0
"""Marks in two tables, in any database that oslo.db knows.

The mark of a server is raised by a compare-and-swap: the condition of the
UPDATE says that the stored version is lower. So it does not matter how many
processes raise at once, in which order, or whether one of them repeats itself
after its connection was lost in the middle of a transaction.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import schema

from korora_nova.verifier.anchor import base, engine

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
    sa.Column('generation', sa.BigInteger, nullable=False),
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
# Incarnation, and the marks of some servers.
_GET = (
    sa.select(LEDGER.c.incarnation, *MARKS.c)
    .select_from(
        LEDGER.outerjoin(
            MARKS,
            MARKS.c.instance.in_(sa.bindparam('instances', expanding=True)),
        )
    )
    .where(LEDGER.c.id == 1)
)
_RAISE = (
    sa.update(MARKS)
    .where(
        MARKS.c.instance == sa.bindparam('of'),
        MARKS.c.version < sa.bindparam('above'),
        sa.exists().where(
            LEDGER.c.id == 1, LEDGER.c.incarnation == sa.bindparam('ledger')
        ),
    )
    .values(version=sa.bindparam('above'), digest=sa.bindparam('head'))
)


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
        self._engine = engine.make(url, timeout)
        self._watch = engine.Watch(self._engine, timeout)

    def create(self, incarnation: str, generation: int = 0) -> None:
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
                        id=1,
                        incarnation=incarnation,
                        created_at=time.time(),
                        generation=generation,
                    )
                )

        self._repeated(attempt)

    def get(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, base.Mark]:
        """See :meth:`base.Anchor.get`."""

        def attempt() -> Mapping[str, base.Mark]:
            with self._transaction() as connection:
                rows = connection.execute(
                    _GET, {'instances': list(instances)}
                ).all()
            base.check_ledger(
                self._where, rows[0].incarnation if rows else None, incarnation
            )
            return {
                row.instance: base.Mark(row.version, row.digest)
                for row in rows
                if row.instance is not None
            }

        return self._repeated(attempt)

    def servers(
        self, incarnation: str, after: str, limit: int
    ) -> Sequence[str]:
        """See :meth:`base.Anchor.servers`."""

        def attempt() -> Sequence[str]:
            with self._transaction() as connection:
                self._check(connection, incarnation)
                return list(
                    connection.scalars(
                        sa.select(MARKS.c.instance)
                        .where(MARKS.c.instance > after)
                        .order_by(MARKS.c.instance)
                        .limit(limit)
                    )
                )

        return self._repeated(attempt)

    def rise(
        self,
        incarnation: str,
        instance: str,
        mark: base.Mark,
        generation: int | None = None,
    ) -> None:
        """See :meth:`base.Anchor.rise`.

        :param generation: to be stored with the mark.
        """

        def attempt() -> None:
            with self._transaction() as connection:
                if not self._swap(connection, incarnation, instance, mark):
                    self._check(connection, incarnation)
                    self._insert(connection, instance, mark)
                if generation is not None:
                    connection.execute(
                        sa.update(LEDGER).values(generation=generation)
                    )

        self._repeated(attempt)

    def is_made(self) -> bool:
        """Whether it has a ledger, or marks of one."""
        if self._is_empty():
            return False

        def attempt() -> bool:
            with self._transaction() as connection:
                return self._is_used(connection)

        return self._repeated(attempt)

    def generation(self, incarnation: str) -> int:
        """What was stored with the newest mark."""

        def attempt() -> int:
            with self._transaction() as connection:
                self._check(connection, incarnation)
                found: int = connection.execute(
                    sa.select(LEDGER.c.generation)
                ).scalar_one()
                return found

        return self._repeated(attempt)

    def _swap(
        self,
        connection: sa.Connection,
        incarnation: str,
        instance: str,
        mark: base.Mark,
    ) -> bool:
        # First in its transaction, so that SQLite waits for other writers
        result = connection.execute(
            _RAISE,
            {
                'of': instance,
                'ledger': incarnation,
                'above': mark.version,
                'head': mark.digest,
            },
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
        except engine.ERRORS as exc:
            if engine.is_about_tables(exc) and self._is_empty():
                raise base.missing(self._where) from None
            raise base.unavailable(self._where, engine.why(exc)) from None

    def _is_empty(self) -> bool:
        """Whether it answers, and has not all of the tables."""
        try:
            with self._watch.limited():
                found = set(sa.inspect(self._engine).get_table_names())
        except engine.ERRORS:
            return False
        return not {LEDGER.name, MARKS.name} <= found
