# SPDX-License-Identifier: Apache-2.0
"""Documents in SQL: signed here, or presented by hosts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TypedDict

import jwt
import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import chain, documents
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.documents import GENESIS, Document
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.receipt import Receipt
from korora_nova.rats.signed import token as tokens
from korora_nova.verifier.custody import ledger
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

_INSERT = sa.insert(models.table(models.Document))


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
    boot: str | None = None,
) -> str:
    """Sign a document and make its row the server's.

    :param old: the row that ``document`` follows.
    :param boot: see :func:`.ledger.replace`.
    :returns: the signed token.
    :raises Lost: the row was changed meanwhile.
    """
    key = service.signers.custody
    token = documents.sign(document, key)
    row = document.row(tokens.digest(token).hex())
    ledger.replace(session, old, row, boot)
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
    values = {
        'hash': tokens.digest(token).hex(),
        'instance': document.instance,
        'version': document.version,
        'kind': document.KIND.typ,
        'subject': document.subject,
        'kid': kid,
        'stored_at': service.clock(),
        'token': token,
    }
    try:
        session.execute(_INSERT, values)
    except db_exc.DBDuplicateEntry:
        raise api.Lost() from None


def file(service: Service, session: orm.Session, item: AnyVerified) -> None:
    """Keep a document that was presented, unless it is kept already.

    :raises Lost: another worker kept it meanwhile.
    """
    if session.get(models.Document, item.hash) is None:
        kid = jwt.get_unverified_header(item.token)['kid']
        store(service, session, item.content, item.token, kid)


def untangle(service: Service, session: orm.Session, row: LedgerRow) -> None:
    """Of two documents of one version, leave the one that counts.

    Two services signed for one server. What counts is the row's chain: the
    other one is kept for auditors, and told to nobody as a hand-over's.
    """
    table = models.Document
    twice = session.scalars(
        sa.select(table.version)
        .where(table.instance == row.instance)
        .group_by(table.version)
        .having(sa.func.count() > 1)
    ).all()
    for version in twice:
        counting = _named(service, session, row, version)
        for found in session.scalars(
            sa.select(table).where(
                table.instance == row.instance, table.version == version
            )
        ):
            if counting is not None and found.hash != counting:
                found.subject = ''
    session.flush()


def _named(
    service: Service, session: orm.Session, row: LedgerRow, version: int
) -> str | None:
    """Digest of a version in the row's chain; None: not known."""
    digest = row.head
    for _ in range(row.version - version):
        token = find(session, digest)
        if token is None:
            return None
        digest = chain.read(token, service.ring).content.prev
    return digest if version <= row.version else None


def find(session: orm.Session, digest: str | None) -> str | None:
    """The document of a digest, hex."""
    return find_all(session, [digest or '']).get(digest or '')


def find_all(session: orm.Session, digests: Sequence[str]) -> dict[str, str]:
    """Documents by their digests, hex."""
    table = models.Document
    rows = session.execute(
        sa.select(table.hash, table.token).where(table.hash.in_(digests))
    )
    return {digest: token for digest, token in rows}


def receipt_of(session: orm.Session, migration: str) -> str | None:
    """The newest receipt of a hand-over; None while undecided."""
    table = models.Document
    return session.scalars(
        sa.select(table.token)
        .where(table.subject == migration, table.kind == Receipt.KIND.typ)
        .order_by(table.version.desc())
        .limit(1)
    ).one_or_none()


def of_migration(
    service: Service, session: orm.Session, migration: str
) -> list[AnyVerified]:
    """All documents of a hand-over that verify, by version."""
    table = models.Document
    return _verified(
        service,
        session.scalars(
            sa.select(table.token)
            .where(table.subject == migration)
            .order_by(table.version)
        ),
    )


def receipts_of_server(
    service: Service, session: orm.Session, instance: str
) -> list[AnyVerified]:
    """A server's receipts that verify, newest first."""
    table = models.Document
    return _verified(
        service,
        session.scalars(
            sa.select(table.token)
            .where(table.instance == instance, table.kind == Receipt.KIND.typ)
            .order_by(table.version.desc())
        ),
    )


def _verified(service: Service, found: Iterable[str]) -> list[AnyVerified]:
    verified = []
    for token in found:
        # One whose key is not pinned any more says nothing.
        with contextlib.suppress(errors.CustodyError):
            verified.append(chain.read(token, service.ring))
    return verified
