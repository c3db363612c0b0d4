# SPDX-License-Identifier: Apache-2.0
"""What the leader reads and writes; each function is one transaction.

None goes on while anything is asked over a network. What is to be done is
committed before it is begun, and that it was begun before the first request
for it leaves: whoever leads after a crash takes it up again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.verifier.db import api, models
from korora_nova.verifier.responses import rows
from korora_nova.verifier.responses.lease import Lease
from korora_nova.verifier.responses.words import (
    FLEET,
    TO_DO,
    Response,
    State,
)

#: Seconds until what failed is tried again: doubled each time, up to these.
FIRST_RETRY, LAST_RETRY = 5.0, 300.0


class Look(Protocol):
    """Looks at all hosts, and says what follows; asks nobody else."""

    def __call__(
        self,
        session: orm.Session,
        now: float,
        open_rows: Sequence[models.Response],
        lease: models.ResponseLease,
    ) -> str: ...


@api.retried
def look(lease: Lease, judge: Look) -> None:
    """Look at all hosts, and note what follows from it.

    :param judge: may add rows; what it returns is why responses are held
        from now on, if that is not ''.
    :raises NotLeader, Unavailable:
    """
    with lease.transaction() as (session, row):
        now = lease.now(session)
        open_rows = rows.opened(session)
        hold = judge(session, now, open_rows, row)
        if hold and row.hold_since is None:
            row.hold_since, row.hold_why = now, hold
            session.add(
                models.Audit(
                    at=now,
                    actor=rows.ENFORCER,
                    action='responses held',
                    subject=FLEET,
                    note=hold,
                )
            )


@api.retried
def work(lease: Lease) -> list[Response]:
    """What is due now.

    :raises NotLeader, Unavailable:
    """
    table = models.Response
    with lease.transaction() as (session, _):
        found = session.scalars(
            sa.select(table)
            .where(
                table.closed == '',
                table.state.in_([str(one) for one in TO_DO]),
                table.due_at <= lease.now(session),
            )
            .order_by(table.created_at, table.id)
        )
        return [rows.of(row) for row in found]


@api.retried
def begin(lease: Lease, response: Response) -> Response | None:
    """Note that something is being done; None: it is not to be done any more.

    :raises NotLeader, Unavailable:
    """
    with lease.transaction() as (session, _):
        row = _same(session, response)
        if row is None:
            return None
        row.attempts += 1
        row.due_at = lease.now(session) + retry_after(row.attempts)
        row.detail = {**row.detail, 'begun': True}
        return rows.of(row)


def retry_after(attempts: int) -> float:
    """Seconds until the next attempt after so many."""
    return float(min(LAST_RETRY, FIRST_RETRY * 2 ** min(attempts - 1, 10)))


@api.retried
def note(
    lease: Lease,
    response: Response,
    detail: Mapping[str, object],
    *,
    again: float | None = None,
) -> None:
    """Keep what a driver has come to know, whatever an operator decided.

    :param again: go on after so many seconds; that is no failure.
    :raises NotLeader, Unavailable:
    """
    with lease.transaction() as (session, _):
        row = session.get(models.Response, response.id)
        if row is None:
            return
        row.detail = {**row.detail, **detail}
        if again is not None and row.state == response.state:
            row.attempts, row.error = 0, ''
            row.due_at = lease.now(session) + again


@api.retried
def finish(lease: Lease, response: Response, why: str = '') -> None:
    """It is done, or undone.

    :param why: nothing was to do, and why; a sentence.
    :raises NotLeader, Unavailable:
    """
    with lease.transaction() as (session, _):
        row = _same(session, response)
        if row is None:
            return
        if row.state == State.UNDOING:
            state = State.UNDONE
        else:
            state = State.ENDED if why else State.DONE
        rows.change(session, lease.now(session), row, state, why=why)


@api.retried
def failed(lease: Lease, response: Response, error: str) -> None:
    """Note why an attempt failed; there will be another one.

    :raises NotLeader, Unavailable:
    """
    with lease.transaction() as (session, _):
        row = _same(session, response)
        if row is not None:
            row.error = error[: rows.MAX_ERROR]
            row.updated_at = lease.now(session)


@api.retried
def marks(
    lease: Lease, driver: str, found: Mapping[str, str], asked: float
) -> list[Response]:
    """Compare the marks that a driver found with what was decided.

    :param found: host -> id of the response whose mark is there, '' for no
        mark; hosts of which nothing is known are not in it.
    :param asked: when, by the database's clock: what was decided later is
        not compared.
    :returns: closed responses whose marks are still there: to be undone.
    :raises NotLeader, Unavailable:
    """
    with lease.transaction() as (session, _):
        now = lease.now(session)
        mine = {
            row.host: row
            for row in rows.opened(session)
            if row.driver == driver and row.host != FLEET
        }
        for host, row in mine.items():
            if (
                row.state == State.DONE
                and row.updated_at < asked
                and found.get(host, row.id) != row.id
            ):
                rows.change(session, now, row, State.ENDED, why=OVERRULED)
        return [
            stray
            for host, id in sorted(found.items())
            if id and (host not in mine or mine[host].id != id)
            if (stray := _stray(session, now, host, driver, id, mine))
        ]


OVERRULED = 'Somebody else has changed what was done here; it stays as it is.'
ADOPTED = 'It was done before the database was restored.'


def _stray(
    session: orm.Session,
    now: float,
    host: str,
    driver: str,
    id: str,
    mine: Mapping[str, models.Response],
) -> Response | None:
    """A mark that nothing open accounts for."""
    row = session.get(models.Response, id)
    if row is not None:
        return rows.of(row) if row.closed and row.host == host else None
    if host in mine:
        # Its own mark is to come, and takes the place of this one.
        return None
    made = rows.add(session, now, host, driver, State.DONE, [], ADOPTED, id=id)
    made.detail = {'begun': True}
    # Its loss was forgotten, too: good results have to come first.
    session.merge(
        models.ResponseHost(host=host, lost=True, streak=0, seen=0.0)
    )
    return None


@api.retried
def time(lease: Lease) -> float:
    """The database's clock.

    :raises NotLeader, Unavailable:
    """
    with lease.transaction() as (session, _):
        return lease.now(session)


def _same(session: orm.Session, response: Response) -> models.Response | None:
    """Its row, if nobody decided anything else meanwhile."""
    row = session.get(models.Response, response.id)
    if row is None or row.closed or row.state != response.state:
        return None
    return row
