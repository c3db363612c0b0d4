# SPDX-License-Identifier: Apache-2.0
"""Servers that the tests of a process share, and databases made in advance."""

from __future__ import annotations

import atexit
import functools
import uuid
from typing import TypeVar

import sqlalchemy as sa

from korora_nova.verifier.db import migration, models
from tests.support import mariadb, postgresql

Server = mariadb.MariaDb | postgresql.PostgreSql
S = TypeVar('S', mariadb.MariaDb, postgresql.PostgreSql)


@functools.cache
def shared(kind: type[S]) -> S:
    """The one server of this kind, until the process ends.

    It starts for seconds. Who stops or hinders a server has one of his own.
    """
    server = kind()
    server.setUp()
    atexit.register(server.cleanUp)
    return server


def migrated(server: Server) -> str:
    """URL of a new database, as :func:`migration.upgrade` makes it.

    Alembic takes seconds, so it works once for each server; what its steps
    make of an empty database is copied.
    """
    url = server.copy(_template(server))
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.update(models.Ledger).values(incarnation=str(uuid.uuid4()))
        )
    return url


@functools.cache
def _template(server: Server) -> str:
    """The name of a database that nobody uses."""
    url = server.database()
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    migration.upgrade(engine)
    name = engine.url.database
    assert name is not None
    return name
