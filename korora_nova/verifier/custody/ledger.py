# SPDX-License-Identifier: Apache-2.0
"""The ledger's rows in SQL, held against the anchor.

The rules are in :mod:`korora_nova.custody.ledger`. Whatever changes a row is
one transaction in :func:`change`: the row is what the anchor says, the rule
is asked, the document is signed and stored, and the anchor raised before
anybody is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors, faultpoints
from korora_nova.custody.ledger import LedgerRow
from korora_nova.verifier.anchor.base import Mark
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import MAX_SKEW, Service

T = TypeVar('T')
#: Rows by server; one that was never in custody has none.
Rows = Mapping[str, LedgerRow]

_R = errors.Reason
#: What is known of the holder's copy.
_OF_COPY = ('approval_kid', 'reported_at', 'opened_boot')
_FIELDS = tuple(field.name for field in dataclasses.fields(LedgerRow))
_SERVERS, _LEDGER = models.table(models.Server), models.table(models.Ledger)
_INSTANCES: Any = sa.bindparam('instances', expanding=True)
# One row at least: the incarnation, beside nothing if there is no server.
_ROWS = (
    sa.select(_LEDGER.c.incarnation, *(_SERVERS.c[name] for name in _FIELDS))
    .select_from(
        _LEDGER.outerjoin(_SERVERS, _SERVERS.c.instance.in_(_INSTANCES))
    )
    .where(_LEDGER.c.id == 1)
)
_REPLACE = sa.update(_SERVERS).where(
    _SERVERS.c.instance == sa.bindparam('of'),
    _SERVERS.c.version == sa.bindparam('at'),
    _SERVERS.c.head == sa.bindparam('on'),
    _SERVERS.c.disputed.is_not_distinct_from(sa.bindparam('with')),
)
#: Hosts that a sentence names.
_NAMED = 5


@dataclasses.dataclass
class _Turn:
    """What one transaction has read and written of the ledger.

    :ivar written: rows as they are stored now, by server.
    """

    incarnation: str = ''
    written: dict[str, LedgerRow] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, session: orm.Session) -> _Turn:
        turn: _Turn = session.info.setdefault(cls, cls())
        return turn


def incarnation(session: orm.Session) -> str:
    """Which ledger this is; read once in a transaction."""
    turn = _Turn.of(session)
    if not turn.incarnation:
        load_all(session, [])
    return turn.incarnation


def load(session: orm.Session, instance: str) -> LedgerRow | None:
    """Read a server's row, whatever the anchor says."""
    return load_all(session, [instance]).get(instance)


def load_all(
    session: orm.Session, instances: Sequence[str]
) -> dict[str, LedgerRow]:
    """Read the rows of servers, whatever the anchor says."""
    # What the session has not written yet counts.
    session.flush()
    found = session.connection().execute(_ROWS, {'instances': list(instances)})
    _Turn.of(session).incarnation, rows = _told(found.all())
    return rows


def _told(found: Sequence[sa.Row[Any]]) -> tuple[str, dict[str, LedgerRow]]:
    """Incarnation and rows."""
    rows = (dict(zip(_FIELDS, fields, strict=True)) for _, *fields in found)
    return str(found[0].incarnation), {
        row['instance']: LedgerRow(**row) for row in rows if row['instance']
    }


def current(service: Service, instance: str) -> LedgerRow | None:
    """Read a server's row; it may be told.

    :raises Conflict: LEDGER_BEHIND, LEDGER_FORKED, ANCHOR_MISSING.
    :raises Unavailable: ANCHOR_UNAVAILABLE, DATABASE_UNAVAILABLE.
    """
    return current_all(service, [instance]).get(instance)


