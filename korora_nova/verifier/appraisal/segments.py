# SPDX-License-Identifier: Apache-2.0
"""A host's measurement list, kept in the segments in which it was sent.

Incremental evidence adds one.  When there are many, all but the first are
made one.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.verifier.appraisal import packed
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

#: Rows of one host above which its segments are made one.
MAX_ROWS = 64


def store(session: orm.Session, host: str, start: int, content: bytes) -> None:
    """Add a segment in the place of whatever begins there or later.

    :param content: compressed.
    """
    table = models.MeasurementSegment
    session.execute(
        sa.delete(table).where(table.host == host, table.start >= start)
    )
    for number, part in enumerate(packed.split(content)):
        session.add(table(host=host, start=start, part=number, content=part))
        session.flush()


def read(
    session: orm.Session, host: str, after: int = -1
) -> Iterator[tuple[int, bytes]]:
    """Where segments start, and what is in them.

    Each ends where the next begins, even if it reached further: evidence
    may go on from any state that is remembered.

    :param after: only those that start after this place.
    """
    table = models.MeasurementSegment
    rows = session.execute(
        sa.select(table.start, table.content)
        .where(table.host == host, table.start > after)
        .order_by(table.start, table.part)
    )
    last: tuple[int, bytes] | None = None
    for place, parts in itertools.groupby(rows, lambda row: row.start):
        start = int(place)
        if last is not None:
            yield last[0], last[1][: start - last[0]]
        last = start, zlib.decompress(b''.join(row.content for row in parts))
    if last is not None:
        yield last


def compact(service: Service, host: str) -> None:
    """Make one of many small segments."""
    table = models.MeasurementSegment
    with service.db.read() as session:
        count = session.scalar(
            sa.select(sa.func.count())
            .select_from(table)
            .where(table.host == host)
        )
    if count and count > MAX_ROWS:
        _compact(service, host)


@api.retried
def _compact(service: Service, host: str) -> None:
    with service.db.write() as session:
        # An attestation that is being stored has to look again.
        session.execute(
            sa.update(models.Host)
            .where(models.Host.name == host)
            .values(version=models.Host.version + 1)
        )
        later = dict(read(session, host, after=0))
        if later:
            content = packed.compress(b''.join(later.values()))
            store(session, host, min(later), content)


def delete(session: orm.Session, host: str) -> None:
    """Forget a host's list."""
    table = models.MeasurementSegment
    session.execute(sa.delete(table).where(table.host == host))
