# SPDX-License-Identifier: Apache-2.0
"""Whether a host's nova-compute enforces what is decided here (T47).

A host may be in the best of states and run stock Nova, which starts any
server with any key. So agents attest that they hear from the driver, and the
result says so; filter and peers require it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies
from korora_nova.verifier import peers, records
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service


@dataclasses.dataclass(frozen=True)
class Heard:
    """What a host attested of its nova-compute.

    :param enforcer: None: its agent does not hear from it.
    :param heard_at: when nova-compute spoke, seconds since 1970.
    """

    enforcer: bodies.Enforcer | None
    heard_at: float

    @classmethod
    def said(cls, body: bodies.Attest, issued: float) -> Heard:
        """As attested in answer to a challenge that was issued then."""
        seen = body.enforcer.seen if body.enforcer is not None else 0
        return cls(body.enforcer, issued - seen)

    @classmethod
    def of(cls, row: models.Host | records.Host | peers.Peer) -> Heard:
        """As it was attested last."""
        known = row.enforcer
        return cls(
            bodies.Enforcer(**known) if known is not None else None,
            row.enforcer_at or 0.0,
        )

    def columns(self) -> Mapping[str, object]:
        """What of it is kept with the host."""
        said = self.enforcer
        return {
            'enforcer': said._asdict() if said is not None else None,
            'enforcer_at': self.heard_at,
        }

    def to_json(self) -> Mapping[str, object] | None:
        """As operators see it."""
        said = self.enforcer
        if said is None:
            return None
        return {
            'driver': said.driver,
            'version': said.version,
            'drift': said.drift,
            'heard_at': self.heard_at,
        }

    def missing(self, service: Service) -> str:
        """Why the host does not count as enforcing; '' if it does.

        It counts for as long as a result does.
        """
        if self.enforcer is not None and self.enforcer.drift:
            return errors.Reason.ENFORCER_DRIFT
        if not service.settings.require_enforcer:
            return ''
        age = service.clock() - self.heard_at
        if self.enforcer is None or age > service.settings.result_ttl:
            return errors.Reason.ENFORCER_ABSENT
        return ''


def require(service: Service, host: peers.Peer | None) -> None:
    """Insist that the other end of a hand-over enforces.

    :raises Untrusted: ENFORCER_ABSENT or ENFORCER_DRIFT.
    """
    missing = (
        Heard.of(host).missing(service)
        if host is not None
        else errors.Reason.ENFORCER_ABSENT
    )
    if missing:
        raise errors.Untrusted(missing)


def silent(session: orm.Session) -> Sequence[str]:
    """Hosts whose agents did not hear from the driver when they attested."""
    table = models.Host
    rows = session.execute(
        sa.select(table.name, table.enforcer)
        .where(table.approved.is_(True), table.ak_name.is_not(None))
        .order_by(table.name)
    )
    return [name for name, enforcer in rows if enforcer is None]
