# SPDX-License-Identifier: Apache-2.0
"""Keys at rest: the first claim, approvals to unseal, deletion."""

from __future__ import annotations

import functools
from typing import NamedTuple

from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies, transcript
from korora_nova.custody import ledger as rules
from korora_nova.custody.approval import Approval, sign_approval
from korora_nova.custody.exchange import Approvals, Granted, Told
from korora_nova.custody.grant import Grant
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.receipt import Receipt
from korora_nova.custody.words import MigrationState, Outcome
from korora_nova.verifier import audit
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import documents, ledger, opened
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

_R = errors.Reason


def claim(service: Service, attested: Attested, body: bodies.Claim) -> Granted:
    """First start of a server: this host holds its key from now on (C1).

    1. The ledger; 2. Nova's own record, with no transaction open, so that
    no host takes another's server; 3. the ledger again, and the grant.
    Repeated, with the same key, it gives the same grant.

    :raises Conflict: LEDGER_CONFLICT, LEDGER_BEHIND, HOSTS_UNHEARD.
    :raises CustodyError: SERVER_NOT_IN_NOVA.
    :raises Untrusted: EVICTED.
    :raises Unavailable: NOVA_UNAVAILABLE, ANCHOR_UNAVAILABLE.
    """
    row = ledger.signable(service, body.instance)
    if not rules.may_claim(row, attested.host, body.key):
        service.nova.check_server(instance=body.instance, host=attested.host)
    return Granted(
        ledger.change(
            service,
            body.instance,
            functools.partial(_grant, service, attested, body),
            point='v.claim',
        )
    )


def _grant(
    service: Service,
    attested: Attested,
    body: bodies.Claim,
    session: orm.Session,
    row: LedgerRow | None,
) -> str:
    if rules.may_claim(row, attested.host, body.key) and row is not None:
        return _kept(session, row.head)
    host = session.get(models.Host, attested.host)
    if host is None or host.evicted_at is not None:
        # While Nova was asked: its keys were taken without this one.
        raise errors.Untrusted(_R.EVICTED)
    place = documents.next_place(service, session, body.instance, row)
    grant = Grant(
        **place,
        host=attested.host,
        ak=attested.ak_name,
        key=body.key,
        approval_kid=service.signers.approval.kid,
    )
    audit.record(
        service,
        session,
        actor=grant.host,
        action='granted',
        subject=grant.instance,
        note=f'epoch {grant.version}',
    )
    return documents.append(service, session, row, grant, _boot(attested))


def _kept(session: orm.Session, digest: str) -> str:
    token = documents.find(session, digest)
    if token is None:
        raise errors.Unavailable(
            _R.INTERNAL, "The database lacks the server's newest document."
        )
    return token


@api.retried
def approve(
    service: Service, attested: Attested, body: bodies.Approve
) -> Approvals:
    """Let this host's TPM open keys it holds, all of them or none (C10).

    :raises CustodyError: NOT_HOLDER, EPOCH_MISMATCH.
    :raises Conflict: CUSTODY_PENDING, CUSTODY_DISPUTED, LEDGER_BEHIND,
        HOSTS_UNHEARD.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """
    rows = ledger.signable_all(service, [key.instance for key in body.keys])
    for key in body.keys:
        rules.may_open(rows.get(key.instance), attested.host, key.epoch)
    opened.note_all(service, rows.values(), _boot(attested))
    return Approvals(
        tuple(approval(service, attested, key) for key in body.keys)
    )


def _boot(attested: Attested) -> str:
    return attested.quote.clock.reset_restart.hex()


