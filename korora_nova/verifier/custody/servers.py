# SPDX-License-Identifier: Apache-2.0
"""Servers as operators see them: who holds the key, and the ways out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import exits
from korora_nova.custody.exits import Part
from korora_nova.verifier.custody import (
    ends,
    issues,
    ledger,
    migrations,
    standing,
)
from korora_nova.verifier.custody.standing import Standing
from korora_nova.verifier.db import models
from korora_nova.verifier.nova_record import NovaServer
from korora_nova.verifier.service import Service

T = TypeVar('T', bound=models.Base)

#: Servers in one list, at most and by default.
LIMIT, DEFAULT = 1000, 200
#: Seconds for which one list asks Nova.
NOVA_TIME = 5.0
#: Documents of a server that are shown, the newest.
SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Query:
    """What to list.

    :param issues: only servers of which something is the matter; then
        ``limit`` is of those that are looked at, and Nova is asked, too.
    :param holder: only servers whose key this host holds.
    :param marker: begin behind this server.
    """

    issues: bool = False
    holder: str = ''
    limit: int = DEFAULT
    marker: str = ''


@dataclasses.dataclass(frozen=True)
class ServerList:
    """Some servers, by id.

    :param next: the marker of the rest; '' if there is none.
    :param nova: whether Nova was asked about them.
    """

    servers: Sequence[Mapping[str, object]]
    next: str
    nova: bool

    def to_json(self) -> dict[str, object]:
        return {
            'servers': list(self.servers),
            'next': self.next,
            'nova': self.nova,
        }


def list_servers(service: Service, query: Query) -> ServerList:
    """One page of the servers in the ledger.

    :raises Conflict: ANCHOR_MISSING.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """
    instances = _page(service, query)
    found = standing.look_all(service, instances) if instances else []
    nova = _ask_nova(service, instances) if query.issues else {}
    if nova:
        found = found[: len(nova)]
    with service.db.read() as session:
        facts = _facts(service, session, found, nova)
        listed = [_summary(one, facts) for one in found]
    cut = len(found) < len(instances) or len(instances) == query.limit
    return ServerList(
        [one for one in listed if one['issues'] or not query.issues],
        found[-1].instance if found and cut else '',
        bool(nova),
    )


def show(service: Service, instance: str) -> dict[str, object]:
    """One server, with all that an operator may want to know.

    The fields of its row are there only if it may be told.

    :raises NotFound: NOT_FOUND, it was never in custody.
    :raises Conflict: ANCHOR_MISSING.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """
    found = standing.look(service, instance)
    if found.last is None:
        raise standing.missing(instance)
    with service.db.read() as session:
        facts = _facts(service, session, [found], {})
        server = facts.servers.get(instance)
        migration = _migration(session, found)
        holder = _holder(service, session, found, server)
        return {
            **_summary(found, facts),
            'refused': _refused(found),
            'stored': found.row and found.row.to_json(),
            'anchor': found.mark and found.mark._asdict(),
            'holder_state': holder and holder.to_json(),
            'migration': migration
            and migrations.view(session, migration, facts.now),
            'ends': [
                one.to_json()
                for one in ends.both(service, session, migration, server)
            ]
            if migration is not None
            else [],
            'documents': _documents(session, instance),
            'exits': _exits(found, migration),
        }


def _summary(found: Standing, facts: issues.Facts) -> dict[str, object]:
    told = found.told
    server = facts.servers.get(found.instance)
    listed = [*issues.find(found, facts), *issues.of_nova(found, facts)]
    return {
        **(told.to_json() if told is not None else {}),
        'instance': found.instance,
        'state': found.state,
        'approval_kid': server.approval_kid if server is not None else None,
        'reported_at': server.reported_at if server is not None else None,
        'issues': [one.to_json() for one in listed],
    }


def _page(service: Service, query: Query) -> list[str]:
    """Servers of the ledger; and of the anchor, if issues are looked for.

    Of one whose only document is lost, the anchor alone knows.
    """
    known = _rows(service, query)
    if not query.issues or query.holder:
        return known
    with service.db.read() as session:
        incarnation = ledger.incarnation(session)
    marked = service.anchor.servers(incarnation, query.marker, query.limit)
    return sorted({*known, *marked})[: query.limit]


def _rows(service: Service, query: Query) -> list[str]:
    table = models.Server
    statement = sa.select(table.instance).where(table.instance > query.marker)
    if query.holder:
        statement = statement.where(table.holder == query.holder)
    with service.db.read() as session:
        return list(
            session.scalars(
                statement.order_by(table.instance).limit(query.limit)
            )
        )


def _facts(
    service: Service,
    session: orm.Session,
    found: Sequence[Standing],
    nova: Mapping[str, NovaServer | None],
) -> issues.Facts:
    rows = [one.row for one in found if one.row is not None]
    held = [row.holder for row in rows if row.holder is not None]
    under_way = [row.disputed or row.pending for row in rows]
    document, heads = models.Document, [row.head for row in rows]
    stored = session.execute(
        sa.select(document.hash, document.stored_at).where(
            document.hash.in_(heads)
        )
    )
    return issues.Facts(
        _named(session, models.Server, [row.instance for row in rows]),
        _named(session, models.Migration, [one for one in under_way if one]),
        _named(session, models.Host, held),
        {digest: stored_at for digest, stored_at in stored},
        service.signers.approval.kid,
        service.clock(),
        nova,
    )


def _named(
    session: orm.Session, table: type[T], names: Sequence[str]
) -> dict[str, T]:
    """Rows of a table by their primary key."""
    (key,) = sa.inspect(table).primary_key
    rows = session.scalars(sa.select(table).where(key.in_(names)))
    return {str(getattr(row, key.name)): row for row in rows}


def _ask_nova(
    service: Service, instances: Sequence[str]
) -> dict[str, NovaServer | None]:
    """What Nova has of servers, as many as fit into :data:`NOVA_TIME`.

    Of none, if it does not answer.
    """
    found: dict[str, NovaServer | None] = {}
    end = time.monotonic() + NOVA_TIME
    for instance in instances:
        try:
            found[instance] = service.nova.find_server(instance)
        except errors.Unavailable:
            return {}
        if time.monotonic() >= end:
            break
    return found


def _holder(
    service: Service,
    session: orm.Session,
    found: Standing,
    server: models.Server | None,
) -> ends.End | None:
    row = found.row
    if row is None or row.holder is None:
        return None
    return ends.end(service, session, ends.HOLDER, row.holder, server=server)


def _migration(
    session: orm.Session, found: Standing
) -> models.Migration | None:
    """The hand-over under way, else the last one."""
    row, table = found.row, models.Migration
    named = row and (row.disputed or row.pending)
    if named:
        return session.get(table, named)
    return session.scalars(
        sa.select(table)
        .where(table.instance == found.instance)
        .order_by(table.created_at.desc(), table.id)
        .limit(1)
    ).one_or_none()


def _documents(session: orm.Session, instance: str) -> list[dict[str, object]]:
    table = models.Document
    rows = session.scalars(
        sa.select(table)
        .where(table.instance == instance)
        .order_by(table.version.desc())
        .limit(SHOWN)
    )
    return [
        {
            'version': row.version,
            'kind': row.kind,
            'migration': row.subject or None,
            'digest': row.hash,
            'stored_at': row.stored_at,
        }
        for row in rows
    ]


def _refused(found: Standing) -> dict[str, str] | None:
    """Why nothing is signed for the server."""
    try:
        found.check()
    except errors.Conflict as exc:
        return {'reason': exc.reason, 'message': exc.message}
    return None


def _exits(
    found: Standing, migration: models.Migration | None
) -> list[dict[str, object]]:
    row = found.row
    names = {'server': found.instance}
    if row is not None and row.holder is not None:
        names['host'] = row.holder
    if migration is not None:
        names['migration'] = migration.id
    state = exits.of(Part.LEDGER, found.state)
    return [one.to_json(**names) for one in state.exits]