def current_all(service: Service, instances: Sequence[str]) -> Rows:
    """Read the rows of servers; they may be told.

    1. The anchor's marks. A row above its mark was stored, but not told: the
    anchor rises first. 2. If one is below, all are read once more, after
    whatever the database replicates.

    :raises Conflict, Unavailable: as :func:`current`.
    """
    ledger, rows = read(service, instances)
    marks = service.anchor.get(ledger, instances)
    if any(is_behind(rows.get(one), marks.get(one)) for one in instances):
        _, rows = read(service, instances, causal=True)
    for instance in instances:
        row, mark = rows.get(instance), marks.get(instance)
        check(instance, row, mark)
        if row is not None:
            anchor(service, ledger, row, mark)
    return rows


def check(instance: str, row: LedgerRow | None, mark: Mark | None) -> None:
    """Insist that a row is not older, and no other, than the anchor says.

    :raises Conflict: LEDGER_BEHIND, LEDGER_FORKED.
    """
    if is_behind(row, mark):
        raise errors.Conflict(_R.LEDGER_BEHIND, details={'instance': instance})
    if is_forked(row, mark):
        raise errors.Conflict(_R.LEDGER_FORKED, details={'instance': instance})


def is_behind(row: LedgerRow | None, mark: Mark | None) -> bool:
    """Whether the database lacks what the anchor knows of a server."""
    return mark is not None and (row is None or row.version < mark.version)


def is_forked(row: LedgerRow | None, mark: Mark | None) -> bool:
    """Whether database and anchor have two documents of one version."""
    return (
        row is not None
        and mark is not None
        and row.version == mark.version
        and row.head != mark.digest
    )


def read(
    service: Service, instances: Sequence[str], *, causal: bool = False
) -> tuple[str, dict[str, LedgerRow]]:
    """Incarnation and rows, whatever the anchor says.

    :param causal: wait for what other nodes of the database have committed.
    :raises Unavailable: DATABASE_UNAVAILABLE, that takes too long.
    """
    try:
        if not causal:
            return _told(
                service.db.look_all(_ROWS, {'instances': list(instances)})
            )
        with service.db.read() as session:
            api.wait_for_replication(session)
            rows = load_all(session, instances)
            return incarnation(session), rows
    except api.Lost:
        raise errors.Unavailable(
            _R.DATABASE_UNAVAILABLE,
            'The database does not catch up with its replicas.',
        ) from None


def anchor(
    service: Service, ledger: str, row: LedgerRow, mark: Mark | None
) -> None:
    """Raise a server's mark if its row is above it.

    :param ledger: its incarnation.
    """
    if mark is None or row.version > mark.version:
        with faultpoints.step('v.anchor'):
            service.anchor.rise(
                ledger, row.instance, Mark(row.version, row.head)
            )


def signable(service: Service, instance: str) -> LedgerRow | None:
    """Read a server's row, about which the service may sign something.

    :raises Conflict: as :func:`current`; HOSTS_UNHEARD.
    """
    return signable_all(service, [instance]).get(instance)


def signable_all(service: Service, instances: Sequence[str]) -> Rows:
    """The same of several servers.

    :raises Conflict: as :func:`current`; HOSTS_UNHEARD.
    """
    rows = current_all(service, instances)
    if not service.anchor.GUARANTEES:
        check_heard(service)
    return rows


def check_heard(service: Service) -> None:
    """Without an anchor that lasts, hosts have to report first.

    What was noted by a clock that was ahead says nothing.

    :raises Conflict: HOSTS_UNHEARD, naming some that did not.
    """
    table = models.Host
    reported = sa.func.coalesce(table.reported_at, 0)
    with service.db.read() as session:
        silent = list(
            session.scalars(
                sa.select(table.name)
                .where(
                    table.ak_name.is_not(None),
                    table.approved.is_(True),
                    table.evicted_at.is_(None),
                    sa.or_(
                        reported < service.started,
                        reported > service.clock() + MAX_SKEW,
                    ),
                )
                .order_by(table.name)
                .limit(_NAMED)
            )
        )
    if silent:
        raise errors.Conflict(
            _R.HOSTS_UNHEARD, details={'hosts': ' '.join(silent)}
        )


