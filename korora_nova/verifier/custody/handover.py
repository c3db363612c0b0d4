# SPDX-License-Identifier: Apache-2.0
"""Hand-overs: one key, from one host's TPM to another's, decided once.

receive (by D) -> send (by S, answered with the permit) -> committed or
aborted.  A row of ``migrations`` moves ``receiving -> pending -> committed
| aborted``, each step by compare-and-swap, together with the ledger.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa
from oslo_db import exception as db_exc
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody import bodies, transcript
from korora_nova.custody import ledger as rules
from korora_nova.custody.exchange import Permitted, Received
from korora_nova.custody.permit import Permit, sign_permit, verify_permit
from korora_nova.custody.words import MigrationState
from korora_nova.rats.evidence import qualify
from korora_nova.rats.quote.verify import verify_creation
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.words import Tier
from korora_nova.verifier import audit, results
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import at_rest, ledger
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import MAX_SKEW, Service

# The same key with fresher evidence is the same request again.
_SAME = (
    'instance',
    'source',
    'dest',
    'msk_name',
    'ak_dest',
    'address',
    'tls_name',
)

_R = errors.Reason


def receive(
    service: Service, attested: Attested, body: bodies.Receive
) -> Received:
    """D is ready: note its fresh storage key, state, address and age.

    :raises EvidenceError: MSK_TEMPLATE, QUOTE_*.
    :raises CustodyError: NOT_HOLDER, the source does not hold the key.
    :raises Conflict: MIGRATION_SPENT, another key or state for this
        migration; CUSTODY_PENDING; LEDGER_BEHIND.
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
        'dest_issued': attested.issued,
        'dest_pcr_digest': attested.quote.policy_pcr_digest.hex(),
        'dest_reset_restart': clock.reset_restart.hex(),
        'dest_clock_ms': str(clock.clock_ms),
    }
    try:
        _receive(service, body, columns)
    except db_exc.DBDuplicateEntry:
        raise errors.Conflict(_R.MIGRATION_SPENT) from None
    return Received()


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


@api.retried
def _receive(
    service: Service,
    body: bodies.Receive,
    columns: dict[str, object],
) -> None:
    table, now = models.Migration, service.clock()
    with service.db.write() as session:
        ledger.current(session)
        row = ledger.held(session, body.instance)
        rules.may_open(row, body.source, row.epoch)
        known = session.get(table, body.migration)
        if known is None:
            session.add(
                table(
                    id=body.migration,
                    status=MigrationState.RECEIVING,
                    created_at=now,
                    updated_at=now,
                    **columns,
                )
            )
            session.flush()
            return
        if not api.swap(
            session,
            sa.update(table)
            .where(
                table.id == body.migration,
                table.status == MigrationState.RECEIVING,
                *(getattr(table, name) == columns[name] for name in _SAME),
            )
            .values(updated_at=now, **columns),
        ):
            raise errors.Conflict(_R.MIGRATION_SPENT)


@dataclasses.dataclass(frozen=True)
class _Ready:
    """A hand-over of which everything known says that it may be."""

    migration: models.Migration
    row: rules.LedgerRow
    incarnation: str


def send(service: Service, attested: Attested, body: bodies.Send) -> Permitted:
    """S asks for the permit: once per migration, checked to the last.

    Asked for again with the same nonce, the permit is given again.

    1. what D asked for in ``receive``, field by field; 2. D is trusted
    now; 3. the ledger; 4. Nova's own record, with no transaction open;
    5. the age of both evidences, and 1-3 again; 6. the epoch is burned.

    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Conflict: MIGRATION_SPENT, CUSTODY_PENDING, LEDGER_BEHIND.
    :raises CustodyError: PERMIT_MISMATCH, NOT_HOLDER,
        MIGRATION_NOT_IN_NOVA.
    :raises Untrusted: HOST_UNTRUSTED, RESULT_EXPIRED.
    :raises Unavailable: NOVA_UNAVAILABLE.
    """
    with service.db.read() as session:
        given = _given(service, session, attested, body)
        if given is not None:
            return given
        _ready(service, session, attested, body)
    service.nova.check(
        migration=body.migration,
        instance=body.instance,
        source=attested.host,
        dest=body.dest,
    )
    return _permit(service, attested, body)


def _given(
    service: Service,
    session: orm.Session,
    attested: Attested,
    body: bodies.Send,
) -> Permitted | None:
    """The permit that answered the same request; None if it was another."""
    row = session.get(models.Migration, body.migration)
    if row is None or row.status != MigrationState.PENDING or not row.permit:
        return None
    permit = verify_permit(row.permit, service.ring, cloud=service.cloud)
    content = permit.permit
    asked = bodies.Send(
        content.migration,
        content.instance,
        content.nonce,
        content.dest,
        content.msk_name,
    )
    if asked != body or (content.ak_source, content.source_pcr_digest) != (
        attested.ak_name,
        attested.quote.policy_pcr_digest.hex(),
    ):
        return None
    ledger.current(session)
    _check_age(service, content.issued)
    return Permitted(
        permit.token,
        at_rest.approval(service, attested, body.instance, content.epoch),
    )