def approval(
    service: Service,
    attested: Attested,
    key: bodies.Key,
    seconds: float | None = None,
) -> Approval:
    """Sign one approval; the caller checked the ledger.

    :param seconds: for which it counts; None: as usual.
    :raises CustodyError: APPROVAL_INVALID, by a key that does not count.
    :raises Unavailable: KEYS_INVALID, by one that is not at hand.
    """
    return sign_approval(
        instance=key.instance,
        epoch=key.epoch,
        pcr_digest=attested.quote.policy_pcr_digest,
        reset_restart=attested.quote.clock.reset_restart,
        deadline=attested.deadline(
            service.settings.approval_ttl if seconds is None else seconds
        ),
        ref=transcript.rest_ref(
            attested.ak.name, attested.srk_name, key.instance, key.epoch
        ),
        key=service.signers.approver(key.kid),
    )


def delete(service: Service, attested: Attested, body: bodies.Delete) -> Told:
    """The server is gone: its holder may erase the key, with a receipt.

    Repeated, it gives the same receipt. Who holds the key by its own word
    alone may not end so what the other end could still contradict: Nova says
    first, with no transaction open, that the server is not there.

    :raises CustodyError: NOT_HOLDER.
    :raises Conflict: CUSTODY_PENDING, CUSTODY_DISPUTED, LEDGER_BEHIND,
        HOSTS_UNHEARD.
    :raises Unavailable: ANCHOR_UNAVAILABLE, NOVA_UNAVAILABLE.
    """
    doubt = ledger.consult(service, body.instance, _doubt)
    if doubt is not None:
        found = service.nova.find_server(body.instance)
        if found is not None and found.host == doubt.source:
            raise _pending(doubt)
    return Told(
        ledger.change(
            service,
            body.instance,
            functools.partial(
                _delete, service, attested.host, body.instance, doubt
            ),
            point='v.delete',
        )
    )


class _Doubt(NamedTuple):
    """A hand-over that only its destination has called complete."""

    migration: str
    source: str


def _doubt(session: orm.Session, row: LedgerRow | None) -> _Doubt | None:
    """The one on which a row rests, if its source has not spoken yet."""
    head = session.get(models.Document, row.head) if row is not None else None
    if head is None or not head.subject:
        return None
    migration = session.get(models.Migration, head.subject)
    if (
        migration is None
        or migration.status != MigrationState.COMMITTED
        or migration.source_word is not None
    ):
        return None
    return _Doubt(migration.id, migration.source)


def _pending(doubt: _Doubt) -> errors.Conflict:
    return errors.Conflict(
        _R.CUSTODY_PENDING,
        f'Host {doubt.source}, where Nova has the server, has not said that '
        'it left.',
        details={'migration': doubt.migration},
    )


def _delete(
    service: Service,
    host: str,
    instance: str,
    asked: _Doubt | None,
    session: orm.Session,
    row: LedgerRow | None,
) -> str:
    doubt = _doubt(session, row)
    if doubt not in (None, asked):
        raise _pending(doubt)
    try:
        held = rules.may_give_up(row, host)
    except errors.CustodyError:
        before = _last_deletion(service, session, instance, host)
        if before is None:
            raise
        return before
    audit.record(
        service,
        session,
        actor=host,
        action=Outcome.DELETED,
        subject=instance,
        note=f'epoch {held.epoch}',
    )
    return give_up(service, session, held, Outcome.DELETED)


def give_up(
    service: Service, session: orm.Session, row: LedgerRow, outcome: Outcome
) -> str:
    """Sign that nobody holds the key any more; returns the receipt.

    :param row: of a server that has a holder.
    :param outcome: DELETED or RELEASED.
    """
    receipt = Receipt(
        **documents.next_place(service, session, row.instance, row),
        migration='',
        epoch=row.epoch,
        outcome=outcome,
        source=row.holder or '',
        dest='',
        permit_hash='',
        source_word='',
        dest_word='',
        holder='',
        held=0,
    )
    return documents.append(service, session, row, receipt)


def _last_deletion(
    service: Service, session: orm.Session, instance: str, host: str
) -> str | None:
    """The newest receipt by which this host deleted this server's key."""
    for item in documents.receipts_of_server(service, session, instance):
        if (item.content.outcome, item.content.source) == (
            Outcome.DELETED,
            host,
        ):
            return item.token
    return None
