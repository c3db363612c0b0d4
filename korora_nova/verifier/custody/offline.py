# SPDX-License-Identifier: Apache-2.0
"""Approvals in advance, for starts while this service cannot be reached.

They are what an approval is (C10), with another deadline: for the same TPM in
the same boot and state, for one key at one epoch that its host holds, with
nothing pending. What a host has of them is noted before it gets them.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from oslo_log import log as logging

from korora_nova import errors, metrics
from korora_nova.custody import bodies
from korora_nova.custody import ledger as rules
from korora_nova.custody.approval import Approval
from korora_nova.custody.offline import Offline
from korora_nova.rats.words import Tier
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import at_rest, ledger
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

#: So much longer a window may last by other clocks: a TPM's may be a third
#: slow, to which TPM2_ClockRateAdjust adds.
SLOWEST = 1.5
_R = errors.Reason
_DOUBTS = (_R.LEDGER_BEHIND, _R.LEDGER_FORKED)


def renew(service: Service, attested: Attested) -> Offline | None:
    """What a host gets for its offline window with an attestation.

    :returns: None: it has no such window. What cannot be told now, as the
        anchor or Nova does not answer, ends none that was given before.
    """
    settings = service.settings
    if not settings.offline_window or attested.tier != Tier.AFFIRMING:
        return None
    if not (settings.offline_flavors or settings.offline_aggregates):
        return None
    try:
        approvals = _renewed(service, attested)
    except (errors.Unavailable, errors.Conflict) as exc:
        LOG.warning(
            'The offline window of host %(host)s is not renewed: %(why)s',
            {'host': attested.host, 'why': exc},
        )
        return Offline(kept=True)
    metrics.OFFLINE_APPROVALS.add(len(approvals))
    return Offline(approvals, settings.offline_starts)


def _renewed(service: Service, attested: Attested) -> tuple[Approval, ...]:
    """:raises Unavailable, Conflict: nothing can be told now."""
    keys = {key.instance: key for key in _held(service, attested.host)}
    if not keys:
        return ()
    chosen = service.places.choose(attested.host, list(keys))
    chosen = chosen[: service.settings.offline_servers]
    rows = {
        instance: row
        for instance, row in _signable(service, chosen).items()
        if _may_open(row, attested.host, keys[instance].epoch)
    }
    approvals = []
    for instance in _noted(service, attested, rows):
        try:
            approvals.append(
                at_rest.approval(
                    service,
                    attested,
                    keys[instance],
                    service.settings.offline_window,
                )
            )
        except errors.CustodyError as exc:
            LOG.info('%s has no offline window: %s', instance, exc)
    return tuple(approvals)


def _held(service: Service, host: str) -> list[bodies.Key]:
    """Keys that a host holds, and reported."""
    table = models.Server
    with service.db.read() as session:
        found = session.execute(
            sa.select(table.instance, table.epoch, table.approval_kid)
            .where(
                table.holder == host,
                table.approval_kid.is_not(None),
                table.approval_kid != '',
            )
            .order_by(table.instance)
            .limit(bodies.PAGE)
        )
        return [bodies.Key(*row) for row in found]


def _signable(service: Service, instances: Sequence[str]) -> ledger.Rows:
    """Rows about which something may be signed; others are left out.

    :raises Conflict: HOSTS_UNHEARD, ANCHOR_MISSING.
    """
    left = list(instances)
    while left:
        try:
            return ledger.signable_all(service, left)
        except errors.Conflict as exc:
            doubtful = exc.details.get('instance')
            if exc.reason not in _DOUBTS or doubtful not in left:
                raise
            left.remove(doubtful)
    return {}


def _may_open(row: rules.LedgerRow, host: str, epoch: int) -> bool:
    try:
        rules.may_open(row, host, epoch)
    except (errors.CustodyError, errors.Conflict):
        return False
    return True


@api.retried
def _noted(
    service: Service, attested: Attested, rows: ledger.Rows
) -> list[str]:
    """Note what the host is about to have, before it does.

    :returns: servers whose rows are still the same; none if the host was
        evicted meanwhile.
    """
    if not rows:
        return []
    host, server = models.Host, models.Server
    boot = attested.quote.clock.reset_restart.hex()
    with service.db.write() as session:
        now = ledger.load_all(session, list(rows))
        same = [one for one in rows if now.get(one) == rows[one]]
        if not same:
            return []
        kept = api.swap(
            session,
            sa.update(host)
            .where(
                host.name == attested.host,
                host.ak_name == attested.ak_name,
                host.evicted_at.is_(None),
            )
            .values(
                offline_until=service.clock()
                + service.settings.offline_window * SLOWEST,
                offline_servers=len(same),
                offline_boot=boot,
            ),
        )
        if not kept:
            return []
        session.execute(
            sa.update(server)
            .where(
                server.instance.in_(same),
                server.opened_boot.is_distinct_from(boot),
            )
            .values(opened_boot=boot),
            execution_options={'synchronize_session': False},
        )
    return same
