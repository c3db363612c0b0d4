# SPDX-License-Identifier: Apache-2.0
"""Servers as they stand: the ledger's rows beside the anchor's marks.

What hosts ask for needs a row that may be told. An operator also sees, and
decides about, a server that is behind or forked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import orm

from korora_nova import errors, faultpoints
from korora_nova.custody.exits import LedgerState
from korora_nova.custody.ledger import LedgerRow
from korora_nova.verifier.anchor.base import Mark
from korora_nova.verifier.custody import ledger
from korora_nova.verifier.db import api
from korora_nova.verifier.service import Service

T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Standing:
    """A server's row, and what the anchor knows of it."""

    instance: str
    row: LedgerRow | None
    mark: Mark | None

    @property
    def is_sound(self) -> bool:
        """Whether the row may be told."""
        return not (
            ledger.is_behind(self.row, self.mark)
            or ledger.is_forked(self.row, self.mark)
        )

    @property
    def told(self) -> LedgerRow | None:
        """The row, if it may be told."""
        return self.row if self.is_sound else None

    @property
    def state(self) -> LedgerState:
        if ledger.is_behind(self.row, self.mark):
            return LedgerState.BEHIND
        if ledger.is_forked(self.row, self.mark):
            return LedgerState.FORKED
        return _state(self.row)

    @property
    def last(self) -> LedgerRow | None:
        """What the next document follows.

        Of one that is lost only version and digest are known, so its row
        has no holder.
        """
        if self.mark is None or self.is_sound:
            return self.row
        return LedgerRow(
            instance=self.instance,
            holder=None,
            epoch=0,
            version=self.mark.version,
            head=self.mark.digest,
        )

    def check(self) -> None:
        """:raises Conflict: LEDGER_BEHIND, LEDGER_FORKED."""
        ledger.check(self.instance, self.row, self.mark)


def _state(row: LedgerRow | None) -> LedgerState:
    if row is None:
        return LedgerState.UNKNOWN
    if row.disputed is not None:
        return LedgerState.DISPUTED
    if row.pending is not None:
        return LedgerState.PENDING
    if row.holder is not None:
        return LedgerState.HELD
    return LedgerState.RELEASED if row.released else LedgerState.DELETED


def look(service: Service, instance: str) -> Standing:
    """How one server stands; see :func:`look_all`."""
    (found,) = look_all(service, [instance])
    return found


def look_all(service: Service, instances: Sequence[str]) -> list[Standing]:
    """How servers stand, in this order.

    A row above its mark was stored, but not told: the anchor rises first.
    If one is below, all are read once more, after whatever the database
    replicates.

    :raises Conflict: ANCHOR_MISSING.
    :raises Unavailable: ANCHOR_UNAVAILABLE, DATABASE_UNAVAILABLE.
    """
    incarnation, rows = ledger.read(service, instances)
    marks = service.anchor.get(incarnation, instances)
    if any(
        ledger.is_behind(rows.get(one), marks.get(one)) for one in instances
    ):
        _, rows = ledger.read(service, instances, causal=True)
    found = []
    for instance in instances:
        row, mark = rows.get(instance), marks.get(instance)
        if row is not None and not ledger.is_behind(row, mark):
            ledger.anchor(service, incarnation, row, mark)
        found.append(Standing(instance, row, mark))
    return found


@api.retried
def override(
    service: Service,
    instance: str,
    transaction: Callable[[orm.Session, Standing], T],
    *,
    point: str,
) -> T:
    """Run an operator's transaction, and raise the anchor.

    As :func:`.ledger.change`, but its document may follow one that is lost.

    :param transaction: gets the server as it stands, sound or not.
    :param point: fault point of its commit.
    :raises Conflict: ANCHOR_MISSING, HOSTS_UNHEARD.
    """
    found = look(service, instance)
    check_heard(service)
    with faultpoints.step(point), service.db.write() as session:
        if ledger.load(session, instance) != found.row:
            raise api.Lost()
        answer = transaction(session, found)
        incarnation = ledger.incarnation(session)
        new = ledger.load(session, instance)
    if new is not None and new != found.row:
        ledger.anchor(service, incarnation, new, found.mark)
    return answer


def check_heard(service: Service) -> None:
    """:raises Conflict: HOSTS_UNHEARD."""
    if not service.anchor.GUARANTEES:
        ledger.check_heard(service)


def missing(instance: str) -> errors.NotFound:
    """The error for a server of which there is no document."""
    return errors.NotFound(
        errors.Reason.NOT_FOUND,
        'No document is about this server: it was never in custody.',
        details={'instance': instance},
    )
