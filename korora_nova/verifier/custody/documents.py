# SPDX-License-Identifier: Apache-2.0
"""Documents in SQL: signed here, or presented by hosts."""

from __future__ import annotations

from typing import TypedDict

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova.custody import documents
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.documents import GENESIS, Document
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.receipt import Receipt
from korora_nova.rats.signed import token as tokens
from korora_nova.verifier.custody import ledger
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service


class Place(TypedDict):
    """The fields of a document that say where it comes in the chain."""

    cloud: str
    incarnation: str
    instance: str
    version: int
    prev: str
    issued: float


def next_place(
    service: Service,
    session: orm.Session,
    instance: str,
    row: LedgerRow | None,
) -> Place:
    """Where the next document of a server comes.

    :param row: its row now.
    """
    return {
        'cloud': service.cloud,
        'incarnation': ledger.incarnation(session),
        'instance': instance,
        'version': row.version + 1 if row else 1,
        'prev': row.head if row else GENESIS,
        'issued': service.clock(),
    }


def append(
    service: Service,
    session: orm.Session,
    old: LedgerRow | None,
    document: Document,
) -> str:
    """Sign a document and make its row the server's.

    :param old: the row that ``document`` follows.
    :returns: the signed token.
    :raises Lost: the row was changed meanwhile.
    """
    key = service.signers.custody
    token = documents.sign(document, key)
    row = document.row(tokens.digest(token).hex())
    ledger.replace(session, old, row)
    store(service, session, document, token, key.kid)
    return token


def store(
    service: Service,
    session: orm.Session,
    document: Document,
    token: str,
    kid: str,
) -> None:
    """Keep a document; its place in the log comes later.

    :raises Lost: another worker kept it meanwhile.
    """
    session.add(
        models.Document(
            hash=tokens.digest(token).hex(),
            instance=document.instance,
            version=document.version,
            kind=document.KIND.typ,
            subject=document.subject,
            kid=kid,
            stored_at=service.clock(),
            token=token,
        )
    )
    try:
        session.flush()
    except db_exc.DBDuplicateEntry:
        raise api.Lost() from None


def find(session: orm.Session, digest: str | None) -> str | None:
    """The document of a digest, hex."""
    if digest is None:
        return None
    row = session.get(models.Document, digest)
    return row.token if row is not None else None


def receipt_of(session: orm.Session, migration: str) -> str | None:
    """The newest receipt of a hand-over; None while undecided."""
    table = models.Document
    return session.scalars(
        sa.select(table.token)
        .where(table.subject == migration, table.kind == Receipt.KIND.typ)
        .order_by(table.version.desc())
        .limit(1)
    ).one_or_none()


def is_known(session: orm.Session, item: AnyVerified) -> bool:
    """Whether a document is kept here."""
    return session.get(models.Document, item.hash) is not None
