# SPDX-License-Identifier: Apache-2.0
"""Numbers of changes, for readers who ask what is new.

Whoever changes what is said of a host marks its row, and waits for nobody.
The marked rows get their number when somebody asks for changes: in a
transaction of its own, which holds the counter's row until it ends. So numbers
become visible in their order, and a reader that has read up to one misses none
before it.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.verifier.db import api, models

#: In the place of a number: the row has changed, and has none yet.
CHANGED = 0
#: Rows that get one number. The fewer numbers a look takes, the younger a copy
#: of the database can be that readers tell from it once it is restored.
BATCH = 10_000

_COUNTER = 'results'


def give(db: api.Database) -> None:
    """Give all rows a number that were marked before this call.

    Rows that another transaction has locked are left for the next time.

    :raises Lost: other workers were faster, too often.
    """
    while _give(db):
        pass


@api.retried
def _give(db: api.Database) -> bool:
    """One number; returns whether there may be more rows."""
    table = models.Host
    with db.write() as session:
        # Else InnoDB locks the gap into which attestations mark rows.
        api.isolate(session, 'READ COMMITTED')
        names = session.scalars(
            sa.select(table.name)
            .where(table.seq == CHANGED)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        if not names:
            return False
        session.execute(
            sa.update(table)
            .where(table.name.in_(names))
            .values(seq=take(session)),
            execution_options={'synchronize_session': False},
        )
        return len(names) == BATCH


def take(session: orm.Session) -> int:
    """The next number; its row stays locked until the transaction ends."""
    table = models.Counter
    session.execute(
        sa.update(table)
        .where(table.name == _COUNTER)
        .values(value=table.value + 1)
    )
    return last(session)


def last(session: orm.Session) -> int:
    """The newest number that a transaction sees."""
    return session.scalars(
        sa.select(models.Counter.value).where(models.Counter.name == _COUNTER)
    ).one()
