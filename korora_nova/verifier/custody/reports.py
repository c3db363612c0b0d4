# SPDX-License-Identifier: Apache-2.0
"""What hosts report with each attestation: keys held, and the last receipt.

From it the service notices that its database is older than its hosts.
"""

from __future__ import annotations

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody.bodies import Attest
from korora_nova.custody.receipt import verify_receipt
from korora_nova.rats.signed import token as tokens
from korora_nova.verifier import audit
from korora_nova.verifier.custody import ledger, receipts
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

#: Keys that are noted of one host; more would be no host.
MAX_HELD = 1 << 16


def hear(
    service: Service,
    session: orm.Session,
    host: str,
    report: Attest,
    *,
    trusted: bool,
) -> None:
    """Take note of a host's last receipt and held keys.

    A receipt that is not known here, or a key of an epoch never issued,
    means that this database is older than the hosts (it was restored):
    permits, approvals and receipts stop until an operator recovers.  No
    host can stop them by its word alone: the receipt is signed, and what is
    held counts only if the host is trusted.  Nor twice by one receipt: it is
    kept, and the recovery settles it.

    :param trusted: whether the report came with affirming evidence.
    """
    row = session.get(models.Host, host)
    if row is None:
        raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
    token = report.receipt_head
    row.receipt_head = tokens.digest(token).hex() if token else ''
    why = _unknown_receipt(service, session, row, token)
    if trusted:
        row.held = _merged(row.held, report)
        why = why or _unknown_epoch(session, report)
    if why and not ledger.state(session).behind:
        _stop(service, session, host, why)


def _stop(service: Service, session: orm.Session, host: str, why: str) -> None:
    """No permit, approval or receipt from now on."""
    LOG.error(
        'The ledger is behind its hosts: host %(host)s has %(why)s. Permits '
        'and approvals stop until it is recovered.',
        {'host': host, 'why': why},
    )
    table = models.Ledger
    api.must_swap(
        session,
        sa.update(table)
        .where(table.id == 1, table.behind == '')
        .values(behind=f'{host}: {why}'),
    )
    audit.record(
        service,
        session,
        actor=host,
        action='ledger behind',
        subject=host,
        note=why,
    )


def _unknown_receipt(
    service: Service,
    session: orm.Session,
    row: models.Host,
    token: str,
) -> str:
    """A receipt of ours that was not known here; '' if none. It is filed."""
    head = row.receipt_head
    if (
        not token
        or session.scalars(
            sa.select(models.Receipt.hash).where(models.Receipt.hash == head)
        ).one_or_none()
        is not None
    ):
        return ''
    try:
        item = verify_receipt(token, service.ring, cloud=service.cloud)
    except errors.CustodyError as exc:
        LOG.warning(
            'Host %(host)s reports a receipt that is not ours: %(why)s',
            {'host': row.name, 'why': exc},
        )
        return ''
    receipts.file(service, session, [item])
    return f'the receipt {head}'


def _merged(
    before: list[list[str | int]], report: Attest
) -> list[list[str | int]]:
    """What a host holds, after one page of its report."""
    others = [one for one in before if not report.covers(str(one[0]))]
    page: list[list[str | int]] = [list(key) for key in report.held]
    return sorted(others + page, key=lambda one: str(one[0]))[:MAX_HELD]


def _unknown_epoch(session: orm.Session, report: Attest) -> str:
    """A key this host holds at an epoch never issued; '' if none."""
    table = models.Server
    known = {
        found.instance: found.max_epoch
        for found in session.execute(
            sa.select(table.instance, table.max_epoch).where(
                table.instance.in_([key.instance for key in report.held])
            )
        )
    }
    for instance, epoch in report.held:
        if epoch > known.get(instance, 0):
            return f'epoch {epoch} of server {instance}'
    return ''
