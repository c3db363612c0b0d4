# SPDX-License-Identifier: Apache-2.0
"""What hosts report with each attestation: the documents they have (C11).

A host's bare word moves nothing (I15). If it knows of a document that is not
known here, it is asked to show it; if it lacks one, it is sent.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody.bodies import Attest, Known
from korora_nova.custody.exchange import Heard
from korora_nova.custody.ledger import LedgerRow
from korora_nova.rats.words import Tier
from korora_nova.verifier import certificates, records
from korora_nova.verifier.attested import Attested, Report
from korora_nova.verifier.custody import documents, ledger, offline
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

#: Servers that one answer asks for, and documents that it brings.
ASKED = 64
#: Seconds for which it stays noted when a holder last reported a key.
FRESH = 300.0


def read(service: Service, host: records.Host, page: Attest) -> Report:
    """Compare a page of what a host knows; nothing is noted yet."""
    now = service.clock()
    wanted, lacking, stale = _compare(service, host.name, page.known)
    return Report(
        host,
        _columns(host, page, now, whole=not wanted),
        wanted,
        lacking,
        stale,
    )


def hear(service: Service, attested: Attested, body: Attest) -> Heard:
    """Answer a report that was stored.

    :returns: servers whose documents it should present, and documents that
        it lacks.
    """
    report = attested.report
    assert report is not None
    if attested.tier == Tier.AFFIRMING:
        for kid, instances in report.stale.items():
            _store_kid(service, attested.host, kid, instances)
    return Heard(
        service.signers.approval.kid,
        report.wanted[:ASKED],
        _news(service, report.lacking),
        certificates.renew(service, attested, body.tls, report.host),
        offline.renew(service, attested),
    )


def _compare(
    service: Service, host: str, known: Sequence[Known]
) -> tuple[
    tuple[str, ...], tuple[LedgerRow, ...], Mapping[str, Sequence[str]]
]:
    """Hold a page against rows and kept documents.

    :returns: what the host has and is not known here; rows that are newer
        than what it has; keys whose place is not noted yet.
    """
    if not known:
        return (), (), {}
    with service.db.read() as session:
        rows = ledger.load_all(session, [one.instance for one in known])
        lower = [
            one.digest
            for one in known
            if one.instance in rows
            and one.version < rows[one.instance].version
        ]
        kept = documents.find_all(session, lower) if lower else {}
        stale = _stale(service, session, host, known, rows)
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
    return tuple(wanted), tuple(lacking), stale


def _news(service: Service, lacking: Sequence[LedgerRow]) -> tuple[str, ...]:
    """The newest documents of some servers, as far as they may be told.

    An anchor that does not answer keeps no host from attesting.
    """
    if not lacking:
        return ()
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


def _columns(
    row: records.Host, page: Attest, now: float, *, whole: bool
) -> Mapping[str, object]:
    """How far a report has come, as columns of its host.

    A report counts from when its first page was heard, if its pages follow
    each other and none knew anything that is not known here.

    :param whole: nothing is wanted of this page.
    """
    began = _began(row, page, now) if whole else None
    columns: dict[str, object] = {}
    if (row.report_began, row.report_upto) != (None, '') or page.upto:
        columns['report_began'] = began if page.upto else None
        columns['report_upto'] = page.upto
    if page.is_whole and began is not None:
        columns['reported_at'] = began
    return columns


def _began(row: records.Host, page: Attest, now: float) -> float | None:
    """When the report began that this page belongs to; None: unknown."""
    if not page.after:
        return now
    return row.report_began if page.after == row.report_upto else None


def _stale(
    service: Service,
    session: orm.Session,
    host: str,
    known: Sequence[Known],
    rows: Mapping[str, LedgerRow],
) -> Mapping[str, Sequence[str]]:
    """Servers that a host holds, by approval key, if that is not noted."""
    table = models.Server
    kids = {
        one.instance: one.kid
        for one in known
        if one.instance in rows and rows[one.instance].holder == host
    }
    if not kids:
        return {}
    noted = session.execute(
        sa.select(table.instance, table.approval_kid, table.reported_at)
        .where(table.instance.in_(kids))
        .order_by(table.instance)
    )
    old = service.clock() - FRESH
    stale = collections.defaultdict(list)
    for instance, kid, reported_at in noted:
        if kid != kids[instance] or (reported_at or 0) < old:
            stale[kids[instance]].append(instance)
    return stale


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
