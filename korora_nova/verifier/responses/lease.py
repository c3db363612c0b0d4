# SPDX-License-Identifier: Apache-2.0
"""Who leads: one process for some seconds, by the clock of the database.

A leader that was too slow may still think that it leads. What it writes is
refused, by its term; what it does elsewhere it stops before its time is over,
by a clock of its own that does not go back. That is less than certain if the
database's clock jumps, so all that is done elsewhere can be done twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.verifier.db import api, models

#: The database's clock, read in a transaction: seconds since 1970.
Now = Callable[[orm.Session], float]

_NOW = {
    # Not UNIX_TIMESTAMP(NOW(6)): one hour of each autumn is there twice.
    'mysql': "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', "
    'UTC_TIMESTAMP(6)) / 1000000',
    'postgresql': 'SELECT extract(epoch from clock_timestamp())',
    'sqlite': "SELECT (julianday('now') - 2440587.5) * 86400.0",
}


def database_time(session: orm.Session) -> float:
    """See :data:`Now`."""
    return float(
        session.execute(
            sa.text(_NOW[session.get_bind().dialect.name])
        ).scalar_one()
    )


class NotLeader(Exception):
    """Another process leads, or may."""


@dataclasses.dataclass
class Lease:
    """The right to respond, of one process.

    :param holder: names this process; no other one has this name.
    :param seconds: for which it is taken.
    :ivar term: of this process's leadership; None: it does not lead.
    """

    db: api.Database
    holder: str
    seconds: float
    now: Now = database_time
    steady: Callable[[], float] = time.monotonic
    term: int | None = None
    _until: float = 0.0

    def take(self) -> bool:
        """Lead, or go on to; False: another process does.

        :raises Unavailable: DATABASE_UNAVAILABLE.
        """
        asked = self.steady()
        self.term = self._take()
        if self.term is not None:
            # Counted from before: the database counts from later on.
            self._until = asked + self.seconds
        return self.term is not None

    @api.retried
    def _take(self) -> int | None:
        with self.db.write() as session:
            row, now = locked(session), self.now(session)
            ours = row.holder == self.holder and row.term == self.term
            # One that ends later than any can was taken before the clock
            # went back.
            free = not now < row.until <= now + 2 * self.seconds
            if not (ours or free):
                return None
            if not ours:
                row.holder, row.term = self.holder, row.term + 1
            row.until = now + self.seconds
            return row.term

    def give_up(self) -> None:
        """Let another process lead at once."""
        if self.term is not None:
            with (
                contextlib.suppress(NotLeader),
                self.transaction() as (_, row),
            ):
                row.until = 0.0
            self.term = None

    def left(self) -> float:
        """Seconds for which nobody else leads."""
        return 0.0 if self.term is None else self._until - self.steady()

    def require(self, seconds: float) -> None:
        """Insist on leading, still and for so long; renews if need be.

        :raises NotLeader: another process leads, or has led meanwhile.
        :raises Unavailable: DATABASE_UNAVAILABLE.
        """
        term = self.term
        if self.left() < seconds:
            self.take()
        if term is None or self.term != term or self.left() < seconds:
            raise NotLeader

    @contextlib.contextmanager
    def transaction(
        self,
    ) -> Iterator[tuple[orm.Session, models.ResponseLease]]:
        """Write as the leader: nobody else does meanwhile.

        :raises NotLeader: another process leads.
        """
        with self.db.write() as session:
            row = locked(session)
            # A restored database may have the same term for another one.
            if (row.holder, row.term) != (self.holder, self.term):
                self.term = None
                raise NotLeader
            yield session, row


def locked(session: orm.Session) -> models.ResponseLease:
    """The row, until the transaction ends.

    Operators' orders take it, too: none comes between a leader's look and
    what follows from it. It is written each time, for Galera: its nodes know
    nothing of each other's locks, and compare what was written.
    """
    api.wait_for_replication(session)
    row = session.scalars(
        sa.select(models.ResponseLease)
        .where(models.ResponseLease.id == 1)
        .with_for_update()
    ).one()
    row.version += 1
    return row
