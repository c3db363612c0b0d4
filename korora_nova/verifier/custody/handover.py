# SPDX-License-Identifier: Apache-2.0
"""Hand-overs, until the stream starts: steps C2, C4, C6 and C7.

A row of ``migrations`` moves ``receiving -> permitted -> sealed -> moving``,
each step by compare-and-swap, together with the ledger. How it goes on is in
:mod:`.decisions`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies, transcript
from korora_nova.custody import ledger as rules
from korora_nova.custody.approval import Approval
from korora_nova.custody.exchange import Permitted, Served, Started
from korora_nova.custody.ledger import LedgerRow
from korora_nova.custody.moves import Move
from korora_nova.custody.permit import Permit, VerifiedPermit, verify_permit
from korora_nova.custody.start import Start
from korora_nova.custody.words import MigrationState, Role
from korora_nova.rats.evidence import qualify
from korora_nova.rats.quote.verify import verify_creation
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.tpm2 import objects
from korora_nova.verifier import audit, certificates, enforcement, peers
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import (
    at_rest,
    documents,
    ledger,
    migrations,
    trusted,
)
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import MAX_SKEW, Service

_R = errors.Reason
#: Seconds for which a request that got no permit is remembered, at least; far
#: longer than evidence counts. How many are forgotten at once.
FORGOTTEN = 3600.0
_AT_ONCE = 64
_INSERT = sa.insert(models.table(models.Migration))


def receive(
    service: Service, attested: Attested, body: bodies.Receive
) -> Served:
    """D is ready: note its fresh storage key, state, address and age (C2).

    :raises EvidenceError: MSK_TEMPLATE, QUOTE_*.
    :raises CustodyError: NOT_HOLDER, the source does not hold the key;
        MIGRATION_NOT_IN_NOVA, another host was the first to ask.
    :raises Conflict: MIGRATION_SPENT, another request for this migration;
        CUSTODY_PENDING, CUSTODY_DISPUTED, LEDGER_BEHIND,
        HOSTS_UNHEARD.
    :raises Untrusted: ENFORCER_ABSENT, ENFORCER_DRIFT, of the source.
    :raises Unavailable: NOVA_UNAVAILABLE, ANCHOR_UNAVAILABLE.
    """
    msk = _verify_msk(attested, body)
    clock = attested.quote.clock
    columns: dict[str, object] = {
        'instance': body.instance,
        'source': body.source,
        'dest': attested.host,
        'msk_name': msk.name.hex(),
        'ak_dest': attested.ak_name,
        'address': body.address,
        'tls_name': body.tls_name,
        'kind': body.kind,
        'dest_issued': attested.issued,
        'dest_pcr_digest': attested.quote.policy_pcr_digest.hex(),
        'dest_reset_restart': clock.reset_restart.hex(),
        'dest_clock_ms': str(clock.clock_ms),
    }
    try:
        _note(service, body, columns, instead=False)
    except errors.Conflict as exc:
        if exc.reason != _R.MIGRATION_SPENT or not _is_taken(
            service, attested.host, body.migration
        ):
            raise
        service.nova.check(
            migration=body.migration,
            instance=body.instance,
            source=body.source,
            dest=attested.host,
            kind=body.kind,
        )
        _note(service, body, columns, instead=True)
    service.nova.ahead(instance=body.instance, kind=body.kind)
    return Served()


def _note(
    service: Service,
    body: bodies.Receive,
    columns: Mapping[str, object],
    *,
    instead: bool,
) -> None:
    ledger.change(
        service,
        body.instance,
        functools.partial(_receive, service, body, columns, instead),
        point='v.receive',
    )


def _is_taken(service: Service, host: str, migration: str) -> bool:
    """Whether another host was the first to name itself the destination.

    Then Nova's record says who it is: else any host that learns of a
    migration could keep the key from going where it is to go.
    """
    with service.db.read() as session:
        known = session.get(models.Migration, migration)
        return known is not None and _is_open_to(known, host)


def _is_open_to(known: models.Migration, host: object) -> bool:
    return known.permit_hash is None and known.dest != host


def _verify_msk(attested: Attested, body: bodies.Receive) -> objects.Public:
    """D's own TPM made this key, of this template, for this migration."""
    if body.source == attested.host:
        raise errors.Invalid(
            _R.INVALID_REQUEST, 'Source and destination are the same host.'
        )
    msk = objects.parse_public(body.msk_public)
    objects.check_msk(msk)
    verify_creation(
        body.creation_attest,
        body.creation_signature,
        attested.ak,
        qualify(
            attested.challenge,
            'receive-key',
            attested.host,
            bodies.receive_key_body(
                body.migration, body.instance, body.source, msk.raw
            ),
        ),
        msk,
        body.creation_data,
        transcript.msk_outside_info(
            attested.challenge,
            body.migration,
            body.instance,
            body.source,
            attested.host,
        ),
    )
    return msk


