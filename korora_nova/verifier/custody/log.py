# SPDX-License-Identifier: Apache-2.0
"""One log of all documents, for auditors.

It is extended beside the decisions, not in them: a document gets its place,
1, 2, 3, ..., when somebody reads the log. The head is a running hash,
``sha256(head before || digest)``, over all of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import chain, documents
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.receipt import Receipt
from korora_nova.rats.signed import keys
from korora_nova.verifier.anchor import base as anchors
from korora_nova.verifier.custody import ledger, reports
from korora_nova.verifier.db import api, models
from korora_nova.verifier.retention import archives
from korora_nova.verifier.service import Service

#: Documents in one transaction, and in one answer.
PAGE = 1000
#: Faults and holes that are told one by one.
TOLD = 100
GENESIS = documents.GENESIS

_T = models.Document


def extend(db: api.Database) -> None:
    """Give all documents that have none their place."""
    while _extend(db):
        pass


@api.retried
def _extend(db: api.Database) -> bool:
    """One page; returns whether there may be more."""
    with db.write() as session:
        state = session.get_one(models.Ledger, 1)
        found = session.scalars(
            sa.select(_T.hash)
            .where(_T.seq.is_(None))
            .order_by(_T.stored_at, _T.instance, _T.version, _T.hash)
            .limit(PAGE)
        ).all()
        seq, head = state.head_seq, state.head_hash
        for digest in found:
            seq, head = seq + 1, next_head(head, digest)
            session.execute(
                sa.update(_T).where(_T.hash == digest).values(seq=seq),
                execution_options={'synchronize_session': False},
            )
        table = models.Ledger
        api.must_swap(
            session,
            sa.update(table)
            .where(
                table.id == 1,
                table.head_seq == state.head_seq,
                table.head_hash == state.head_hash,
            )
            .values(head_seq=seq, head_hash=head),
        )
        return len(found) == PAGE


def next_head(head: str, digest: str) -> str:
    """The head after one more document, both in hex."""
    return hashlib.sha256(
        bytes.fromhex(head) + bytes.fromhex(digest)
    ).hexdigest()


@dataclasses.dataclass(frozen=True)
class Page:
    """Some receipts, signed tokens, in the order of the log.

    :param next: the place of the last one; 0 if there are no more.
    :param last: the place behind which all that is not told here will be.
    """

    receipts: list[str]
    next: int
    last: int

    def to_json(self) -> dict[str, object]:
        return {'receipts': self.receipts, 'next': self.next}


@dataclasses.dataclass(frozen=True)
class Query:
    """Which receipts to list.

    :param since: those after this place in the log.
    :param instance: only this server's; '' for any.
    """

    since: int = 0
    instance: str = ''
    limit: int = PAGE


def begins(session: orm.Session) -> tuple[int, str]:
    """Place and head up to which the log is in archives, too.

    The database may have deleted what is in them.
    """
    archive = archives.newest(session, archives.DOCUMENTS)
    return (archive.last, archive.head) if archive else (0, GENESIS)


def list_receipts(service: Service, query: Query) -> Page:
    """Receipts after a place in the log, one page.

    :raises Conflict: ANCHOR_MISSING.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """
    extend(service.db)
    wanted = sa.select(_T.seq, _T.token, _T.instance).where(
        _T.seq > query.since, _T.kind == Receipt.KIND.typ
    )
    if query.instance:
        wanted = wanted.where(_T.instance == query.instance)
    with service.db.read() as session:
        # The head first: rows may be newer than it, never older.
        head = session.get_one(models.Ledger, 1).head_seq
        rows = session.execute(
            wanted.order_by(_T.seq).limit(query.limit)
        ).all()
        instances = sorted({one.instance for one in rows})
        heads = ledger.load_all(session, instances)
        of = ledger.incarnation(session)
    # What is told is anchored; that a server is behind hides no old receipt.
    reports.tellable(service, of, heads)
    more = len(rows) == query.limit
    last = int(rows[-1].seq or 0) if rows else 0
    return Page(
        [row.token for row in rows],
        last if more else 0,
        last if more else max(last, head),
    )


@dataclasses.dataclass
class Report:
    """What an audit of the whole ledger found.

    :ivar documents: that verify.
    :ivar servers: that have a row.
    :ivar archived: documents that are in archives only.
    :ivar faults: sentences on what must not be, the first of them.
    :ivar holes: documents that are named by a later one and are not here:
        what was lost with a database, and is with no host any more.
    """

    documents: int = 0
    servers: int = 0
    archived: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)
    holes: list[str] = dataclasses.field(default_factory=list)

    def fault(self, text: str) -> None:
        _add(self.faults, text)

    def hole(self, text: str) -> None:
        _add(self.holes, text)

    def check(self) -> None:
        """:raises CustodyError: DOCUMENT_INVALID, there are faults."""
        if self.faults:
            raise errors.CustodyError(
                errors.Reason.DOCUMENT_INVALID, ' '.join(self.faults)
            )


def _add(told: list[str], text: str) -> None:
    if len(told) < TOLD:
        told.append(text)


def verify(
    db: api.Database, ring: keys.KeyRing, anchor: anchors.Anchor | None = None
) -> Report:
    """Audit everything.

    1. Each document verifies, and is kept under its digest; 2. those of a
    server follow each other; 3. each row is what its newest document says;
    4. no row is below the anchor; 5. the log is complete, and its head right.

    :param anchor: None: it is not asked.
    :raises Conflict, Unavailable: the anchor cannot be used.
    """
    extend(db)
    report = Report()
    with db.read() as session:
        heads = _chains(session, ring, report)
    with db.read() as session:
        _rows(session, report, heads, anchor)
    with db.read() as session:
        _log(session, report)
    return report


def _chains(
    session: orm.Session, ring: keys.KeyRing, report: Report
) -> dict[str, list[LedgerRow]]:
    """Server -> its row; several if there are several newest documents."""
    heads: dict[str, list[LedgerRow]] = {}
    report.archived = _only_archived(session)
    holes: list[str] = []
    missing = 0
    before: AnyVerified | None = None
    for item in _documents(session, ring, report):
        content = item.content
        if before is None or before.content.instance != content.instance:
            before = None
        version = before.content.version if before is not None else 0
        digest = before.hash if before is not None else GENESIS
        if content.version > version + 1:
            missing += content.version - version - 1
            holes.append(
                f'Of server {content.instance}, documents {version + 1} to '
                f'{content.version - 1} are missing.'
            )
        elif content.version == version:
            report.fault(
                f'Server {content.instance} has two documents {version}.'
            )
        elif content.prev != digest:
            report.fault(
                f'Document {content.version} of server {content.instance} '
                'does not follow the one before.'
            )
        newest = heads.setdefault(content.instance, [])
        if before is not None and content.version > version:
            newest.clear()
        newest.append(item.row)
        before = item
    # As many as were archived and deleted are no holes.
    if missing > report.archived:
        for text in holes:
            report.hole(text)
    return heads


def _only_archived(session: orm.Session) -> int:
    """Documents that the database has deleted."""
    upto, _ = begins(session)
    kept = session.scalar(sa.select(sa.func.count()).where(_T.seq <= upto))
    return upto - int(kept or 0)


def _documents(
    session: orm.Session, ring: keys.KeyRing, report: Report
) -> Iterator[AnyVerified]:
    """All that verify, by server and version."""
    for row in session.execute(
        sa.select(_T.hash, _T.instance, _T.version, _T.token)
        .order_by(_T.instance, _T.version, _T.hash)
        .execution_options(yield_per=PAGE)
    ):
        try:
            item = chain.read(row.token, ring)
        except errors.CustodyError as exc:
            report.fault(
                f'Document {row.version} of server {row.instance} does not '
                f'verify: {exc}'
            )
            continue
        content = item.content
        if (item.hash, content.instance, content.version) != (
            row.hash,
            row.instance,
            row.version,
        ):
            report.fault(
                f'Document {row.version} of server {row.instance} is kept '
                'under the name of another.'
            )
            continue
        report.documents += 1
        yield item


def _rows(
    session: orm.Session,
    report: Report,
    heads: dict[str, list[LedgerRow]],
    anchor: anchors.Anchor | None,
) -> None:
    """Hold each row against its newest document, and the anchor."""
    of = ledger.incarnation(session)
    table = models.Server
    last = ''
    while instances := session.scalars(
        sa.select(table.instance)
        .where(table.instance > last)
        .order_by(table.instance)
        .limit(PAGE)
    ).all():
        last = instances[-1]
        rows = ledger.load_all(session, instances)
        marks = anchor.get(of, instances) if anchor is not None else {}
        for instance, row in rows.items():
            report.servers += 1
            if dataclasses.replace(row, disputed=None) not in heads.pop(
                instance, []
            ):
                report.fault(
                    f'The row of server {instance} is not what its newest '
                    'document says.'
                )
            if ledger.is_behind(row, marks.get(instance)):
                report.fault(f'Server {instance} is behind its anchor.')
            if ledger.is_forked(row, marks.get(instance)):
                report.fault(
                    f'The anchor knows another document of server {instance}.'
                )
    for instance in heads:
        report.fault(f'Server {instance} has documents, but no row.')


def _log(session: orm.Session, report: Report) -> None:
    """The log has no gap behind its archives, and its head is right."""
    state = session.get_one(models.Ledger, 1)
    seq, head = begins(session)
    for row in session.execute(
        sa.select(_T.seq, _T.hash)
        .where(_T.seq > seq, _T.seq <= state.head_seq)
        .order_by(_T.seq)
        .execution_options(yield_per=PAGE)
    ):
        seq, head = seq + 1, next_head(head, row.hash)
        if row.seq != seq:
            report.fault(f'Place {seq} of the log is empty.')
            return
    if (seq, head) != (state.head_seq, state.head_hash):
        report.fault('The log does not agree with its head.')