@api.retried
def _permit(
    service: Service, attested: Attested, body: bodies.Send
) -> Permitted:
    with service.db.write() as session:
        # The same request may have been served while Nova was asked.
        return _given(service, session, attested, body) or _sign(
            service, session, attested, body
        )


def _sign(
    service: Service,
    session: orm.Session,
    attested: Attested,
    body: bodies.Send,
) -> Permitted:
    table = models.Migration
    ready = _ready(service, session, attested, body)
    new, epoch = rules.begin(
        ready.row, attested.host, ready.row.epoch, body.migration
    )
    ledger.replace(session, ready.row, new)
    permit = sign_permit(
        _fields(service, attested, ready, body.nonce, epoch),
        service.signers.custody,
    )
    api.must_swap(
        session,
        sa.update(table)
        .where(
            table.id == body.migration,
            table.status == MigrationState.RECEIVING,
            table.updated_at == ready.migration.updated_at,
        )
        .values(
            status=MigrationState.PENDING,
            epoch=ready.row.epoch,
            new_epoch=epoch,
            ak_source=attested.ak_name,
            permit=permit,
            permit_hash=tokens.digest(permit).hex(),
            updated_at=service.clock(),
        ),
    )
    audit.record(
        service,
        session,
        actor=attested.host,
        action='permitted',
        subject=body.migration,
        note=f'{body.instance} epoch {epoch} to {body.dest}',
    )
    return Permitted(
        permit,
        at_rest.approval(service, attested, body.instance, ready.row.epoch),
    )


def _ready(
    service: Service,
    session: orm.Session,
    attested: Attested,
    body: bodies.Send,
) -> _Ready:
    """Every check of ``send`` that needs the database and the clock."""
    incarnation = ledger.current(session).incarnation
    asked = session.get(models.Migration, body.migration)
    if asked is None:
        raise errors.NotFound(_R.MIGRATION_UNKNOWN)
    if asked.status != MigrationState.RECEIVING:
        raise errors.Conflict(_R.MIGRATION_SPENT)
    expected = {
        'instance': body.instance,
        'source': attested.host,
        'dest': body.dest,
        'msk_name': body.msk_name,
    }
    for field, value in expected.items():
        if getattr(asked, field) != value:
            raise errors.CustodyError(
                _R.PERMIT_MISMATCH,
                f"The migration's {field} differs from "
                'what its destination asked for.',
                details={'field': field},
            )
    _check_destination(service, session, asked)
    _check_age(service, attested.issued)
    _check_age(service, asked.dest_issued)
    row = ledger.held(session, asked.instance)
    rules.may_open(row, attested.host, row.epoch)
    return _Ready(asked, row, incarnation)


def _check_destination(
    service: Service, session: orm.Session, asked: models.Migration
) -> None:
    """D is the host it was, and nothing has come up against it since."""
    dest = session.get(models.Host, asked.dest)
    if dest is None or not dest.approved or dest.ak_name != asked.ak_dest:
        raise errors.Untrusted(
            _R.HOST_UNTRUSTED,
            'The destination is not the approved host that asked for the key.',
        )
    tier, reasons = results.current(dest, service.clock())
    boot = f'{dest.reset_count or 0:08x}{dest.restart_count or 0:08x}'
    if tier != Tier.AFFIRMING or boot != asked.dest_reset_restart:
        raise errors.Untrusted(
            _R.HOST_UNTRUSTED,
            'The destination is not trusted any more.',
            details={'reasons': ' '.join(reasons)},
        )


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
    attested: Attested,
    ready: _Ready,
    nonce: str,
    epoch: int,
) -> Permit:
    asked = ready.migration
    deadline = int(asked.dest_clock_ms) + int(
        service.settings.permit_deadline * 1000
    )
    return Permit(
        cloud=service.cloud,
        incarnation=ready.incarnation,
        migration=asked.id,
        instance=asked.instance,
        nonce=nonce,
        source=attested.host,
        dest=asked.dest,
        ak_source=attested.ak_name,
        ak_dest=asked.ak_dest,
        epoch=ready.row.epoch,
        new_epoch=epoch,
        msk_name=asked.msk_name,
        dest_pcr_digest=asked.dest_pcr_digest,
        dest_reset_restart=asked.dest_reset_restart,
        dest_deadline=min(deadline, (1 << 64) - 1),
        source_pcr_digest=attested.quote.policy_pcr_digest.hex(),
        address=asked.address,
        tls_name=asked.tls_name,
        approval_kid=service.signers.approval.kid,
        issued=service.clock(),
    )
