# SPDX-License-Identifier: Apache-2.0
"""Results that do not stand any more, because a source has changed its word.

A host's result is signed when it attests. What other verifiers say meanwhile
can only lower it: then it is signed again, with the times that it had. What
they have to say for a host counts from its next attestation on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova.rats.signed import result
from korora_nova.rats.verdict import NATIVE, Combined, Verdict, combine
from korora_nova.rats.words import Tier
from korora_nova.verifier import audit, enforcement, numbers, results
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service
from korora_nova.verifier.sources import judged, verdicts

LOG = logging.getLogger(__name__)

#: Hosts that are read at once.
BATCH = 500
#: Who has done it, in the audit table.
ACTOR = 'korora-sources'

_TABLE = models.Host


def lower(service: Service) -> int:
    """Sign anew what is affirmed and should not be; how many."""
    done, after = 0, ''
    while True:
        found = _batch(service, after)
        done += sum(
            _lower(service, host)
            for host, combined in found.items()
            if combined is not None
        )
        if len(found) < BATCH:
            return done
        after = max(found)


def _batch(service: Service, after: str) -> Mapping[str, Combined | None]:
    """Affirmed hosts behind a name; what is to become of their results.

    None: they stand.
    """
    with service.db.read() as session:
        rows = session.scalars(
            sa.select(_TABLE)
            .where(
                _TABLE.name > after,
                _TABLE.tier == str(Tier.AFFIRMING),
                _TABLE.expires > service.clock(),
                _TABLE.evicted_at.is_(None),
            )
            .order_by(_TABLE.name)
            .limit(BATCH)
        ).all()
        others = verdicts.of(service, session, [row.name for row in rows])
        return {
            row.name: _lowered(service, row, others[row.name]) for row in rows
        }


def _lowered(
    service: Service, row: models.Host, others: tuple[Verdict, ...]
) -> Combined | None:
    native = next(
        (
            dataclasses.replace(one, required=service.sources[0].required)
            for one in results.sources(service, row)
            if one.source == NATIVE
        ),
        # It was signed when there was no other source.
        Verdict(
            NATIVE,
            service.sources[0].required,
            True,
            Tier.AFFIRMING,
            (),
            row.name,
            row.issued or 0.0,
            row.expires or 0.0,
        ),
    )
    combined = combine((native, *others), service.clock())
    return None if combined.tier is Tier.AFFIRMING else combined


@api.retried
def _lower(service: Service, host: str) -> bool:
    with service.db.write() as session:
        row = session.get(_TABLE, host)
        if row is None or row.ak_name is None or row.tier != Tier.AFFIRMING:
            return False
        others = verdicts.of(service, session, [host])[host]
        combined = _lowered(service, row, others)
        if combined is None:
            return False
        _store(service, session, row, combined)
    LOG.warning(
        'The result of host %(host)s is lowered to %(tier)s: %(reasons)s',
        {
            'host': host,
            'tier': combined.tier,
            'reasons': ' '.join(combined.reasons),
        },
    )
    return True


def _store(
    service: Service,
    session: orm.Session,
    row: models.Host,
    combined: Combined,
) -> None:
    issued, expires = row.issued or 0.0, row.expires or 0.0
    token = result.sign_result(
        result.Result(
            host=row.name,
            ak_name=row.ak_name or '',
            tier=combined.tier,
            reasons=combined.reasons,
            enforcer=enforcement.Heard.of(row).missing(service),
            issued=issued,
            expires=expires,
            cloud=service.cloud,
            sources=combined.verdicts,
        ),
        service.signers.result,
    )
    audit.record(
        service,
        session,
        actor=ACTOR,
        action=combined.tier,
        subject=row.name,
        note=' '.join(combined.reasons),
    )
    api.must_swap(
        session,
        sa.update(_TABLE)
        .where(_TABLE.name == row.name, _TABLE.version == row.version)
        .values(
            version=row.version + 1,
            tier=str(combined.tier),
            reasons=list(combined.reasons),
            findings=[one.to_json() for one in judged.findings(combined)],
            token=token,
            seq=numbers.CHANGED,
        ),
    )
