# SPDX-License-Identifier: Apache-2.0
"""What nobody asks for any more, and what a host would send again."""

from __future__ import annotations

import sqlalchemy as sa

from korora_nova.verifier import numbers, records
from korora_nova.verifier.appraisal import measurements
from korora_nova.verifier.db import api, models
from korora_nova.verifier.enrolment import CREDENTIAL_TTL

#: What is over by itself: table, column of its end, seconds after that.
_OVER = {
    'challenges': (models.table(models.Challenge), records.MEMORY),
    'enrolments': (models.table(models.Enrolment), CREDENTIAL_TTL),
}
_HOSTS = models.table(models.Host)
_MEASURED = models.table(models.Measurement)


def kinds() -> tuple[str, ...]:
    """What is over by itself, and is deleted in any case."""
    return tuple(_OVER)


def count(db: api.Database, kind: str, now: float) -> int:
    """Rows that are over."""
    table, memory = _OVER[kind]
    with db.read() as session:
        return (
            session.scalar(
                sa.select(sa.func.count()).where(
                    table.c.expires < now - memory
                )
            )
            or 0
        )


@api.retried
def delete(db: api.Database, kind: str, most: int, now: float) -> int:
    """Delete some of them; returns how many were found."""
    table, memory = _OVER[kind]
    (key,) = table.primary_key
    over = table.c.expires < now - memory
    with db.read() as session:
        found = session.scalars(sa.select(key).where(over).limit(most)).all()
    if found:
        # By key: MariaDB locks every row that it looks at.
        with db.write() as session:
            session.execute(sa.delete(table).where(key.in_(found), over))
    return len(found)


def silent(db: api.Database, before: float) -> list[str]:
    """Hosts with evidence that were not heard since."""
    with db.read() as session:
        return list(
            session.scalars(
                sa.select(_HOSTS.c.name)
                .join(_MEASURED, _MEASURED.c.host == _HOSTS.c.name)
                .where(_HOSTS.c.attested_at < before)
                .order_by(_HOSTS.c.name)
            )
        )


@api.retried
def forget(db: api.Database, host: str, before: float) -> bool:
    """Delete the evidence of a host, unless it was heard meanwhile.

    Its next evidence is asked for from the beginning.
    """
    with db.write() as session:
        # An attestation under way loses its race.
        if not api.swap(
            session,
            sa.update(_HOSTS)
            .where(_HOSTS.c.name == host, _HOSTS.c.attested_at < before)
            .values(version=_HOSTS.c.version + 1, seq=numbers.CHANGED),
        ):
            return False
        measurements.delete(session, host)
    return True
