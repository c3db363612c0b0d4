# SPDX-License-Identifier: Apache-2.0
"""What the service's results say of hosts, as far as they count now.

A result counts that the service signed, of this very host, and that is
neither expired nor from the future. All else is silence, and moves nothing:
whoever writes to the database cannot have hosts responded to by their
results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.signed.result import KIND, MAX_SKEW
from korora_nova.rats.words import Tier
from korora_nova.verifier.db import models

_BATCH = 500
_TABLE = models.Host


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A host's result.

    :param issued: seconds since 1970; when it was evicted, if it was.
    :param evicted: an operator's word, which nothing signs.
    :param reasons: once it was verified.
    """

    host: str
    good: bool
    issued: float
    evicted: bool = False
    reasons: tuple[str, ...] = ()


def hosts(session: orm.Session, now: float) -> dict[str, Verdict | None]:
    """All hosts that were approved, as their rows have it.

    None: no result of a host counts.
    """
    columns = _TABLE.__table__.c
    rows = session.execute(
        sa.select(
            columns.name,
            columns.tier,
            columns.issued,
            columns.expires,
            columns.evicted_at,
        ).where(columns.approved)
    )
    return {row[0]: _verdict(row, now) for row in rows}


def _verdict(row: Any, now: float) -> Verdict | None:
    name, tier, issued, expires, evicted_at = row
    if evicted_at is not None:
        return Verdict(name, False, evicted_at, True)
    if tier is None or issued is None or expires is None:
        return None
    if now >= expires or issued > now + MAX_SKEW:
        return None
    return Verdict(name, tier == Tier.AFFIRMING, issued)


def signed(
    session: orm.Session, ring: keys.KeyRing, wanted: Iterable[Verdict]
) -> dict[str, Verdict]:
    """Those of them that the service signed, with their reasons."""
    claimed = {one.host: one for one in wanted}
    found = {
        host: dataclasses.replace(one, reasons=(errors.Reason.EVICTED,))
        for host, one in claimed.items()
        if one.evicted
    }
    names = sorted(set(claimed) - set(found))
    for start in range(0, len(names), _BATCH):
        for host, token in session.execute(
            sa.select(_TABLE.name, _TABLE.token).where(
                _TABLE.name.in_(names[start : start + _BATCH])
            )
        ):
            verified = _verified(claimed[host], token, ring)
            if verified is not None:
                found[host] = verified
    return found


def _verified(
    verdict: Verdict, token: str | None, ring: keys.KeyRing
) -> Verdict | None:
    try:
        claims = tokens.authentic(token or '', ring, KIND)
        said = claims['sub'], claims['tier'] == Tier.AFFIRMING, claims['iat']
        reasons = tuple(map(str, claims['reasons']))
    except (tokens.TokenError, KeyError, TypeError):
        return None
    if said != (verdict.host, verdict.good, verdict.issued):
        return None
    return dataclasses.replace(verdict, reasons=reasons)
