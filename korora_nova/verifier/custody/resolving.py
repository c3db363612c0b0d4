# SPDX-License-Identifier: Apache-2.0
"""Hand-overs that an operator decides."""

from __future__ import annotations

import functools

from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import decision
from korora_nova.custody.words import (
    MigrationState,
    Outcome,
    Role,
    Statement,
)
from korora_nova.rats.signed import token as tokens
from korora_nova.verifier import audit
from korora_nova.verifier.custody import (
    decisions,
    documents,
    ends,
    migrations,
)
from korora_nova.verifier.custody.plans import Order, Plan, carry_out
from korora_nova.verifier.custody.standing import Standing, missing
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

_R = errors.Reason
#: Whose copy is kept -> what the receipt says.
OUTCOMES = {Role.SOURCE: Outcome.ABORTED, Role.DEST: Outcome.COMMITTED}

_COMES = {
    Role.SOURCE: (
        'The key stays with {source}, and the copy on {dest} never opens.',
        'If the guest runs on {dest}, stop it there: it is not started again '
        'there.',
    ),
    Role.DEST: (
        'The key is held by {dest}, and the copy on {source} never opens.',
        'If the guest runs on {source}, stop it there: its host erases '
        'nothing below it, and it is not started again there.',
    ),
}


def resolve(
    service: Service, migration: str, keep: Role, order: Order
) -> Plan:
    """Decide a hand-over that is open, pending or disputed.

    Repeated, it is the same decision.

    :param keep: whose copy counts from now on.
    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Conflict: CANNOT_KEEP; MIGRATION_SPENT, it is closed;
        LEDGER_BEHIND, LEDGER_FORKED, HOSTS_UNHEARD, ANCHOR_MISSING.
    """
    return carry_out(
        service,
        migrations.instance_of(service, migration),
        order,
        functools.partial(_plan, service, migration, keep),
        functools.partial(_sign, service, migration, keep, order),
        point='v.resolve',
    )


def settle(
    service: Service,
    session: orm.Session,
    found: Standing,
    row: models.Migration,
    keep: Role,
    order: Order,
) -> str:
    """Decide it, whatever was said; returns the receipt, '' without permit.

    What both ends said goes into the audit table, and what is recorded of
    them then agrees with the decision: it is closed.
    """
    said = f'source: {row.source_word}, dest: {row.dest_word}'
    told = found.told
    disputed = told is not None and told.disputed == row.id
    if row.status in migrations.DECIDED:
        if row.status == OUTCOMES[keep] and not disputed:
            migrations.change(service, session, row, **_words(row, keep))
            return documents.receipt_of(session, row.id) or ''
    elif told is None or told.pending != row.id:
        # Without permit, or after a later document: nothing to decide.
        return _close(service, session, row, order)
    if told is None:
        raise missing(found.instance)
    return decisions.sign_receipt(
        service,
        session,
        told,
        row,
        OUTCOMES[keep],
        actor=order.actor,
        note=f'{order.note}; {said}',
        words=_words(row, keep),
    )


def _close(
    service: Service,
    session: orm.Session,
    row: models.Migration,
    order: Order,
) -> str:
    migrations.change(service, session, row, status=MigrationState.ABORTED)
    audit.record(
        service,
        session,
        actor=order.actor,
        action='closed',
        subject=row.id,
        note=order.note,
    )
    return ''


def _words(row: models.Migration, keep: Role) -> dict[str, Statement]:
    """The last words, as they would have been without contradiction."""
    if keep == Role.SOURCE:
        stays = row.source_word in decision.STAYS
        return {
            'source_word': Statement(row.source_word)
            if stays and row.source_word
            else Statement.KEPT,
            'dest_word': Statement.NO_DOMAIN,
        }
    ended = (Statement.ENDED_HERE, Statement.STREAM_COMPLETED)
    return {
        'source_word': Statement(row.source_word)
        if row.source_word in ended
        else Statement.ENDED_HERE,
        'dest_word': Statement.ACTIVATED,
    }


def _sign(
    service: Service,
    migration: str,
    keep: Role,
    order: Order,
    session: orm.Session,
    found: Standing,
) -> str:
    row = migrations.get(session, migration)
    return settle(service, session, found, row, keep, order)


def _plan(
    service: Service,
    migration: str,
    keep: Role,
    session: orm.Session,
    found: Standing,
) -> Plan:
    row = migrations.get(session, migration)
    server = session.get(models.Server, found.instance, populate_existing=True)
    hosts = ends.both(service, session, row, server)
    plan = Plan(
        found.instance,
        False,
        [
            line.format(source=row.source, dest=row.dest)
            for line in _COMES[keep]
        ],
        hosts,
    )
    receipt = documents.receipt_of(session, row.id) or ''
    if is_closed(row, receipt, found):
        return _closed(plan, row, keep, receipt)
    try:
        found.check()
        _check_keep(row, keep, *hosts)
    except errors.Conflict as exc:
        return plan.refuse(exc)
    return plan


def is_closed(row: models.Migration, receipt: str, found: Standing) -> bool:
    """Whether no word counts any more.

    :param receipt: the newest, '' without any.
    """
    if row.status not in migrations.DECIDED:
        return False
    if not receipt:
        return True
    told = found.told
    if told is not None and told.disputed == row.id:
        return False
    head = tokens.digest(receipt).hex()
    later = told is not None and told.head != head
    return later or decision.is_agreed(
        Statement(row.source_word) if row.source_word else None,
        Statement(row.dest_word) if row.dest_word else None,
        moving=row.start_hash is not None,
    )


def _closed(
    plan: Plan, row: models.Migration, keep: Role, receipt: str
) -> Plan:
    if row.status == OUTCOMES[keep]:
        return plan.finished('It was decided so before.', receipt)
    return plan.refuse(
        errors.Conflict(
            _R.MIGRATION_SPENT,
            f'The migration is {row.status}, and both ends have acted on it, '
            'or the server has a later document: look at the server instead.',
        )
    )


def _check_keep(
    row: models.Migration, keep: Role, source: ends.End, dest: ends.End
) -> None:
    """:raises Conflict: CANNOT_KEEP."""
    why_not = _no_dest(row, dest)
    if keep == Role.DEST and why_not:
        raise errors.Conflict(_R.CANNOT_KEEP, why_not)
    if keep == Role.SOURCE and not why_not:
        why_not = _no_source(row, source)
        if why_not:
            raise errors.Conflict(_R.CANNOT_KEEP, why_not)


def _no_dest(row: models.Migration, dest: ends.End) -> str:
    """Why the destination's copy cannot be the key; '' if it can."""
    if row.status in (MigrationState.RECEIVING, MigrationState.PERMITTED):
        return f'Host {dest.host} never said that it has the key sealed.'
    if row.start_hash is None:
        return f'The stream to host {dest.host} was never let start.'
    if dest.evicted_at is not None:
        return f'Host {dest.host} was evicted.'
    if row.dest_word == Statement.NO_DOMAIN:
        return (
            f'Host {dest.host} said that it does not run the server, and '
            'will not: it gives its copy up.'
        )
    if dest.copy == 'no':
        return f'Host {dest.host} reports that it has no copy.'
    return ''


def _no_source(row: models.Migration, source: ends.End) -> str:
    """Why the source's copy cannot be the key, while the other's can."""
    if source.evicted_at is not None:
        return f'Host {source.host} was evicted.'
    if row.source_word == Statement.STREAM_COMPLETED:
        return (
            f'Host {source.host} said that the stream was complete: it gives '
            'its copy up.'
        )
    if source.copy == 'no':
        return f'Host {source.host} reports that it has no copy.'
    return ''
