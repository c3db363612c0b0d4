# SPDX-License-Identifier: Apache-2.0
"""What hosts report with each attestation: the documents they have (C11).

A host's bare word moves nothing (I15). If it knows of a document that is not
known here, it is asked to show it; if it lacks one, it is sent.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody.bodies import Attest, Known
from korora_nova.custody.exchange import Heard
from korora_nova.custody.ledger import LedgerRow
from korora_nova.rats.words import Tier
from korora_nova.verifier import certificates
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import documents, ledger
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

#: Servers that one answer asks for, and documents that it brings.
ASKED = 64
#: Seconds for which it stays noted when a holder last reported a key.
FRESH = 300.0


@dataclasses.dataclass(frozen=True)
class _Compared:
    """What a page and the ledger know of the same servers.

    :param wanted: the host has what is not known here.
    :param lacking: rows that are newer than what the host has.
    """

    wanted: tuple[str, ...]
    lacking: tuple[LedgerRow, ...]


def hear(service: Service, attested: Attested, body: Attest) -> Heard:
    """Take note of a page of what a host knows.

    :returns: servers whose documents it should present, and documents that
        it lacks.
    """
    compared = _compare(service, body.known)
    _note(service, attested.host, body, whole=not compared.wanted)
    if attested.tier == Tier.AFFIRMING:
        _note_keys(service, attested.host, body.known)
    return Heard(
        service.signers.approval.kid,
        compared.wanted[:ASKED],
        _news(service, compared.lacking),
        certificates.renew(service, attested, body.tls),
    )


def _compare(service: Service, known: Sequence[Known]) -> _Compared:
    """Hold a page against rows and kept documents."""
    with service.db.read() as session:
        rows = ledger.load_all(session, [one.instance for one in known])
        lower = [
            one.digest
            for one in known
            if one.instance in rows
            and one.version < rows[one.instance].version
        ]
        kept = documents.find_all(session, lower)
    wanted, lacking = [], []
    for one in known:
        row = rows.get(one.instance)
        if row is None or one.version > row.version:
            wanted.append(one.instance)
        elif one.version == row.version:
            if one.digest != row.head:
                wanted.append(one.instance)
        elif one.digest in kept:
            lacking.append(row)
        else:
            wanted.append(one.instance)
    return _Compared(tuple(wanted), tuple(lacking))


def _news(service: Service, lacking: Sequence[LedgerRow]) -> tuple[str, ...]:
    """The newest documents of some servers, as far as they may be told.

    An anchor that does not answer keeps no host from attesting.
    """
    instances = [row.instance for row in lacking[:ASKED]]
    try:
        told = tellable(service, *ledger.read(service, instances))
    except (errors.Unavailable, errors.Conflict) as exc:
        LOG.warning('No document can be sent to hosts: %s', exc)
        return ()
    with service.db.read() as session:
        kept = documents.find_all(session, [row.head for row in told])
    return tuple(kept.values())


def tellable(
    service: Service, of: str, rows: ledger.Rows
) -> tuple[LedgerRow, ...]:
    """Those rows that are not behind the anchor, nor forked.

    :param of: incarnation of the ledger.
    :param rows: as they were read together with what is to be told.
    :raises Conflict: ANCHOR_MISSING.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """
    if not rows:
        return ()
    marks = service.anchor.get(of, list(rows))
    told = []
    for instance, row in rows.items():
        mark = marks.get(instance)
        if ledger.is_behind(row, mark) or ledger.is_forked(row, mark):
            continue
        ledger.anchor(service, of, row, mark)
        told.append(row)
    return tuple(told)


@api.retried
def _note(service: Service, host: str, page: Attest, *, whole: bool) -> None:
    """Note how far a report has come.

    A report counts from when its first page was heard, if its pages follow
    each other and none knew anything that is not known here.

    :param whole: nothing is wanted of this page.
    """
    now = service.clock()
    with service.db.write() as session:
        row = session.get(models.Host, host, with_for_update=True)
        if row is None:
            raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
        began = _began(row, page, now) if whole else None
        if page.is_whole and began is not None:
            row.reported_at = began
        if (row.report_began, row.report_upto) != (None, '') or page.upto:
            row.report_began = began if page.upto else None
            row.report_upto = page.upto


def _began(row: models.Host, page: Attest, now: float) -> float | None:
    """When the report began that this page belongs to; None: unknown."""
    if not page.after:
        return now
    return row.report_began if page.after == row.report_upto else None


def _note_keys(service: Service, host: str, known: Iterable[Known]) -> None:
    """Note under which approval key the keys rest that a host holds."""
    by_kid = collections.defaultdict(list)
    for one in known:
        by_kid[one.kid].append(one.instance)
    with service.db.read() as session:
        stale = {
            kid: _stale(service, session, host, kid, instances)
            for kid, instances in by_kid.items()
        }
    for kid, instances in stale.items():
        if instances:
            _store_kid(service, host, kid, instances)


def _stale(
    service: Service,
    session: orm.Session,
    host: str,
    kid: str,
    instances: Sequence[str],
) -> list[str]:
    """Servers that a host holds, of which this is not noted yet."""
    table = models.Server
    return list(
        session.scalars(
            sa.select(table.instance)
            .where(
                table.instance.in_(instances),
                table.holder == host,
                sa.or_(
                    table.approval_kid.is_distinct_from(kid),
                    sa.func.coalesce(table.reported_at, 0)
                    < service.clock() - FRESH,
                ),
            )
            .order_by(table.instance)
        )
    )


@api.retried
def _store_kid(
    service: Service, host: str, kid: str, instances: Sequence[str]
) -> None:
    table = models.Server
    with service.db.write() as session:
        session.execute(
            sa.update(table)
            .where(table.instance.in_(instances), table.holder == host)
            .values(approval_kid=kid, reported_at=service.clock()),
            execution_options={'synchronize_session': False},
        )
