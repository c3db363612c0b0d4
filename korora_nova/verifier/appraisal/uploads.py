# SPDX-License-Identifier: Apache-2.0
"""Measurement lists that are longer than one request: they come in parts.

- A part is authentic: the host's TPM signed its digest and place over a
  challenge.  That says nothing of what is in it, and nothing is read in it
  until evidence goes on from its end: then all of it must lead to the quoted
  PCR, or counts for nothing.
- A part follows what there is, or is in the place of a part that differs
  from it.  One that is there already changes nothing: so an agent that lost
  the answer, or its memory, finds out how far it is.
- A host has one upload, of one boot, of bounded size; it is forgotten when
  nothing comes for a while.
"""

from __future__ import annotations

import dataclasses
import itertools
import uuid
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors, faultpoints
from korora_nova.rats import evidence
from korora_nova.verifier.appraisal import packed, segments
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

#: Seconds after its last part for which an upload is kept.
LIFE = 3600.0

_PARTS = models.ListUploadPart
_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Upload:
    """An upload as it is now.

    :param base: where it begins in the list; ``upto``: where it ends.
    """

    base: int
    upto: int
    reset_count: int
    version: str


def find(service: Service, host: str) -> Upload | None:
    """The upload of a host, unless it is too old."""
    with service.db.read() as session:
        row = session.get(models.ListUpload, host)
    if row is None or row.updated_at < service.clock() - LIFE:
        return None
    return Upload(row.base, row.upto, row.reset_count, row.version)


@api.retried
def take(
    service: Service,
    host: str,
    reset_count: int,
    start: int,
    content: bytes,
    known: Collection[int] = (),
) -> int:
    """Keep a part; returns where the next one begins.

    :param known: where evidence may go on, besides the beginning.
    :raises Conflict: IMA_CONTINUITY, something before it is missing;
        ``details`` has ``upto``, where to go on.
    :raises TooLarge: TOO_LARGE, so much is not kept of one host.
    """
    if start + len(content) > evidence.MAX_IMA_OFFSET:
        raise errors.TooLarge(
            _R.TOO_LARGE,
            'The IMA measurement list is longer than '
            f'{evidence.MAX_IMA_OFFSET} bytes; reboot the host.',
        )
    with faultpoints.step('v.part'), service.db.write() as session:
        _forget_old(service, session)
        # The parts of one host come one after the other.
        session.get(models.Host, host, with_for_update=True)
        row = session.get(models.ListUpload, host)
        if row is None or row.reset_count != reset_count or start < row.base:
            if start and start not in known:
                raise _missing(0)
            delete(session, host)
            row = models.ListUpload(
                host=host,
                reset_count=reset_count,
                base=start,
                upto=start,
                version='',
            )
            session.add(row)
        if start > row.upto:
            raise _missing(row.upto)
        row.updated_at = service.clock()
        if start < row.upto and _same(session, host, start, content):
            return row.upto
        segments.store(
            session, host, start, packed.compress(content), table=_PARTS
        )
        row.upto, row.version = start + len(content), str(uuid.uuid4())
        return row.upto


def _missing(upto: int) -> errors.Conflict:
    return errors.Conflict(
        _R.IMA_CONTINUITY,
        f'The part does not follow what was sent before, up to {upto}.',
        details={'upto': str(upto)},
    )


def _same(session: orm.Session, host: str, start: int, content: bytes) -> bool:
    try:
        return segments.content(session, host, start, _PARTS) == content
    except errors.Conflict:
        return False


def accept(
    session: orm.Session,
    host: str,
    upload: Upload,
    base: int,
    dropped: int = 0,
) -> None:
    """Make it a part of the list that was judged.

    :param base: where it goes on from what was judged before.
    :param dropped: how much of the list precedes its own beginning.
    :raises Retry: another part came meanwhile.
    """
    found = session.execute(
        sa.delete(models.ListUpload).where(
            models.ListUpload.host == host,
            models.ListUpload.version == upload.version,
        )
    )
    if found.rowcount != 1:  # type: ignore[attr-defined]
        raise errors.Retry()
    target = models.MeasurementSegment
    session.execute(
        sa.delete(target).where(target.host == host, target.start >= base)
    )
    if dropped:
        _move(session, host, upload, base, dropped)
        return
    columns = ('host', 'start', 'part', 'content')
    session.execute(
        sa.insert(target).from_select(
            columns,
            sa.select(*(getattr(_PARTS, name) for name in columns)).where(
                _PARTS.host == host
            ),
        )
    )
    session.execute(sa.delete(_PARTS).where(_PARTS.host == host))


def _move(
    session: orm.Session, host: str, upload: Upload, base: int, dropped: int
) -> None:
    """Store what follows ``base`` in its place there."""
    places = [*segments.starts(session, host, _PARTS), upload.upto]
    for place, following in itertools.pairwise(places):
        start = max(place + dropped, base)
        if start < following + dropped:
            found = segments.content(session, host, place, _PARTS)
            part = found[start - dropped - place : following - place]
            segments.store(session, host, start, packed.compress(part))
    session.execute(sa.delete(_PARTS).where(_PARTS.host == host))


def delete(session: orm.Session, host: str) -> None:
    """Forget the upload of a host."""
    for table in (models.ListUpload, _PARTS):
        session.execute(sa.delete(table).where(table.host == host))


def _forget_old(service: Service, session: orm.Session) -> None:
    table = models.ListUpload
    old = session.scalars(
        sa.select(table.host).where(table.updated_at < service.clock() - LIFE)
    ).all()
    for host in old:
        delete(session, host)