def _receive(
    service: Service,
    body: bodies.Receive,
    columns: Mapping[str, object],
    instead: bool,
    session: orm.Session,
    row: LedgerRow | None,
) -> None:
    rules.check_settled(rules.holds(row, body.source))
    dest = str(columns['dest'])
    peers.load(session, (body.source, dest))
    enforcement.require(service, peers.find(session, body.source))
    known = session.get(models.Migration, body.migration)
    receiving = {'status': MigrationState.RECEIVING, **columns}
    if body.kind == Move.LIVE:
        receiving['tls_name'] = certificates.name_for(
            service, session, body.source, dest, body.tls_name
        )
    if known is not None and instead and _is_open_to(known, columns['dest']):
        silent = {'source_word': None, 'dest_word': None}
        migrations.change(service, session, known, **receiving, **silent)
        return
    if known is not None:
        # A storage key is made for one challenge, so this is another one.
        raise migrations.spent(known)
    now = service.clock()
    _forget(session, dest, now - FORGOTTEN)
    values = {
        'id': body.migration,
        'created_at': now,
        'updated_at': now,
        'taint': [],
        **receiving,
    }
    try:
        session.execute(_INSERT, values)
    except db_exc.DBDuplicateEntry:
        raise api.Lost() from None


def _forget(session: orm.Session, dest: str, before: float) -> None:
    """Forget what a host asked for long ago and never got a permit for.

    No permit can come of it any more, and a host may ask without end.
    """
    table = models.Migration
    old = session.scalars(
        sa.select(table.id)
        .where(
            table.dest == dest,
            table.status.in_(
                (MigrationState.RECEIVING, MigrationState.ABORTED)
            ),
            table.permit_hash.is_(None),
            table.updated_at < before,
        )
        .limit(_AT_ONCE)
    ).all()
    if not old:
        return
    # By key: MariaDB locks every row that it looks at.
    session.execute(
        sa.delete(table).where(
            table.id.in_(old),
            table.permit_hash.is_(None),
            table.updated_at < before,
        ),
        execution_options={'synchronize_session': False},
    )


def send(service: Service, attested: Attested, body: bodies.Send) -> Permitted:
    """S asks for the permit: once per migration, checked to the last (C4).

    Asked for again with the same nonce, the permit is given again.

    1. what D asked for in ``receive``, field by field; 2. D is trusted
    now; 3. the ledger; 4. Nova's own record, with no transaction open;
    5. the age of both evidences, and 1-3 again; 6. the permit is signed.
    If what Nova said a moment ago admits it, that is 4, and 1-3 come once.

    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Conflict: MIGRATION_SPENT, CUSTODY_PENDING, CUSTODY_DISPUTED,
        LEDGER_BEHIND, HOSTS_UNHEARD.
    :raises CustodyError: PERMIT_MISMATCH, NOT_HOLDER,
        MIGRATION_NOT_IN_NOVA.
    :raises Untrusted: HOST_UNTRUSTED, RESULT_EXPIRED, ENFORCER_ABSENT,
        ENFORCER_DRIFT.
    :raises Unavailable: NOVA_UNAVAILABLE, ANCHOR_UNAVAILABLE.
    """
    try:
        _prepared(service.nova.recall, attested, body)
    except errors.KororaError:
        given = ledger.consult(
            service,
            body.instance,
            functools.partial(_given_or_ready, service, attested, body),
        )
        if given is not None:
            return given
        _prepared(service.nova.check, attested, body)
    return ledger.change(
        service,
        body.instance,
        functools.partial(_permit, service, attested, body),
        point='v.permit',
    )


def _prepared(
    insist: Callable[..., None], attested: Attested, body: bodies.Send
) -> None:
    """Nova prepares this very hand-over, or ``insist`` raises."""
    insist(
        migration=body.migration,
        instance=body.instance,
        source=attested.host,
        dest=body.dest,
        kind=body.kind,
    )


def _given_or_ready(
    service: Service,
    attested: Attested,
    body: bodies.Send,
    session: orm.Session,
    row: LedgerRow | None,
) -> Permitted | None:
    """The permit that was given before; None if one may be."""
    known = session.get(models.Migration, body.migration)
    given = _given(service, session, row, attested, body, known)
    if given is None:
        _check_send(service, session, row, attested, body, known)
    return given


