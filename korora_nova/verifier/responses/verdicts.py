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
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.signed.result import KIND, MAX_SKEW
from korora_nova.rats.words import Tier
from korora_nova.verifier.db import models

LOG = logging.getLogger(__name__)

_BATCH = 500
_TABLE = models.Host


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A host's result as its row has it, not yet verified.

    :param issued: seconds since 1970; when it was evicted, if it was.
    :param evicted: an operator's word, which nothing signs.
    """

    host: str
    good: bool
    issued: float
    reasons: tuple[str, ...]
    evicted: bool = False


def hosts(session: orm.Session, now: float) -> dict[str, Verdict | None]:
    """All hosts that were approved; None: no result of it counts."""
    rows = session.execute(
        sa.select(
            _TABLE.name,
            _TABLE.tier,
            _TABLE.reasons,
            _TABLE.issued,
            _TABLE.expires,
            _TABLE.evicted_at,
        ).where(_TABLE.approved)
    )
    return {row.name: _verdict(row, now) for row in rows}


def _verdict(row: Any, now: float) -> Verdict | None:
    if row.evicted_at is not None:
        evicted = (errors.Reason.EVICTED,)
        return Verdict(row.name, False, row.evicted_at, evicted, True)
    if row.tier is None or row.issued is None or row.expires is None:
        return None
    if now >= row.expires or row.issued > now + MAX_SKEW:
        return None
    good = row.tier == Tier.AFFIRMING
    return Verdict(row.name, good, row.issued, tuple(row.reasons))


def signed(
    session: orm.Session, ring: keys.KeyRing, wanted: Iterable[Verdict]
) -> dict[str, Verdict]:
    """Those of them that the service signed."""
    claimed = {one.host: one for one in wanted}
    found = {host: one for host, one in claimed.items() if one.evicted}
    names = sorted(set(claimed) - set(found))
    for start in range(0, len(names), _BATCH):
        for host, token in session.execute(
            sa.select(_TABLE.name, _TABLE.token).where(
                _TABLE.name.in_(names[start : start + _BATCH])
            )
        ):
            if _is_signed(claimed[host], token, ring):
                found[host] = claimed[host]
            else:
                LOG.error(
                    'The result of host %s in the database is not what the '
                    'service signed; nothing follows from it.',
                    host,
                )
    return found


def _is_signed(
    verdict: Verdict, token: str | None, ring: keys.KeyRing
) -> bool:
    try:
        claims = tokens.authentic(token or '', ring, KIND)
        said = claims['sub'], claims['tier'], claims['iat']
    except (tokens.TokenError, KeyError, TypeError):
        return False
    host, tier, issued = said
    return (host, tier == Tier.AFFIRMING, issued) == (
        verdict.host,
        verdict.good,
        verdict.issued,
    )
