# SPDX-License-Identifier: Apache-2.0
"""The audit table: who decided what; written with the decision itself."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

_INSERT = sa.insert(models.table(models.Audit))


def record(
    service: Service,
    session: orm.Session,
    *,
    actor: str,
    action: str,
    subject: str,
    note: str = '',
) -> None:
    """Add a row to the transaction of the decision."""
    add(
        service,
        session.connection(),
        actor=actor,
        action=action,
        subject=subject,
        note=note,
    )


def add(
    service: Service,
    connection: sa.Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    note: str = '',
) -> None:
    """The same for a transaction without session."""
    connection.execute(
        _INSERT,
        {
            'at': service.clock(),
            'actor': actor,
            'action': action,
            'subject': subject,
            'note': note,
        },
    )
