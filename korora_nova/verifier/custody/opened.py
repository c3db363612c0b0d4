# SPDX-License-Identifier: Apache-2.0
"""In which boot a holder was last let open a key.

A TPM that was reset since runs no guest that was started with the key: that
fences a holder as well as an operator could.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from korora_nova.custody.ledger import LedgerRow
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service


def note_all(service: Service, rows: Iterable[LedgerRow], boot: str) -> None:
    """Note it before several are opened; mostly it is noted already.

    :raises Lost: one of the rows was changed meanwhile.
    """
    table = models.Server
    by_instance = {row.instance: row for row in rows}
    changed = sa.select(table.instance).where(
        table.instance.in_(by_instance),
        table.opened_boot.is_distinct_from(boot),
    )
    with service.db.read() as session:
        stale = session.scalars(changed.order_by(table.instance)).all()
    if not stale:
        return
    with service.db.write() as session:
        for instance in stale:
            row = by_instance[instance]
            api.must_swap(
                session,
                sa.update(table)
                .where(
                    table.instance == instance,
                    table.version == row.version,
                    table.head == row.head,
                )
                .values(opened_boot=boot),
            )
