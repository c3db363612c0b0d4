# SPDX-License-Identifier: Apache-2.0
"""Documents and hand-overs that are over.

1. The log of documents is archived from its beginning, place by place: a
   file has all that were signed, and the log's head after them.
2. Of what is in an archive, the database keeps what something rests on: of
   each server the newest document, the hand-over that it is about, and
   whatever follows the oldest document that is kept.

A hand-over is over if it is decided, both of its ends have said their last
word, and the server has a later document: no word counts any more, and both
ends have its receipt.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.verifier.custody import log, migrations
from korora_nova.verifier.db import api, models
from korora_nova.verifier.retention import archives

_DOCUMENTS = models.table(models.Document)
_SERVERS = models.table(models.Server)
_MOVES = models.table(models.Migration)


@api.retried
def archive(
    db: api.Database,
    directory: pathlib.Path,
    before: float,
    most: int,
    now: float,
) -> int:
    """Write the next part of the log to a file; returns its documents.

    Nothing is deleted by it.

    :param before: of this time; the first younger one ends it.
    :raises OSError: there is none.
    """
    rows, head, begin = _next(db, before, most)
    if not rows:
        return 0
    digest = archives.write(
        directory, archives.DOCUMENTS, (row._asdict() for row in rows)
    )
    for row in rows:
        head = log.next_head(head, row.hash)
    with db.write() as session:
        if _archived(session) != begin:
            raise api.Lost()
        archives.note(
            session,
            kind=archives.DOCUMENTS,
            digest=digest,
            rows=len(rows),
            first=rows[0].seq,
            last=rows[-1].seq,
            head=head,
            at=now,
        )
    return len(rows)


def _next(
    db: api.Database, before: float, most: int
) -> tuple[Sequence[sa.Row[Any]], str, int]:
    """Documents behind the last archive; its head, and its place."""
    with db.read() as session:
        begin, head = log.begins(session)
        rows = session.execute(
            sa.select(_DOCUMENTS)
            .where(_DOCUMENTS.c.seq > begin)
            .order_by(_DOCUMENTS.c.seq)
            .limit(most)
        ).all()
    due = []
    for row in rows:
        if row.stored_at >= before:
            break
        due.append(row)
    return due, head, begin


def _archived(session: orm.Session) -> int:
    return log.begins(session)[0]


def servers(db: api.Database, after: str, most: int) -> Sequence[str]:
    """Servers with documents in an archive, by their uuids."""
    with db.read() as session:
        return session.scalars(
            sa.select(_DOCUMENTS.c.instance)
            .where(
                _DOCUMENTS.c.seq <= _archived(session),
                _DOCUMENTS.c.instance > after,
            )
            .group_by(_DOCUMENTS.c.instance)
            .order_by(_DOCUMENTS.c.instance)
            .limit(most)
        ).all()


@api.retried
def delete(
    db: api.Database, instance: str, before: float, *, dry_run: bool = False
) -> tuple[int, int]:
    """Delete what is over of a server.

    :returns: documents and hand-overs.
    """
    with db.write() as session:
        documents, moves = _over(session, instance, before)
        if documents and not dry_run:
            _delete(session, documents, moves)
    return len(documents), len(moves)


def _delete(
    session: orm.Session, documents: Sequence[str], moves: Sequence[str]
) -> None:
    for key, found in (
        (_DOCUMENTS.c.hash, documents),
        (_MOVES.c.id, moves),
    ):
        if found:
            session.execute(sa.delete(key.table).where(key.in_(found)))


def _over(
    session: orm.Session, instance: str, before: float
) -> tuple[list[str], list[str]]:
    """Digests of documents, and hand-overs, on which nothing rests."""
    # The server changes after this, or has changed.
    newest = session.execute(
        sa.select(_SERVERS.c.head, _SERVERS.c.pending, _SERVERS.c.disputed)
        .where(_SERVERS.c.instance == instance)
        .with_for_update()
    ).one_or_none()
    rows = session.execute(
        sa.select(
            _DOCUMENTS.c.hash,
            _DOCUMENTS.c.seq,
            _DOCUMENTS.c.subject,
            _DOCUMENTS.c.stored_at,
        )
        .where(_DOCUMENTS.c.instance == instance)
        .order_by(_DOCUMENTS.c.version)
    ).all()
    if newest is None or not rows:
        return [], []
    needed = {newest.pending, newest.disputed}
    needed |= {row.subject for row in rows if row.hash == newest.head}
    needed -= {'', None}
    ended, archived = _ended(session, instance, before), _archived(session)
    over = []
    for row in rows:
        if (
            row.hash == newest.head
            or row.seq is None
            or row.seq > archived
            or row.stored_at >= before
            or row.subject in needed
            or (row.subject and row.subject not in ended)
        ):
            break
        over.append(row)
    left = {row.subject for row in rows[len(over) :]}
    gone = {row.subject for row in over} - left - {''}
    return [row.hash for row in over], sorted(gone)


def _ended(session: orm.Session, instance: str, before: float) -> set[str]:
    """Hand-overs of a server after which nobody has anything to say."""
    return set(
        session.scalars(
            sa.select(_MOVES.c.id).where(
                _MOVES.c.instance == instance,
                _MOVES.c.status.in_(migrations.DECIDED),
                _MOVES.c.source_word.is_not(None),
                _MOVES.c.dest_word.is_not(None),
                _MOVES.c.contradicted_at.is_(None),
                _MOVES.c.updated_at < before,
            )
        )
    )