def _given(
    service: Service,
    session: orm.Session,
    row: LedgerRow | None,
    attested: Attested,
    body: bodies.Send,
    known: models.Migration | None,
) -> Permitted | None:
    """The permit that answered the same request; None if it was another."""
    permit = _newest_permit(service, session, row, known)
    if permit is None:
        return None
    content = permit.content
    asked = bodies.Send(
        content.migration,
        content.instance,
        content.nonce,
        content.dest,
        content.msk_name,
        body.kid,
        content.kind,
    )
    if asked != body or (content.ak_source, content.source_pcr_digest) != (
        attested.ak_name,
        attested.quote.policy_pcr_digest.hex(),
    ):
        return None
    _check_age(service, content.issued)
    return Permitted(
        permit.token,
        _own_copy(service, attested, body, content.epoch),
    )


def _own_copy(
    service: Service, attested: Attested, body: bodies.Send, epoch: int
) -> Approval:
    """Lets S open its own copy, once more."""
    return at_rest.approval(
        service, attested, bodies.Key(body.instance, epoch, body.kid)
    )


def _newest_permit(
    service: Service,
    session: orm.Session,
    row: LedgerRow | None,
    known: models.Migration | None,
) -> VerifiedPermit | None:
    """The permit of a hand-over on which the row rests now."""
    if row is None or known is None or known.permit_hash != row.head:
        return None
    token = documents.find(session, row.head)
    return verify_permit(token, service.ring) if token is not None else None


def _permit(
    service: Service,
    attested: Attested,
    body: bodies.Send,
    session: orm.Session,
    row: LedgerRow | None,
) -> Permitted:
    # The same request may have been served while Nova was asked.
    known = session.get(models.Migration, body.migration)
    given = _given(service, session, row, attested, body, known)
    if given is not None:
        return given
    ready = _check_send(service, session, row, attested, body, known)
    permit = _fields(service, session, attested, ready, body.nonce)
    token = documents.append(service, session, ready.row, permit)
    migrations.change(
        service,
        session,
        ready.asked,
        status=MigrationState.PERMITTED,
        epoch=permit.epoch,
        new_epoch=permit.new_epoch,
        ak_source=permit.ak_source,
        source_reset_restart=permit.source_reset_restart,
        permit_hash=tokens.digest(token).hex(),
    )
    audit.record(
        service,
        session,
        actor=attested.host,
        action='permitted',
        subject=body.migration,
        note=f'{body.instance} epoch {permit.new_epoch} to {body.dest}',
    )
    return Permitted(
        token,
        _own_copy(service, attested, body, permit.epoch),
    )


@dataclasses.dataclass(frozen=True)
class _Ready:
    """A hand-over of which everything known says that it may be."""

    asked: models.Migration
    row: LedgerRow


def _check_send(
    service: Service,
    session: orm.Session,
    row: LedgerRow | None,
    attested: Attested,
    body: bodies.Send,
    asked: models.Migration | None,
) -> _Ready:
    """Every check of ``send`` that needs the database and the clock."""
    if asked is None:
        raise errors.NotFound(_R.MIGRATION_UNKNOWN)
    if asked.status != MigrationState.RECEIVING:
        raise migrations.spent(asked)
    expected = {
        'instance': body.instance,
        'source': attested.host,
        'dest': body.dest,
        'msk_name': body.msk_name,
        'kind': body.kind,
    }
    for field, value in expected.items():
        if getattr(asked, field) != value:
            raise errors.CustodyError(
                _R.PERMIT_MISMATCH,
                f"The migration's {field} differs from "
                'what its destination asked for.',
                details={'field': field},
            )
    peers.load(session, (asked.source, asked.dest))
    trusted.check_destination(service, session, asked)
    if asked.kind == Move.LIVE:
        certificates.recheck(service, session, asked)
    _check_age(service, attested.issued)
    _check_age(service, asked.dest_issued)
    held = rules.holds(row, attested.host)
    rules.check_settled(held)
    return _Ready(asked, held)


def _check_age(service: Service, issued: float) -> None:
    age = service.clock() - issued
    if not -MAX_SKEW <= age <= service.settings.evidence_max_age:
        raise errors.Untrusted(
            _R.RESULT_EXPIRED,
            'The evidence of one end of the migration '
            'is too old; start the hand-over again.',
        )


def _fields(
    service: Service,
    session: orm.Session,
    attested: Attested,
    ready: _Ready,
    nonce: str,
) -> Permit:
    asked, row = ready.asked, ready.row
    deadline = int(asked.dest_clock_ms) + int(
        service.settings.permit_deadline * 1000
    )
    return Permit(
        **documents.next_place(service, session, row.instance, row),
        migration=asked.id,
        nonce=nonce,
        source=attested.host,
        dest=asked.dest,
        ak_source=attested.ak_name,
        ak_dest=asked.ak_dest,
        epoch=row.epoch,
        msk_name=asked.msk_name,
        dest_pcr_digest=asked.dest_pcr_digest,
        dest_reset_restart=asked.dest_reset_restart,
        dest_deadline=min(deadline, (1 << 64) - 1),
        source_pcr_digest=attested.quote.policy_pcr_digest.hex(),
        source_reset_restart=attested.quote.clock.reset_restart.hex(),
        address=asked.address,
        tls_name=asked.tls_name,
        approval_kid=service.signers.approval.kid,
        kind=Move(asked.kind),
    )


