# SPDX-License-Identifier: Apache-2.0
"""The audit table: who decided what; written with the decision itself."""

from __future__ import annotations

from sqlalchemy import orm

from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service


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
    session.add(
        models.Audit(
            at=service.clock(),
            actor=actor,
            action=action,
            subject=subject,
            note=note,
        )
    )
