# SPDX-License-Identifier: Apache-2.0
"""Documents that come back (C12): from hosts, or from an operator.

What the service once signed counts, whoever shows it. The newest document of
a server becomes its row, if the anchor does not know a newer one or another;
the hand-over that it is about is made again from its permit.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Container, Sequence

from oslo_db import exception as db_exc
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies, chain
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.exchange import Presented
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.permit import Permit
from korora_nova.custody.receipt import Receipt
from korora_nova.custody.start import Start
from korora_nova.custody.words import MigrationState
from korora_nova.verifier import audit
from korora_nova.verifier.anchor.base import Mark
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import documents, ledger
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

_ENDS = ('source', 'dest', 'ak_dest')


def present(
    service: Service, attested: Attested, body: bodies.Present
) -> Presented:
    """Take documents from a host; those that do not verify are left out.

    :returns: the newest documents of the same servers.
    :raises CustodyError: DOCUMENT_INVALID, RECEIPT_INVALID, PERMIT_INVALID:
        none of them verifies.
    :raises Conflict: ANCHOR_MISSING, LEDGER_FORKED.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """
    items, refused = [], []
    for token in body.documents:
        try:
            items.append(read(service, token))
        except errors.CustodyError as exc:
            refused.append(exc)
    for why in refused:
        LOG.warning(
            'Host %(host)s presents a document that is not ours: %(why)s',
            {'host': attested.host, 'why': why},
        )
    if not items:
        raise refused[0]
    return Presented(adopt(service, items, attested.host))


def recover(
    service: Service, tokens: Sequence[str], actor: str
) -> dict[str, int]:
    """Take documents from an operator: all of them or none.

    :returns: ``servers`` that they are about; ``current``: as many of these
        may be told of now.
    :raises CustodyError: DOCUMENT_INVALID, RECEIPT_INVALID, PERMIT_INVALID.
    :raises Conflict, Unavailable: as :func:`present`.
    """
    items = [read(service, token) for token in tokens]
    servers = {item.content.instance for item in items}
    return {
        'servers': len(servers),
        'current': len(adopt(service, items, actor)),
    }


def read(service: Service, token: str) -> AnyVerified:
    """Verify a document of this ledger.

    :raises CustodyError: DOCUMENT_INVALID, RECEIPT_INVALID, PERMIT_INVALID.
    """
    with service.db.read() as session:
        incarnation = ledger.incarnation(session)
    return chain.read(token, service.ring, incarnation=incarnation)


def adopt(
    service: Service, items: Sequence[AnyVerified], actor: str
) -> tuple[str, ...]:
    """Take documents, server by server.

    :returns: the newest documents of these servers, as far as they may be
        told.
    """
    servers: dict[str, list[AnyVerified]] = defaultdict(list)
    for item in items:
        servers[item.content.instance].append(item)
    heads = []
    for instance, shown in servers.items():
        row = ledger.restore(
            service,
            instance,
            functools.partial(_adopt, service, actor, shown),
        )
        if row is not None:
            heads.append(row.head)
    with service.db.read() as session:
        return tuple(documents.find_all(session, heads).values())


def _adopt(
    service: Service,
    actor: str,
    shown: Sequence[AnyVerified],
    session: orm.Session,
    row: LedgerRow | None,
    mark: Mark | None,
) -> LedgerRow | None:
    known = set(documents.find_all(session, [item.hash for item in shown]))
    for item in shown:
        documents.file(service, session, item)
    newest, adopted = row, ''
    for item in sorted(shown, key=lambda one: one.content.version):
        if _counts(item, newest, mark):
            newest = item.row
    if newest is not None and newest != row:
        ledger.replace(session, row, newest)
        adopted = newest.head
        audit.record(
            service,
            session,
            actor=actor,
            action='presented',
            subject=newest.instance,
            note=f'document {newest.version}',
        )
    if newest is not None:
        documents.untangle(service, session, newest)
    for migration in {item.content.subject for item in shown} - {''}:
        _rebuild(service, session, migration, newest, known - {adopted})
    return newest


def _counts(
    item: AnyVerified, row: LedgerRow | None, mark: Mark | None
) -> bool:
    """Whether a document says more than a row, and what the anchor says."""
    version = item.content.version
    if mark is not None:
        if version == mark.version and item.hash != mark.digest:
            return False
        if version == mark.version + 1 and item.content.prev != mark.digest:
            return False
    if row is None or version > row.version:
        return True
    # Of two of one version the anchor's is the row's.
    return (
        mark is not None
        and version == row.version
        and item.hash != row.head
        and (version, item.hash) == mark
    )


def _rebuild(
    service: Service,
    session: orm.Session,
    migration: str,
    newest: LedgerRow | None,
    known_before: Container[str],
) -> None:
    """Bring a hand-over's row to what its documents say.

    :param newest: the server's row.
    :param known_before: documents, by digest, that are no news: words that
        were said after them count.
    """
    found = documents.of_migration(service, session, migration)
    permit = _last(found, Permit)
    if permit is None:
        return
    values = _from_permit(permit)
    start, receipt = _last(found, Start), _last(found, Receipt)
    if start is not None:
        values['start_hash'] = start.hash
    elif receipt is not None and _followed_start(permit, receipt):
        values['start_hash'] = receipt.content.prev
    pending = newest is not None and newest.pending == migration
    state = _state(start, receipt, pending=pending)
    known = session.get(models.Migration, migration)
    if known is None:
        known = _missing(service, session, permit)
    if receipt is not None and (
        known.status != state or receipt.hash not in known_before
    ):
        values |= _words(receipt.content)
    elif any(getattr(known, name) != values[name] for name in _ENDS):
        # Another host had called itself an end before.
        values |= dict.fromkeys(('source_word', 'dest_word'))
    if (known.status, state) != (
        MigrationState.SEALED,
        MigrationState.PERMITTED,
    ):
        values['status'] = state
    changed = {
        name: value
        for name, value in values.items()
        if getattr(known, name) != value
    }
    for name, value in changed.items():
        setattr(known, name, value)
    if changed:
        known.updated_at = service.clock()
    session.flush()


def _followed_start(permit: AnyVerified, receipt: AnyVerified) -> bool:
    """Whether a start, that nobody shows, was signed before a receipt.

    It is the one document that comes between; ``prev`` of the receipt then
    is its digest, or stands for it where another receipt came between, too.
    """
    return bool(receipt.content.version > permit.content.version + 1)


def _state(
    start: AnyVerified | None, receipt: AnyVerified | None, *, pending: bool
) -> MigrationState:
    """Where a hand-over stands.

    :param pending: whether the server's row still waits for it.
    """
    if receipt is not None:
        return MigrationState(receipt.content.outcome)
    if not pending:
        return MigrationState.ABORTED  # the server went on without it
    return MigrationState.PERMITTED if start is None else MigrationState.MOVING


def _words(receipt: Receipt) -> dict[str, object]:
    """What the ends had said, and did not contradict each other in."""
    return {
        'source_word': receipt.source_word or None,
        'dest_word': receipt.dest_word or None,
        'contradicted_at': None,
    }


def _last(found: Sequence[AnyVerified], kind: type) -> AnyVerified | None:
    """The newest document of a kind."""
    return next(
        (one for one in reversed(found) if isinstance(one.content, kind)), None
    )


def _from_permit(item: AnyVerified) -> dict[str, object]:
    """The columns of a hand-over that its permit knows."""
    permit: Permit = item.content
    same = (
        'instance',
        'source',
        'dest',
        'msk_name',
        'ak_source',
        'ak_dest',
        'address',
        'tls_name',
        'kind',
        'dest_pcr_digest',
        'dest_reset_restart',
        'source_reset_restart',
        'epoch',
        'new_epoch',
    )
    return {
        **{name: getattr(permit, name) for name in same},
        'permit_hash': item.hash,
    }


def _missing(
    service: Service, session: orm.Session, permit: AnyVerified
) -> models.Migration:
    """A row for a hand-over that had none.

    :raises Lost: another worker has made it.
    """
    content: Permit = permit.content
    known = models.Migration(
        id=content.migration,
        status=MigrationState.PERMITTED,
        dest_issued=content.issued,
        dest_clock_ms='0',
        taint=[],
        created_at=content.issued,
        updated_at=service.clock(),
        **_from_permit(permit),
    )
    session.add(known)
    try:
        session.flush()
    except db_exc.DBDuplicateEntry:
        raise api.Lost() from None
    return known
