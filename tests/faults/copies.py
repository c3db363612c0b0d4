# SPDX-License-Identifier: Apache-2.0
"""Copies of the service's database, as an operator's backups."""

from __future__ import annotations

import pathlib
import pickle
import re
import shutil
import threading
from typing import Any

import sqlalchemy as sa

#: Transactions that do not change custody: they are not counted.
NOT_CUSTODY = re.compile(r'v\.(challenge|enrol|part|result|repeat|anchor)')
#: Which release the tables are of does not change.
_NOT_COPIED = 'alembic_version'

Rows = dict[str, list[dict[str, Any]]]


class Copies:
    """Takes a copy before each transaction that changes custody.

    :param directory: of the copies, which other processes read.
    """

    def __init__(self, engine: sa.Engine, directory: pathlib.Path) -> None:
        self._engine = engine
        self._directory = directory
        self._lock = threading.Lock()

    def clear(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)

    def take(self, name: str) -> None:
        """What is committed now, before the transaction ``name`` is."""
        if not name.startswith('v.') or NOT_CUSTODY.match(name):
            return
        with self._lock:
            number = len(taken(self._directory))
            path = self._directory / f'{number:06d}'
            path.write_bytes(pickle.dumps(read(self._engine)))


def taken(directory: pathlib.Path) -> list[pathlib.Path]:
    """The copies, the oldest first."""
    return sorted(directory.glob('[0-9]*'))


def read(engine: sa.Engine) -> Rows:
    """All rows of all tables."""
    with engine.connect() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(sa.select(table)).mappings()
            ]
            for table in _tables(engine)
        }


def restore(engine: sa.Engine, rows: Rows) -> None:
    """Let a database hold these rows, and no others."""
    tables = _tables(engine)
    with engine.begin() as connection:
        for table in reversed(tables):
            connection.execute(sa.delete(table))
        for table in tables:
            if rows[table.name]:
                connection.execute(sa.insert(table), rows[table.name])


def _tables(engine: sa.Engine) -> list[sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(engine)
    return [
        table for table in metadata.sorted_tables if table.name != _NOT_COPIED
    ]
