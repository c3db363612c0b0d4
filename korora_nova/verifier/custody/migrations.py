# SPDX-License-Identifier: Apache-2.0
"""Hand-overs, as readers see them."""

from __future__ import annotations

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.verifier.custody import receipts
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

#: Hand-overs in one list.
LISTED = 1000


def list_migrations(service: Service) -> list[dict[str, object]]:
    """The newest hand-overs, newest first."""
    table, receipt = models.Migration, models.Receipt
    with service.db.read() as session:
        rows = session.execute(
            sa.select(table, receipt.token)
            .outerjoin(
                receipt,
                sa.and_(
                    receipt.subject == table.id, receipt.chained.is_(True)
                ),
            )
            .order_by(table.created_at.desc(), table.id)
            .limit(LISTED)
        )
        return [_view(row, token) for row, token in rows]


def show(service: Service, migration: str) -> dict[str, object]:
    """One hand-over.

    :raises NotFound: MIGRATION_UNKNOWN.
    """
    with service.db.read() as session:
        row = session.get(models.Migration, migration)
        if row is None:
            raise errors.NotFound(errors.Reason.MIGRATION_UNKNOWN)
        return _view(row, receipts.of(session, migration))


def _view(row: models.Migration, receipt: str | None) -> dict[str, object]:
    return {
        'id': row.id,
        'instance': row.instance,
        'source': row.source,
        'dest': row.dest,
        'status': row.status,
        'epoch': row.new_epoch,
        'receipt': receipt,
        'taint': list(row.taint),
        'created_at': row.created_at,
        'updated_at': row.updated_at,
    }
