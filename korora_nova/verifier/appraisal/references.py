# SPDX-License-Identifier: Apache-2.0
"""Reference values: learned from a host, then immutable."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.reference import ReferenceValues
from korora_nova.verifier import audit, paging
from korora_nova.verifier.appraisal import measurements, packed
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service


@dataclasses.dataclass(frozen=True)
class Reference:
    """Reference values, and where they come from.

    :param host: the one they were learned from.
    :param created_at: seconds since 1970.
    """

    values: ReferenceValues
    host: str
    created_at: float

    def to_json(self) -> dict[str, object]:
        return {
            **self.values.to_json(),
            'host': self.host,
            'created_at': self.created_at,
        }


class BriefReference(Reference):
    """In JSON, numbers stand in the place of what is long."""

    def to_json(self) -> dict[str, object]:
        values = self.values
        document = values.to_json()
        for name in ('boot', 'ima_digests', 'measured'):
            del document[name]
        return {
            **document,
            'ima_digest_count': len(values.ima_digests),
            'components': len(values.boot.components) if values.boot else None,
            'host': self.host,
            'created_at': self.created_at,
        }


def create(service: Service, name: str, host: str, actor: str) -> Reference:
    """Make the state in which a host attested last a wanted one.

    :raises NotFound: HOST_UNKNOWN, RESULT_MISSING.
    :raises Untrusted: NO_REFERENCE, its logs did not verify.
    :raises Conflict: INVALID_REQUEST, the name is taken.
    :raises Invalid: INVALID_REQUEST, it has more than a reference holds.
    """
    try:
        _create(service, name, host, actor)
    except db_exc.DBDuplicateEntry:
        raise errors.Conflict(
            errors.Reason.INVALID_REQUEST,
            'There are reference values of this name already.',
        ) from None
    return show(service, name)


@api.retried
def _create(service: Service, name: str, host: str, actor: str) -> None:
    with service.db.write() as session:
        if session.get(models.Host, host) is None:
            raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
        values = measurements.learn(session, name, host)
        add(service, session, values, host, actor)


def add(
    service: Service,
    session: orm.Session,
    values: ReferenceValues,
    host: str,
    actor: str,
) -> None:
    """Keep what was learned from a host, within a transaction.

    :raises Conflict: INVALID_REQUEST, the name is taken.
    :raises Invalid: INVALID_REQUEST, it has more than a reference holds.
    """
    if session.get(models.Reference, values.name) is not None:
        raise errors.Conflict(
            errors.Reason.INVALID_REQUEST,
            f'There are reference values of the name {values.name} already.',
        )
    # What cannot be read again would stop the appraisal of every host.
    ReferenceValues.from_json(values.to_json())
    session.add(
        models.Reference(
            name=values.name,
            uuid=str(uuid.uuid4()),
            host=host,
            document=packed.pack(values.to_json()),
            created_at=service.clock(),
        )
    )
    audit.record(
        service,
        session,
        actor=actor,
        action='reference created',
        subject=values.name,
        note=host,
    )


@dataclasses.dataclass(frozen=True)
class Query:
    """Which references to list.

    :param host: only what was learned from it; '' for any.
    :param limit: None: all of them.
    :param marker: begin behind this reference.
    """

    host: str = ''
    limit: int | None = None
    marker: str = ''


def list_references(
    service: Service, query: Query
) -> paging.Page[BriefReference]:
    """References, by name."""
    table, limit = models.Reference, query.limit
    wanted = sa.select(
        table.uuid, table.name, table.host, table.created_at
    ).where(table.name > query.marker)
    if query.host:
        wanted = wanted.where(table.host == query.host)
    known = by_uuid(service)
    with service.db.read() as session:
        rows = session.execute(
            wanted.order_by(table.name).limit(paging.one_more(limit))
        ).all()
    page = paging.Page.of(rows, limit, lambda row: row.name)
    return paging.Page(
        [
            BriefReference(known[row.uuid], row.host, row.created_at)
            for row in page.items
            if row.uuid in known
        ],
        page.next,
    )


def show(service: Service, name: str) -> Reference:
    """One of them, complete.

    :raises NotFound: NOT_FOUND.
    """
    with service.db.read() as session:
        row = _row(session, name)
        return Reference(_read(row), row.host, row.created_at)


@api.retried
def delete(service: Service, name: str, actor: str) -> None:
    """Hosts that match no other one lose trust at their next attestation.

    :raises NotFound: NOT_FOUND.
    """
    with service.db.write() as session:
        session.delete(_row(session, name))
        audit.record(
            service,
            session,
            actor=actor,
            action='reference deleted',
            subject=name,
        )


def by_uuid(service: Service) -> dict[str, ReferenceValues]:
    """Those that count now, newest last.

    :raises Unavailable: INTERNAL, one cannot be read.
    """
    with service.db.read() as session:
        wanted = ids(session)
    return by_ids(service, wanted)


def ids(session: orm.Session) -> tuple[str, ...]:
    """Uuids of all that there are, newest last."""
    table = models.Reference
    return tuple(
        session.scalars(
            sa.select(table.uuid).order_by(table.created_at, table.name)
        )
    )


def by_ids(service: Service, ids: Sequence[str]) -> dict[str, ReferenceValues]:
    """Those with these uuids that are still there; read once per process.

    :raises Unavailable: INTERNAL, one cannot be read.
    """
    table, cache = models.Reference, service.references
    missing = [one for one in ids if one not in cache]
    fresh = {}
    if missing:
        with service.db.read() as session:
            fresh = {
                row.uuid: _read(row)
                for row in session.scalars(
                    sa.select(table).where(table.uuid.in_(missing))
                )
            }
        cache.update(fresh)
    for stale in set(cache) - set(ids):
        cache.pop(stale, None)
    known = {**cache, **fresh}
    return {one: known[one] for one in ids if one in known}


def _row(session: orm.Session, name: str) -> models.Reference:
    row = session.get(models.Reference, name)
    if row is None:
        raise errors.NotFound(errors.Reason.NOT_FOUND)
    return row


def _read(row: models.Reference) -> ReferenceValues:
    try:
        return ReferenceValues.from_json(packed.unpack(row.document))
    except errors.Invalid as exc:
        raise errors.Unavailable(
            errors.Reason.INTERNAL,
            f'The reference values {row.name} cannot be read by this release.',
        ) from exc
