# SPDX-License-Identifier: Apache-2.0
"""What the other end of a hand-over relies on of a host."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.verifier.db import models

_KEPT = 'korora_peers'


@dataclasses.dataclass(frozen=True)
class Peer:
    """Of ``models.Host`` what its partner is told, or asks."""

    name: str
    approved: bool
    ak_name: str | None
    tier: str | None
    token: str | None
    reset_count: int | None
    restart_count: int | None
    tls_name: str | None
    tls_authority: str | None
    tls_until: float | None
    issued: float | None
    expires: float | None
    evicted_at: float | None
    enforcer: Any
    enforcer_at: float | None
    reasons: Any


_TABLE = models.table(models.Host)
_FIND = sa.select(
    *(_TABLE.c[one.name] for one in dataclasses.fields(Peer))
).where(_TABLE.c.name.in_(sa.bindparam('names', expanding=True)))


def load(session: orm.Session, names: Iterable[str]) -> None:
    """Read hosts at once, for :func:`find`."""
    known = session.info.setdefault(_KEPT, {})
    wanted = [one for one in names if one not in known]
    if not wanted:
        return
    known |= dict.fromkeys(wanted)
    for row in session.connection().execute(_FIND, {'names': wanted}):
        known[row.name] = Peer(*row)


def find(session: orm.Session, name: str) -> Peer | None:
    """A host, read once in a transaction; None if there is none."""
    load(session, (name,))
    found: Peer | None = session.info[_KEPT][name]
    return found
