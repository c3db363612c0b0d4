# SPDX-License-Identifier: Apache-2.0
"""What still needs each of the service's keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody.permit import verify_permit
from korora_nova.rats.signed import keys, result
from korora_nova.rats.signed import token as tokens
from korora_nova.verifier.custody import migrations
from korora_nova.verifier.db import api, models

#: Servers and hosts that a sentence names.
NAMED = 5


@dataclasses.dataclass
class Need:
    """What needs one key.

    :ivar resting: host -> servers whose keys there rest under it.
    :ivar unsaid: the same, of hosts that have not said under which key:
        it may be this one.
    :ivar handovers: migrations that are not decided, and whose permit it
        signed or names. Of an approval key also those whose permit does not
        verify, and those that are decided but may still be reversed: a copy
        that counts then may rest under any.
    :ivar newest: servers whose newest document it signed.
    :ivar documents: how many it signed.
    :ivar results: hosts whose result it signed, unless that has expired.
    :ivar streams: hosts whose newest certificate it signed, likewise.
    """

    resting: dict[str, int] = dataclasses.field(default_factory=dict)
    unsaid: Mapping[str, int] = dataclasses.field(default_factory=dict)
    handovers: list[str] = dataclasses.field(default_factory=list)
    newest: list[str] = dataclasses.field(default_factory=list)
    documents: int = 0
    results: list[str] = dataclasses.field(default_factory=list)
    streams: list[str] = dataclasses.field(default_factory=list)

    def now(self) -> list[str]:
        """What would stop if nothing counted that it signs or signed."""
        told = [
            f'{count} {_plural("key", count)} on {host} rest under it'
            for host, count in sorted(self.resting.items())
        ]
        told += [
            f'{host} has not said under which key {count} of its own rest'
            for host, count in sorted(self.unsaid.items())
        ]
        told += [f'the hand-over {one} needs it' for one in self.handovers]
        if self.newest:
            told.append(
                f'it signed the newest document of {_some(self.newest)}'
            )
        return told

    def ever(self) -> list[str]:
        """What could not be verified any more, that included."""
        told = self.now()
        if self.documents:
            told.append(f'{self.documents} documents are signed with it')
        if self.results:
            told.append(f'it signed the results of {_some(self.results)}')
        if self.streams:
            told.append(f'it signed the certificates of {_some(self.streams)}')
        return told


def needs(
    db: api.Database, ring: keys.KeyRing, now: float
) -> Mapping[str, Need]:
    """What needs each key of a ring.

    :param now: seconds since 1970.
    :raises Unavailable: DATABASE_UNAVAILABLE.
    """
    found = {key.kid: Need() for key in ring.pinned}
    approval = [found[key.kid] for key in ring.pinned if key.use == 'approval']
    with db.read() as session:
        unsaid: dict[str, int] = {}
        for kid, host, count in _resting(session):
            if kid is not None and kid in found:
                found[kid].resting[host] = count
            else:
                unsaid[host] = unsaid.get(host, 0) + count
        for need in approval:
            need.unsaid = unsaid
        for migration, named in _handovers(session, ring):
            for kid in named & found.keys():
                found[kid].handovers.append(migration)
        for migration in _reversible(session):
            for need in approval:
                need.handovers.append(migration)
        _count_documents(session, found)
        for host, kid in _results(session, now):
            if kid in found:
                found[kid].results.append(host)
        _find_streams(session, found, now)
    return found


def _resting(
    session: orm.Session,
) -> Iterator[tuple[str | None, str, int]]:
    """Approval key (None: not said), host, servers' keys that rest there.

    What a host says that it has lost rests under none.
    """
    table = models.Server
    found = session.execute(
        sa.select(table.approval_kid, table.holder, sa.func.count())
        .where(
            table.holder.is_not(None),
            table.approval_kid.is_distinct_from(''),
        )
        .group_by(table.approval_kid, table.holder)
    )
    return ((kid, host or '', count) for kid, host, count in found)


def _handovers(
    session: orm.Session, ring: keys.KeyRing
) -> Iterator[tuple[str, set[str]]]:
    """Migrations that are not decided, with the keys that they need."""
    table, document = models.Migration, models.Document
    for migration, kid, token in session.execute(
        sa.select(table.id, document.kid, document.token)
        .outerjoin(document, document.hash == table.permit_hash)
        .where(
            table.status.in_(migrations.OPEN), table.permit_hash.is_not(None)
        )
        .order_by(table.id)
    ):
        try:
            permit = verify_permit(token or '', ring).content
            yield migration, {kid, permit.approval_kid}
        except errors.CustodyError:
            yield migration, {kid, *ring.approval}


def _reversible(session: orm.Session) -> Iterator[str]:
    """Migrations whose ends may come to words that reverse the receipt.

    As in custody.rst, Disputes: both have not said the same, and the
    server's newest document is the receipt. Whoever was evicted is silent.
    """
    table, document = models.Migration, models.Document
    present = sa.select(models.Host.name).where(
        models.Host.evicted_at.is_(None)
    )
    yield from session.scalars(
        sa.select(table.id)
        .join(document, document.subject == table.id)
        .join(models.Server, models.Server.head == document.hash)
        .where(
            table.status.in_(migrations.DECIDED),
            table.start_hash.is_not(None),
            sa.or_(
                table.contradicted_at.is_not(None),
                sa.and_(
                    table.source_word.is_(None), table.source.in_(present)
                ),
                sa.and_(table.dest_word.is_(None), table.dest.in_(present)),
            ),
        )
        .order_by(table.id)
    )


def _count_documents(session: orm.Session, found: dict[str, Need]) -> None:
    document, server = models.Document, models.Server
    for kid, count in session.execute(
        sa.select(document.kid, sa.func.count()).group_by(document.kid)
    ):
        if kid in found:
            found[kid].documents = count
    for kid, instance in session.execute(
        sa.select(document.kid, server.instance)
        .join(document, document.hash == server.head)
        .order_by(server.instance)
    ):
        if kid in found:
            found[kid].newest.append(instance)


def _results(session: orm.Session, now: float) -> Iterator[tuple[str, str]]:
    """Host, and the key that signed its result, if that still counts."""
    table = models.Host
    for host, token in session.execute(
        sa.select(table.name, table.token)
        .where(table.token.is_not(None), table.expires > now - result.MAX_SKEW)
        .order_by(table.name)
    ):
        yield host, tokens.signed_with(token)


def _find_streams(
    session: orm.Session, found: dict[str, Need], now: float
) -> None:
    """Hosts whose certificate still counts, with the key that signed it."""
    table = models.Host
    for host, kid in session.execute(
        sa.select(table.name, table.tls_authority)
        .where(table.tls_until > now, table.evicted_at.is_(None))
        .order_by(table.name)
    ):
        if kid in found:
            found[kid].streams.append(host)


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    listed = ', '.join(names[:NAMED])
    return f'{listed} and {more} more' if more > 0 else listed


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f'{noun}s'
