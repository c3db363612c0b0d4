# SPDX-License-Identifier: Apache-2.0
"""The documents of policies: kept in parts, read and compiled."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats import policy
from korora_nova.verifier import cache
from korora_nova.verifier.appraisal import packed
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

#: The name of the built-in policy, which is in the code only.
EXACT = 'exact'
EXACT_KEY: cache.Key = (EXACT, 0)


def store(
    session: orm.Session, owner: str, revision: int, content: bytes
) -> None:
    """Keep a document in the place of the policy's last one.

    :param owner: uuid of the policy.
    :param content: packed.
    """
    delete(session, owner)
    for seq, part in enumerate(packed.split(content)):
        session.add(
            models.PolicyPart(
                uuid=owner, revision=revision, seq=seq, content=part
            )
        )
        session.flush()


def delete(session: orm.Session, owner: str) -> None:
    """Forget the document of the policy with this uuid."""
    session.execute(
        sa.delete(models.PolicyPart).where(models.PolicyPart.uuid == owner)
    )


def read(session: orm.Session, key: cache.Key) -> Mapping[str, object]:
    """The document of one revision.

    :raises Lost: another revision took its place just now.
    """
    table = models.PolicyPart
    parts = session.scalars(
        sa.select(table.content)
        .where(table.uuid == key[0], table.revision == key[1])
        .order_by(table.seq)
    ).all()
    if not parts:
        raise api.Lost()
    document: Mapping[str, object] = packed.unpack(b''.join(parts))
    return document


def load(service: Service, key: cache.Key) -> policy.Policy:
    """Read and compile a policy; a large one takes seconds.

    :raises Unavailable: INTERNAL, this release cannot read it.
    """
    if key == EXACT_KEY:
        return policy.EXACT
    try:
        return policy.load(_read(service, key), service.rules)
    except errors.Invalid as exc:
        raise errors.Unavailable(
            errors.Reason.INTERNAL,
            f'A stored policy cannot be read by this release: {exc.message}',
            details=exc.details,
        ) from exc


@api.retried
def _read(service: Service, key: cache.Key) -> Mapping[str, object]:
    with service.db.read() as session:
        return read(session, key)
