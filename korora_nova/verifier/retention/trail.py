# SPDX-License-Identifier: Apache-2.0
"""Rows of the audit table, some at a time, from the oldest one on."""

from __future__ import annotations

import pathlib

import sqlalchemy as sa

from korora_nova.verifier.db import api, models
from korora_nova.verifier.retention import archives

_AUDIT = models.table(models.Audit)


def count(db: api.Database, before: float) -> int:
    """Rows that :func:`archive` would take.

    :param before: seconds since 1970.
    """
    with db.read() as session:
        return (
            session.scalar(
                sa.select(sa.func.count()).where(_AUDIT.c.at < before)
            )
            or 0
        )


@api.retried
def archive(
    db: api.Database,
    directory: pathlib.Path,
    before: float,
    most: int,
    now: float,
) -> int:
    """Write some rows to a file, and delete them; returns how many.

    :raises OSError: nothing is deleted.
    :raises Lost: somebody else deleted some of them, too often.
    """
    with db.read() as session:
        rows = session.execute(
            sa.select(_AUDIT)
            .where(_AUDIT.c.at < before)
            .order_by(_AUDIT.c.id)
            .limit(most)
        ).all()
    if not rows:
        return 0
    digest = archives.write(
        directory, archives.AUDIT, (row._asdict() for row in rows)
    )
    numbers = [row.id for row in rows]
    with db.write() as session:
        found = session.execute(
            sa.delete(_AUDIT).where(_AUDIT.c.id.in_(numbers))
        )
        if found.rowcount != len(rows):  # type: ignore[attr-defined]
            raise api.Lost()
        archives.note(
            session,
            kind=archives.AUDIT,
            digest=digest,
            rows=len(rows),
            first=numbers[0],
            last=numbers[-1],
            head='',
            at=now,
        )
    return len(rows)
