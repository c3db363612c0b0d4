# SPDX-License-Identifier: Apache-2.0
"""A host's measurement list, kept in the segments in which it was sent.

Incremental evidence adds one.  When there are many, neighbours are made one,
but none that is larger than a part of an upload.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats import evidence
from korora_nova.verifier.appraisal import packed
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

#: Rows of one host above which its small segments are made one.
MAX_ROWS = 64

#: What was judged, or what is still to be.
Table: TypeAlias = type[models.MeasurementSegment | models.ListUploadPart]


def store(
    session: orm.Session,
    host: str,
    start: int,
    content: bytes,
    *,
    end: int | None = None,
    table: Table = models.MeasurementSegment,
) -> None:
    """Add a segment in the place of whatever begins there or later.

    :param content: compressed.
    :param end: what begins there or later stays.
    """
    replaced = [table.host == host, table.start >= start]
    if end is not None:
        replaced.append(table.start < end)
    session.execute(sa.delete(table).where(*replaced))
    for number, part in enumerate(packed.split(content)):
        session.add(table(host=host, start=start, part=number, content=part))
        session.flush()


def starts(
    session: orm.Session, host: str, table: Table = models.MeasurementSegment
) -> list[int]:
    """Where segments start, in their order.

    Each ends where the next begins, even if it reached further: evidence
    may go on from any state that is remembered.
    """
    found = session.scalars(
        sa.select(table.start)
        .where(table.host == host)
        .distinct()
        .order_by(table.start)
    )
    return [int(start) for start in found]


def content(
    session: orm.Session,
    host: str,
    start: int,
    table: Table = models.MeasurementSegment,
) -> bytes:
    """One segment, with what reaches into the next.

    :raises Conflict: IMA_CONTINUITY, it is not there (any more).
    """
    parts = session.scalars(
        sa.select(table.content)
        .where(table.host == host, table.start == start)
        .order_by(table.part)
    )
    try:
        return zlib.decompress(b''.join(parts))
    except zlib.error:
        raise errors.Conflict(errors.Reason.IMA_CONTINUITY) from None


def between(
    service: Service,
    host: str,
    start: int,
    end: int,
    table: Table = models.MeasurementSegment,
) -> Iterator[bytes]:
    """The list from an offset up to another, a segment at a time.

    Each has a transaction of its own: what reads it takes its time. Whether
    they belong together shows when they lead to a quoted PCR.
    """
    with service.db.read() as session:
        places = starts(session, host, table)
    for place, following in itertools.pairwise([*places, end]):
        stop = min(following, end)
        if max(place, start) < stop:
            with service.db.read() as session:
                found = content(session, host, place, table)
            yield found[max(start - place, 0) : stop - place]


def tail(service: Service, host: str, end: int, size: int) -> bytes:
    """The last bytes of the list before an offset.

    :raises Conflict: IMA_CONTINUITY, they are not there (any more).
    """
    found = b''
    with service.db.read() as session:
        for place in reversed(starts(session, host)):
            if place < end and len(found) < size:
                found = content(session, host, place)[: end - place] + found
                end = place
    return found[-size:]


def read(session: orm.Session, host: str, end: int) -> Iterator[bytes]:
    """What was judged, up to an offset, as it is in one transaction."""
    for place, following in itertools.pairwise([*starts(session, host), end]):
        stop = min(following, end)
        if place < stop:
            yield content(session, host, place)[: stop - place]


def compact(service: Service, host: str) -> None:
    """Make one of many small segments."""
    table = models.MeasurementSegment
    with service.db.read() as session:
        count = session.scalar(
            sa.select(sa.func.count())
            .select_from(table)
            .where(table.host == host)
        )
        if not count or count <= MAX_ROWS:
            return
        if not _neighbours(starts(session, host)):
            return
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
        places = starts(session, host)
        for group in _neighbours(places):
            end = places[places.index(group[-1]) + 1]
            whole = b''.join(
                content(session, host, place)[: following - place]
                for place, following in itertools.pairwise([*group, end])
            )
            store(session, host, group[0], packed.compress(whole), end=end)


def _neighbours(places: list[int]) -> list[list[int]]:
    """Segments that may be made one: not the last, whose end is not known."""
    groups: list[list[int]] = [[]]
    for place, following in itertools.pairwise(places):
        if groups[-1] and following - groups[-1][0] > evidence.MAX_IMA_LOG:
            groups.append([])
        groups[-1].append(place)
    return [group for group in groups if len(group) > 1]


def delete(session: orm.Session, host: str) -> None:
    """Forget a host's list."""
    table = models.MeasurementSegment
    session.execute(sa.delete(table).where(table.host == host))
