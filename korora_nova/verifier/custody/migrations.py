# SPDX-License-Identifier: Apache-2.0
"""Hand-overs: their rows, and how readers see them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import decision, words
from korora_nova.custody.receipt import Receipt
from korora_nova.custody.words import MigrationState, Role
from korora_nova.verifier import paging
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import documents, ledger, reports
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

#: States in which a permit was signed and nothing is decided.
OPEN = words.OPEN
DECIDED = (MigrationState.COMMITTED, MigrationState.ABORTED)

_R = errors.Reason
#: A hand-over as readers see it.
_View = dict[str, object]
# What a compare-and-swap compares: all that the protocol changes.
_COMPARED = (
    'status',
    'permit_hash',
    'start_hash',
    'key',
    'source_word',
    'dest_word',
    'contradicted_at',
    'updated_at',
)
_TABLE = models.table(models.Migration)
_INSTANCE = sa.select(_TABLE.c.instance).where(
    _TABLE.c.id == sa.bindparam('of')
)
_CHANGE = sa.update(_TABLE).where(
    _TABLE.c.id == sa.bindparam('of'),
    *(
        _TABLE.c[name].is_not_distinct_from(sa.bindparam(f'at_{name}'))
        for name in _COMPARED
    ),
)


def get(session: orm.Session, migration: str) -> models.Migration:
    """One hand-over.

    :raises NotFound: MIGRATION_UNKNOWN.
    """
    row = session.get(models.Migration, migration)
    if row is None:
        raise errors.NotFound(_R.MIGRATION_UNKNOWN)
    return row


def instance_of(service: Service, migration: str) -> str:
    """The server that a hand-over is about.

    :raises NotFound: MIGRATION_UNKNOWN.
    """
    found = service.db.look(_INSTANCE, {'of': migration})
    if found is None:
        raise errors.NotFound(_R.MIGRATION_UNKNOWN)
    return str(found.instance)


def change(
    service: Service,
    session: orm.Session,
    row: models.Migration,
    **values: object,
) -> None:
    """Change a hand-over that is as it was read.

    :raises Lost: it is not any more.
    """
    api.swap_to(
        session,
        _CHANGE,
        {
            'of': row.id,
            **{f'at_{name}': getattr(row, name) for name in _COMPARED},
        },
        {'updated_at': service.clock(), **values},
    )


def role_of(attested: Attested, row: models.Migration) -> Role:
    """Which end speaks: by name and by attestation key.

    :raises Forbidden: STATEMENT_NOT_ALLOWED, neither.
    """
    speaker = attested.host, attested.ak_name
    if speaker == (row.source, row.ak_source or attested.ak_name):
        return Role.SOURCE
    if speaker == (row.dest, row.ak_dest):
        return Role.DEST
    raise errors.Forbidden(_R.STATEMENT_NOT_ALLOWED)


def spent(row: models.Migration) -> errors.Conflict:
    """The error that a hand-over is past this step."""
    return errors.Conflict(
        _R.MIGRATION_SPENT, details={'status': str(row.status)}
    )


@dataclasses.dataclass(frozen=True)
class Query:
    """Which hand-overs to list; '' for any.

    :param host: either end.
    :param status: as readers are told it.
    :param marker: begin behind this one, which is newer.
    """

    instance: str = ''
    host: str = ''
    status: str = ''
    kind: str = ''
    limit: int = paging.LIMIT
    marker: str = ''


def list_migrations(service: Service, query: Query) -> paging.Page[_View]:
    """Hand-overs, newest first.

    :raises Invalid: MARKER_UNKNOWN.
    :raises Conflict, Unavailable: as :func:`show`.
    """
    table, document = models.Migration, models.Document
    now = service.clock()
    wanted = _chosen(query, now).order_by(table.created_at.desc(), table.id)
    with service.db.read() as session:
        if query.marker:
            wanted = wanted.where(_behind(session, query.marker))
        page = paging.Page.of(
            session.scalars(wanted.limit(paging.one_more(query.limit))).all(),
            query.limit,
            lambda row: row.id,
        )
        rows = page.items
        found = session.execute(
            sa.select(document.subject, document.token)
            .where(
                document.subject.in_([row.id for row in rows]),
                document.kind == Receipt.KIND.typ,
            )
            .order_by(document.version)
        )
        receipts: dict[str, str] = {subject: token for subject, token in found}
        listed = [_view(row, receipts.get(row.id), now) for row in rows]
        of, heads = _heads(session, listed)
    return paging.Page(_told(service, listed, of, heads), page.next)


def _chosen(query: Query, now: float) -> sa.Select[tuple[models.Migration]]:
    table = models.Migration
    wanted = sa.select(table)
    if query.instance:
        wanted = wanted.where(table.instance == query.instance)
    if query.host:
        wanted = wanted.where(
            sa.or_(table.source == query.host, table.dest == query.host)
        )
    if query.kind:
        wanted = wanted.where(table.kind == query.kind)
    if query.status:
        wanted = wanted.where(_is_shown(query.status, now))
    return wanted


def _is_shown(status: str, now: float) -> sa.ColumnElement[bool]:
    """The rows of which :func:`.decision.shown_state` says this."""
    table = models.Migration
    disputed = sa.and_(
        table.contradicted_at.is_not(None),
        table.contradicted_at <= now - decision.PATIENCE,
    )
    if status == MigrationState.DISPUTED:
        return disputed
    return sa.and_(table.status == status, sa.not_(disputed))


def _behind(session: orm.Session, marker: str) -> sa.ColumnElement[bool]:
    """The rows that come after this one in a list.

    :raises Invalid: MARKER_UNKNOWN.
    """
    table = models.Migration
    last = session.get(table, marker)
    if last is None:
        raise paging.gone(marker)
    return sa.or_(
        table.created_at < last.created_at,
        sa.and_(table.created_at == last.created_at, table.id > last.id),
    )


def show(
    service: Service, migration: str, *, documented: bool = False
) -> dict[str, object]:
    """One hand-over; what is signed of it only if it may be told.

    :param documented: with its ``documents``, by version.
    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Conflict: ANCHOR_MISSING.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """
    with service.db.read() as session:
        shown = view(session, get(session, migration), service.clock())
        if documented:
            found = documents.of_migration(service, session, migration)
            shown['documents'] = [one.token for one in found]
        of, heads = _heads(session, [shown])
    (told,) = _told(service, [shown], of, heads)
    return told


def _heads(
    session: orm.Session, shown: Sequence[_View]
) -> tuple[str, ledger.Rows]:
    """Incarnation, and rows on which documents rest, read after them."""
    signed = {
        str(one['instance'])
        for one in shown
        if one['receipt'] or one.get('documents')
    }
    return ledger.incarnation(session), ledger.load_all(
        session, sorted(signed)
    )


def _told(
    service: Service, shown: Sequence[_View], of: str, heads: ledger.Rows
) -> list[_View]:
    """Hand-overs without what is signed and the anchor does not know.

    Hosts act on a receipt, wherever they have it from.
    """
    told = {row.instance for row in reports.tellable(service, of, heads)}
    return [
        one if one['instance'] in told else {**one, **_untold(one)}
        for one in shown
    ]


def _untold(one: _View) -> _View:
    hidden: _View = {'receipt': None}
    return {**hidden, 'documents': []} if 'documents' in one else hidden


def view(
    session: orm.Session, row: models.Migration, now: float
) -> dict[str, object]:
    """A hand-over as readers see it at a time."""
    return _view(row, documents.receipt_of(session, row.id), now)


def _view(
    row: models.Migration, receipt: str | None, now: float
) -> dict[str, object]:
    return {
        'id': row.id,
        'instance': row.instance,
        'source': row.source,
        'dest': row.dest,
        'kind': row.kind,
        'status': decision.shown_state(
            MigrationState(row.status), row.contradicted_at, now
        ),
        'epoch': row.new_epoch,
        'source_word': row.source_word,
        'dest_word': row.dest_word,
        'receipt': receipt,
        'taint': list(row.taint),
        'created_at': row.created_at,
        'updated_at': row.updated_at,
    }