def sealed(
    service: Service, attested: Attested, body: bodies.Sealed
) -> Served:
    """D has its copy sealed, durably (C6).

    Said again with the same key, nothing changes.

    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Forbidden: STATEMENT_NOT_ALLOWED, it is not D.
    :raises CustodyError: PERMIT_MISMATCH.
    :raises Conflict: MIGRATION_SPENT, aborted or sealed in another key;
        LEDGER_BEHIND.
    """
    ledger.change(
        service,
        migrations.instance_of(service, body.migration),
        functools.partial(_sealed, service, attested, body),
        point='v.sealed',
        signs=False,
    )
    return Served()


def _sealed(
    service: Service,
    attested: Attested,
    body: bodies.Sealed,
    session: orm.Session,
    row: LedgerRow | None,
) -> None:
    known = _of(session, attested, body, Role.DEST)
    if known.status == MigrationState.PERMITTED:
        migrations.change(
            service,
            session,
            known,
            status=MigrationState.SEALED,
            key=body.key,
        )
        return
    if known.key != body.key:
        raise migrations.spent(known)


def start(service: Service, attested: Attested, body: bodies.Start) -> Started:
    """S wants to start the stream: both ends are ready, durably (C7).

    Asked for again, the same start is given.

    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Forbidden: STATEMENT_NOT_ALLOWED, it is not S.
    :raises CustodyError: PERMIT_MISMATCH.
    :raises Conflict: NOT_SEALED; MIGRATION_SPENT, it is decided;
        LEDGER_BEHIND, HOSTS_UNHEARD.
    :raises Untrusted: HOST_UNTRUSTED, D is not trusted now; ENFORCER_ABSENT,
        ENFORCER_DRIFT.
    :raises Unavailable: ANCHOR_UNAVAILABLE.
    """
    return ledger.change(
        service,
        migrations.instance_of(service, body.migration),
        functools.partial(_start, service, attested, body),
        point='v.start',
    )


def _start(
    service: Service,
    attested: Attested,
    body: bodies.Start,
    session: orm.Session,
    row: LedgerRow | None,
) -> Started:
    known = _of(session, attested, body, Role.SOURCE)
    token = None
    if known.status == MigrationState.MOVING:
        if row is None or row.pending != known.id:
            raise migrations.spent(known)
        token = documents.find(session, known.start_hash)
    elif known.status == MigrationState.PERMITTED:
        raise errors.Conflict(_R.NOT_SEALED)
    elif known.status == MigrationState.SEALED:
        trusted.check_destination(service, session, known)
        token = _sign_start(service, session, known, row)
    if token is None:
        raise migrations.spent(known)
    dest = peers.find(session, known.dest)
    return Started(token, dest.token or '' if dest is not None else '')


def _sign_start(
    service: Service,
    session: orm.Session,
    known: models.Migration,
    row: LedgerRow | None,
) -> str:
    if row is None or row.head != known.permit_hash:
        raise migrations.spent(known)
    start = Start(
        **documents.next_place(service, session, row.instance, row),
        migration=known.id,
        source=known.source,
        epoch=row.epoch,
    )
    token = documents.append(service, session, row, start)
    migrations.change(
        service,
        session,
        known,
        status=MigrationState.MOVING,
        start_hash=tokens.digest(token).hex(),
    )
    audit.record(
        service,
        session,
        actor=known.source,
        action='started',
        subject=known.id,
        note=f'{known.instance} to {known.dest}',
    )
    return token


def _of(
    session: orm.Session,
    attested: Attested,
    body: bodies.Sealed | bodies.Start,
    role: Role,
) -> models.Migration:
    """The hand-over that this end, of this permit, speaks about."""
    known = migrations.get(session, body.migration)
    if migrations.role_of(attested, known) != role:
        raise errors.Forbidden(_R.STATEMENT_NOT_ALLOWED)
    if known.status == MigrationState.ABORTED:
        raise migrations.spent(known)
    if known.permit_hash != body.permit_hash:
        raise errors.CustodyError(
            _R.PERMIT_MISMATCH,
            "The permit is not the migration's.",
            details={'field': 'permit_hash'},
        )
    return known
