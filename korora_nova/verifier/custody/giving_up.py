# SPDX-License-Identifier: Apache-2.0
"""Keys that an operator takes from their holder: reissue and release."""

from __future__ import annotations

import contextlib
import functools

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import ledger as rules
from korora_nova.custody.exits import LedgerState
from korora_nova.custody.receipt import Receipt
from korora_nova.custody.words import MigrationState, Outcome
from korora_nova.verifier import audit
from korora_nova.verifier.custody import documents, ends, fencing, standing
from korora_nova.verifier.custody.plans import Order, Plan, carry_out
from korora_nova.verifier.custody.standing import Standing
from korora_nova.verifier.db import models
from korora_nova.verifier.nova_record import NovaServer
from korora_nova.verifier.service import Service

_R = errors.Reason
#: Hand-overs that are not decided.
OPEN = (
    MigrationState.RECEIVING,
    MigrationState.PERMITTED,
    MigrationState.SEALED,
    MigrationState.MOVING,
)


def reissue(service: Service, instance: str, order: Order) -> Plan:
    """Let the next start of a server have a new key.

    Repeated, it is the same reissue.

    :param order: ``sentence``: how the old holder is kept from running it.
    :raises NotFound: NOT_FOUND, it was never in custody.
    :raises Conflict: NOT_FENCED, CUSTODY_PENDING, CUSTODY_DISPUTED,
        HOSTS_UNHEARD, ANCHOR_MISSING.
    """
    nova = _ask(service, instance)
    return carry_out(
        service,
        instance,
        order,
        functools.partial(_plan_reissue, service, nova, order),
        functools.partial(_sign, service, order, Outcome.RELEASED),
        point='v.reissue',
    )


def release(service: Service, instance: str, order: Order) -> Plan:
    """Forget a server that is gone from Nova.

    :param order: ``sentence``: why, although Nova has it or does not answer.
    :raises NotFound: NOT_FOUND, it was never in custody.
    :raises Conflict: SERVER_IN_NOVA, CUSTODY_PENDING, CUSTODY_DISPUTED,
        HOSTS_UNHEARD, ANCHOR_MISSING.
    :raises Unavailable: NOVA_UNAVAILABLE.
    """
    if order.sentence:
        nova = _ask(service, instance)
    else:
        nova = service.nova.find_server(instance)
    return carry_out(
        service,
        instance,
        order,
        functools.partial(_plan_release, service, nova, order),
        functools.partial(_sign, service, order, Outcome.DELETED),
        point='v.release',
    )


def sign(
    service: Service,
    session: orm.Session,
    found: Standing,
    outcome: Outcome,
    order: Order,
) -> str:
    """Sign that nobody holds a server's key; returns the receipt.

    All copies up to the newest document are dead with it.

    :param outcome: RELEASED or DELETED.
    """
    last, told = found.last, found.told
    if last is None:
        raise standing.missing(found.instance)
    document = Receipt(
        **documents.next_place(service, session, found.instance, last),
        migration='',
        epoch=last.version,
        outcome=outcome,
        source=(told and told.holder) or '',
        dest='',
        permit_hash='',
        source_word='',
        dest_word='',
        holder='',
        held=0,
    )
    token = documents.append(service, session, found.row, document)
    _close(service, session, found.instance)
    audit.record(
        service,
        session,
        actor=order.actor,
        action=outcome,
        subject=found.instance,
        note=order.note,
    )
    return token


def _sign(
    service: Service,
    order: Order,
    outcome: Outcome,
    session: orm.Session,
    found: Standing,
) -> str:
    return sign(service, session, found, outcome, order)


def _ask(service: Service, instance: str) -> NovaServer | None:
    """What Nova has; it need not answer."""
    with contextlib.suppress(errors.Unavailable):
        return service.nova.find_server(instance)
    return None


def _plan_reissue(
    service: Service,
    nova: NovaServer | None,
    order: Order,
    session: orm.Session,
    found: Standing,
) -> Plan:
    plan = _plan(service, session, found, nova)
    if found.state == LedgerState.RELEASED:
        return _before(session, found, plan, 'It was reissued before.')
    if plan.refused is not None:
        return plan
    holder = plan.ends[0] if plan.ends else None
    try:
        fence = fencing.check(found, holder, nova, order.sentence)
    except errors.Conflict as exc:
        return plan.refuse(exc)
    return plan.adding(
        fence,
        'The next start, on the host where Nova has the server, gets a new '
        'key with the passphrase from the key manager. If that secret is '
        "gone, the vTPM's state is lost.",
    )


def _plan_release(
    service: Service,
    nova: NovaServer | None,
    order: Order,
    session: orm.Session,
    found: Standing,
) -> Plan:
    plan = _plan(service, session, found, nova)
    if found.state == LedgerState.DELETED:
        return _before(session, found, plan, 'It was released before.')
    if plan.refused is not None:
        return plan
    if nova is not None and not order.sentence:
        return plan.refuse(
            errors.Conflict(
                _R.SERVER_IN_NOVA,
                f'Nova has the server, {nova.status} on host {nova.host}: '
                'delete it there, or say with --force why its key may go.',
            )
        )
    return plan.adding(
        'Nova does not have the server.'
        if not order.sentence
        else f'The operator says: {order.sentence}',
        'Whoever has a copy of its key erases it, except below a guest that '
        'runs. The secret in the key manager stays.',
    )


def _plan(
    service: Service,
    session: orm.Session,
    found: Standing,
    nova: NovaServer | None,
) -> Plan:
    """What is the same of both; refused if a hand-over is not decided."""
    if found.last is None:
        raise standing.missing(found.instance)
    server = session.get(
        models.Server,
        found.instance,
        # An approval meanwhile is one that counts.
        with_for_update=True,
        populate_existing=True,
    )
    told = found.told
    hosts = []
    if told is not None and told.holder is not None:
        hosts.append(
            ends.end(service, session, ends.HOLDER, told.holder, server=server)
        )
    plan = Plan(found.instance, False, _losses(found), hosts, nova)
    if told is not None:
        try:
            rules.check_settled(told)
        except errors.Conflict as exc:
            return plan.refuse(exc)
    return plan


def _losses(found: Standing) -> list[str]:
    """What is given up."""
    row, mark = found.row, found.mark
    if found.is_sound or mark is None:
        if row is None or row.holder is None:
            return ['Nobody holds a key of the server.']
        return [
            f'The key of epoch {row.epoch} on host {row.holder} never opens '
            'again.'
        ]
    known = f'document {row.version}' if row is not None else 'no document'
    return [
        f'The newest document, {mark.version}, is lost: the database has '
        f'{known}. Who holds the key is not known; if a host still has that '
        'document, present it instead.',
        f'No copy of the key that was made up to document {mark.version} '
        'opens again, wherever it is.',
    ]


def _before(
    session: orm.Session, found: Standing, plan: Plan, said: str
) -> Plan:
    row = found.row
    token = documents.find(session, row.head) if row is not None else None
    return plan.finished(said, token or '')


def _close(service: Service, session: orm.Session, instance: str) -> None:
    """Hand-overs that were not decided never will be."""
    table = models.Migration
    session.execute(
        sa.update(table)
        .where(table.instance == instance, table.status.in_(OPEN))
        .values(status=MigrationState.ABORTED, updated_at=service.clock())
    )
