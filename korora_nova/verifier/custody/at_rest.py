# SPDX-License-Identifier: Apache-2.0
"""Keys at rest: the first claim, approvals to unseal, deletion."""

from __future__ import annotations

from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies, transcript
from korora_nova.custody import ledger as rules
from korora_nova.custody.approval import Approval, sign_approval
from korora_nova.custody.exchange import Approvals, Claimed, Decided
from korora_nova.custody.words import Outcome
from korora_nova.verifier import audit
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import ledger, receipts
from korora_nova.verifier.db import api
from korora_nova.verifier.service import Service


def claim(service: Service, attested: Attested, body: bodies.Claim) -> Claimed:
    """First start of a server: this host holds its key from now on.

    1. The ledger; 2. Nova's own record, with no transaction open, so that
    no host takes another's server; 3. the ledger again, and the claim.
    Repeated, with the same key, it gives the same epoch.

    :raises Conflict: LEDGER_CONFLICT, LEDGER_BEHIND.
    :raises CustodyError: SERVER_NOT_IN_NOVA.
    :raises Unavailable: NOVA_UNAVAILABLE.
    """
    with service.db.read() as session:
        ledger.current(session)
        old = ledger.load(session, body.instance)
        known = old == rules.claim(old, body.instance, attested.host, body.key)
    if not known:
        service.nova.check_server(instance=body.instance, host=attested.host)
    return _claim(service, attested, body)


@api.retried
def _claim(
    service: Service, attested: Attested, body: bodies.Claim
) -> Claimed:
    with service.db.write() as session:
        incarnation = ledger.current(session).incarnation
        old = ledger.load(session, body.instance)
        new = rules.claim(old, body.instance, attested.host, body.key)
        if new != old:
            _store_claim(service, session, old, new)
        return Claimed(new.epoch, incarnation, service.signers.approval.kid)


def _store_claim(
    service: Service,
    session: orm.Session,
    old: rules.LedgerRow | None,
    new: rules.LedgerRow,
) -> None:
    if old is None:
        ledger.insert(session, new)
    else:
        ledger.replace(session, old, new)
    audit.record(
        service,
        session,
        actor=new.holder or '',
        action='claimed',
        subject=new.instance,
        note=f'epoch {new.epoch}',
    )


def approve(
    service: Service, attested: Attested, body: bodies.Approve
) -> Approvals:
    """Let this host's TPM open keys it holds, all of them or none.

    :raises CustodyError: NOT_HOLDER, EPOCH_MISMATCH.
    :raises Conflict: CUSTODY_PENDING, LEDGER_BEHIND.
    """
    with service.db.read() as session:
        ledger.current(session)
        for instance, epoch in body.keys:
            rules.may_open(
                ledger.held(session, instance), attested.host, epoch
            )
    return Approvals(
        tuple(
            approval(service, attested, instance, epoch)
            for instance, epoch in body.keys
        )
    )


def approval(
    service: Service, attested: Attested, instance: str, epoch: int
) -> Approval:
    """Sign one approval; the caller checked the ledger."""
    return sign_approval(
        instance=instance,
        epoch=epoch,
        pcr_digest=attested.quote.policy_pcr_digest,
        reset_restart=attested.quote.clock.reset_restart,
        deadline=attested.deadline(service.settings.approval_ttl),
        ref=transcript.rest_ref(
            attested.ak.name, attested.srk_name, instance, epoch
        ),
        key=service.signers.approval,
    )


@api.retried
def delete(
    service: Service, attested: Attested, body: bodies.Delete
) -> Decided:
    """The server is gone: its holder may erase the key, with a receipt.

    Repeated, it gives the same receipt.

    :raises CustodyError: NOT_HOLDER.
    :raises Conflict: CUSTODY_PENDING, LEDGER_BEHIND.
    """
    with service.db.write() as session:
        old = ledger.held(session, body.instance)
        try:
            new = rules.delete(old, attested.host)
        except errors.CustodyError:
            signed = receipts.last_deletion(
                service, session, old.instance, attested.host
            )
            if signed is None:
                raise
            return Decided(signed)
        ledger.replace(session, old, new)
        return Decided(
            receipts.append(
                service,
                session,
                outcome=Outcome.DELETED,
                instance=old.instance,
                epoch=old.epoch,
                source=attested.host,
            )
        )
