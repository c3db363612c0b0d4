# SPDX-License-Identifier: Apache-2.0
"""Rows of responses: how they are read, begun, changed and audited."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.verifier.db import models
from korora_nova.verifier.responses.words import (
    OPEN,
    Hold,
    Response,
    State,
)

#: The actor in the audit table.
ENFORCER = 'korora-enforcer'
MAX_ERROR = 1024


def of(row: models.Response) -> Response:
    """What a row says."""
    return Response(
        id=row.id,
        host=row.host,
        driver=row.driver,
        state=State(row.state),
        reasons=list(row.reasons),
        why=row.why,
        detail=dict(row.detail),
        attempts=row.attempts,
        error=row.error,
        created_at=row.created_at,
        updated_at=row.updated_at,
        due_at=row.due_at,
        actor=row.actor,
        note=row.note,
    )


def hold(row: models.ResponseLease) -> Hold:
    return Hold(row.hold_since, row.hold_why)


def opened(session: orm.Session) -> list[models.Response]:
    """Those from which something is to come, the oldest first."""
    table = models.Response
    return list(
        session.scalars(
            sa.select(table)
            .where(table.closed == '')
            .order_by(table.created_at, table.id)
        )
    )


def add(
    session: orm.Session,
    now: float,
    host: str,
    driver: str,
    state: State,
    reasons: list[str],
    why: str = '',
    *,
    id: str = '',
    touches: bool = True,
) -> models.Response:
    """Begin a response; whatever is done comes after this is committed.

    :param touches: it counts as one by which something is done to the host.
    """
    row = models.Response(
        id=id or str(uuid.uuid4()),
        host=host,
        driver=driver,
        closed='',
        state=state,
        reasons=reasons,
        why=why,
        detail={},
        attempts=0,
        error='',
        created_at=now,
        updated_at=now,
        due_at=now,
        acted_at=now if touches and state == State.DUE else None,
        actor='',
        note='',
    )
    session.add(row)
    _audit(session, now, row, ENFORCER, why or ' '.join(reasons))
    return row


def change(
    session: orm.Session,
    now: float,
    row: models.Response,
    state: State,
    *,
    actor: str = ENFORCER,
    why: str = '',
    note: str = '',
) -> None:
    """Move a response to another state, at once due if there is work."""
    row.state = state
    row.closed = '' if state in OPEN else row.id
    row.updated_at = row.due_at = now
    row.attempts, row.error, row.why = 0, '', why
    if actor != ENFORCER:
        row.actor, row.note = actor, note
    _audit(session, now, row, actor, note or why)


def has_begun(row: models.Response) -> bool:
    """Whether something may have been done that can be undone."""
    return row.state in (State.DONE, State.UNDOING) or bool(
        row.detail.get('begun')
    )


def away(
    session: orm.Session,
    now: float,
    row: models.Response,
    otherwise: State,
    *,
    actor: str = ENFORCER,
    why: str = '',
    note: str = '',
) -> None:
    """Undo a response; one that was not begun is ``otherwise``."""
    if row.state == State.UNDOING:
        return
    change(
        session,
        now,
        row,
        State.UNDOING if has_begun(row) else otherwise,
        actor=actor,
        why=why,
        note=note,
    )


def _audit(
    session: orm.Session,
    now: float,
    row: models.Response,
    actor: str,
    note: str,
) -> None:
    session.add(
        models.Audit(
            at=now,
            actor=actor,
            action=f'response {row.driver} {row.state}'[:64],
            subject=row.host,
            note=f'{row.id} {note}'.strip(),
        )
    )
