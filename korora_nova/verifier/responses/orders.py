# SPDX-License-Identifier: Apache-2.0
"""What operators see of responses, and decide about them.

An order is noted, and carried out by korora-enforcer. Given twice, it is as
if it was given once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.verifier import audit, paging
from korora_nova.verifier.db import api, models
from korora_nova.verifier.responses import rows
from korora_nova.verifier.responses.lease import database_time, locked
from korora_nova.verifier.responses.words import (
    FLEET,
    Hold,
    Response,
    State,
)
from korora_nova.verifier.service import Service

_R = errors.Reason
_TABLE = models.Response

DEFAULT = LIMIT = 1000


@dataclasses.dataclass(frozen=True)
class Query:
    """Which responses to list.

    :param every: those that are over, too.
    :param state: only those in this one; ``driver`` likewise; '' for any.
    :param marker: the last one of the page before.
    """

    every: bool = False
    host: str = ''
    state: str = ''
    driver: str = ''
    limit: int = DEFAULT
    marker: str = ''


@dataclasses.dataclass(frozen=True)
class Leader:
    """The process that carries out.

    :param until: it leads at least until then, seconds since 1970.
    """

    name: str
    leads: bool
    until: float

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class Page:
    """Responses, the newest first, and what stands above them.

    :param next: the marker of the next page; '' if this is the last one.
    """

    responses: Sequence[Response]
    hold: Hold
    leader: Leader
    next: str = ''

    def to_json(self) -> dict[str, object]:
        return {
            'responses': [one.to_json() for one in self.responses],
            'hold': self.hold.to_json() if self.hold else None,
            'leader': self.leader.to_json(),
            'next': self.next,
        }


def list_responses(service: Service, query: Query) -> Page:
    """List responses.

    :raises Invalid: MARKER_UNKNOWN.
    """
    chosen = _chosen(query).order_by(
        _TABLE.created_at.desc(), _TABLE.id.desc()
    )
    with service.db.read() as session:
        if query.marker:
            last = session.get(_TABLE, query.marker)
            if last is None:
                raise paging.gone(query.marker)
            chosen = chosen.where(
                sa.tuple_(_TABLE.created_at, _TABLE.id)
                < (last.created_at, last.id)
            )
        found = session.scalars(chosen.limit(query.limit + 1)).all()
        page = [rows.of(row) for row in found[: query.limit]]
        more = len(found) > query.limit
        return _page(session, page, page[-1].id if more else '')


def _chosen(query: Query) -> sa.Select[tuple[models.Response]]:
    chosen = sa.select(_TABLE)
    if not query.every:
        chosen = chosen.where(_TABLE.closed == '')
    if query.host:
        chosen = chosen.where(_TABLE.host == query.host)
    if query.state:
        chosen = chosen.where(_TABLE.state == query.state)
    if query.driver:
        chosen = chosen.where(_TABLE.driver == query.driver)
    return chosen


def show(service: Service, id: str) -> Response:
    """One response.

    :raises NotFound: RESPONSE_UNKNOWN.
    """
    with service.db.read() as session:
        return rows.of(_get(session, id))


@api.retried
def approve(service: Service, id: str, actor: str, note: str) -> Response:
    """Let a response that waits be done, whatever holds others.

    :raises NotFound: RESPONSE_UNKNOWN.
    :raises Conflict: RESPONSE_STATE.
    """
    with service.db.write() as session:
        locked(session)
        row = _get(session, id)
        if row.state == State.WAITING:
            rows.change(
                session,
                database_time(session),
                row,
                State.DUE,
                actor=actor,
                note=note,
            )
        elif row.state not in (State.DUE, State.DONE):
            raise _conflict(row, 'approved')
        return rows.of(row)


@api.retried
def reject(service: Service, id: str, actor: str, note: str) -> Response:
    """Let nothing come of a response that waits.

    :raises NotFound: RESPONSE_UNKNOWN.
    :raises Conflict: RESPONSE_STATE.
    """
    with service.db.write() as session:
        locked(session)
        row = _get(session, id)
        if row.state == State.WAITING:
            _take_back(session, row, actor, note)
        elif row.state != State.REJECTED:
            raise _conflict(row, 'rejected')
        return rows.of(row)


@api.retried
def revert(service: Service, id: str, actor: str, note: str) -> Response:
    """Take a response back: it is undone, or nothing comes of it.

    :raises NotFound: RESPONSE_UNKNOWN.
    :raises Conflict: RESPONSE_STATE: it is over, or about the whole fleet.
    """
    with service.db.write() as session:
        locked(session)
        row = _get(session, id)
        if row.host == FLEET:
            raise _conflict(row, 'reverted')
        if not row.closed:
            _take_back(session, row, actor, note)
        elif row.state not in (State.UNDONE, State.REJECTED):
            raise _conflict(row, 'reverted')
        return rows.of(row)


@api.retried
def revert_all(service: Service, actor: str, note: str) -> Page:
    """Take all back that is open, and hold whatever comes.

    :returns: what was open; what is UNDOING is being undone.
    """
    with service.db.write() as session:
        lease = locked(session)
        if lease.hold_since is None:
            lease.hold_since = database_time(session)
            lease.hold_why = f'Responses were reverted: {note}'
        _audit_fleet(service, session, actor, 'responses reverted', note)
        found = [row for row in rows.opened(session) if row.host != FLEET]
        for row in found:
            _take_back(session, row, actor, note)
        return _page(session, [rows.of(row) for row in found])


@api.retried
def resume(service: Service, actor: str, note: str) -> Page:
    """Hold responses no more; those that wait go on to.

    What was done before does not count against ``max_hosts`` any more.
    """
    with service.db.write() as session:
        lease = locked(session)
        if lease.hold_since is not None:
            lease.hold_since, lease.hold_why = None, ''
            lease.resumed_at = database_time(session)
            _audit_fleet(service, session, actor, 'responses resumed', note)
        return _page(session, [rows.of(row) for row in rows.opened(session)])


def _take_back(
    session: orm.Session, row: models.Response, actor: str, note: str
) -> None:
    if row.state == State.UNDOING:
        return
    rows.away(
        session,
        database_time(session),
        row,
        State.ENDED if row.state == State.DRY_RUN else State.REJECTED,
        actor=actor,
        note=note,
    )


def _page(
    session: orm.Session, found: Sequence[Response], after: str = ''
) -> Page:
    lease = session.get_one(models.ResponseLease, 1)
    now = database_time(session)
    return Page(
        found,
        rows.hold(lease),
        Leader(lease.holder, now < lease.until, lease.until),
        after,
    )


def _get(session: orm.Session, id: str) -> models.Response:
    row = session.get(models.Response, id)
    if row is None:
        raise errors.NotFound(_R.RESPONSE_UNKNOWN)
    return row


def _audit_fleet(
    service: Service,
    session: orm.Session,
    actor: str,
    action: str,
    note: str,
) -> None:
    audit.record(
        service,
        session,
        actor=actor,
        action=action,
        subject=FLEET,
        note=note,
    )


def _conflict(row: models.Response, what: str) -> errors.Conflict:
    return errors.Conflict(
        _R.RESPONSE_STATE,
        f'The response is {row.state}: it cannot be {what}.',
        details={'state': str(row.state)},
    )