def attempt(
    service: Service,
    instance: str,
    transaction: Callable[[orm.Session, LedgerRow | None], T],
    *,
    point: str,
    signs: bool = True,
) -> T:
    """Run a transaction on a server's row, and raise the anchor.

    :param transaction: gets the row; what it returns may be told. It must
        have no other effect than in its session.
    :param point: fault point of its commit.
    :param signs: false: it only takes note of what was signed before.
    :raises Lost: the row was changed meanwhile.
    """
    row = (signable if signs else current)(service, instance)
    with faultpoints.step(point), service.db.write() as session:
        answer = _run(session, instance, row, transaction)
        ledger = incarnation(session)
        new = _Turn.of(session).written.get(instance)
    if new is not None:
        mark = Mark(row.version, row.head) if row is not None else None
        anchor(service, ledger, new, mark)
    return answer


#: :func:`attempt`, until it is not overtaken.
change = api.retried(attempt)


@api.retried
def consult(
    service: Service,
    instance: str,
    transaction: Callable[[orm.Session, LedgerRow | None], T],
) -> T:
    """Run a transaction that only reads, to find out what may be signed.

    :raises Conflict, Unavailable: as :func:`signable`.
    """
    row = signable(service, instance)
    with service.db.read() as session:
        return _run(session, instance, row, transaction)


def _run(
    session: orm.Session,
    instance: str,
    row: LedgerRow | None,
    transaction: Callable[[orm.Session, LedgerRow | None], T],
) -> T:
    """Run it on a row that is still the one that was read.

    :raises Lost: it is not; so may a refusal be, if the database does not
        keep what a transaction has read.
    """
    if load(session, instance) != row:
        raise api.Lost()
    try:
        return transaction(session, row)
    except errors.KororaError as exc:
        if not isinstance(exc, api.Lost) and load(session, instance) != row:
            raise api.Lost() from None
        raise


@api.retried
def restore(
    service: Service,
    instance: str,
    transaction: Callable[
        [orm.Session, LedgerRow | None, Mark | None], LedgerRow | None
    ],
) -> LedgerRow | None:
    """Run a transaction on a row that may be behind its anchor (C12).

    :param transaction: gets row and mark; returns the row after it.
    :returns: that row, if it may be told.
    :raises Lost: the row was changed meanwhile, too often.
    """
    ledger, rows = read(service, [instance])
    row = rows.get(instance)
    mark = service.anchor.get(ledger, [instance]).get(instance)
    with faultpoints.step('v.present'), service.db.write() as session:
        if load(session, instance) != row:
            raise api.Lost()
        new = transaction(session, row, mark)
    if new is None or is_behind(new, mark) or is_forked(new, mark):
        return None
    anchor(service, ledger, new, mark)
    return new


def replace(
    session: orm.Session,
    old: LedgerRow | None,
    new: LedgerRow,
    boot: str | None = None,
) -> None:
    """Store a row in the place of the one that was read.

    What was reported of a copy goes when another one is the holder's.

    :param boot: in which the holder may open the key from now on, if that is
        new; see :mod:`.opened`.
    :raises Lost: it was changed meanwhile.
    """
    values: dict[str, object] = dict(vars(new))
    if boot is not None:
        values['opened_boot'] = boot
    if old is None:
        try:
            session.execute(sa.insert(_SERVERS), values)
        except db_exc.DBDuplicateEntry:
            raise api.Lost() from None
    else:
        if (old.holder, old.epoch) != (new.holder, new.epoch):
            values = dict.fromkeys(_OF_COPY) | values
        api.swap_to(
            session,
            _REPLACE,
            {
                'of': old.instance,
                'at': old.version,
                'on': old.head,
                'with': old.disputed,
            },
            values,
        )
    _Turn.of(session).written[new.instance] = new
