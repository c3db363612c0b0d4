# SPDX-License-Identifier: Apache-2.0
"""The ledger, hand-overs and receipts."""

from korora_nova import errors
from korora_nova.api.call import Answer, Call
from korora_nova.api.schemas import custody as schemas
from korora_nova.verifier.custody import (
    decisions,
    handover,
    ledger,
    receipts,
    recovery,
)


def server(call: Call) -> Answer:
    """GET /v1/servers/{instance}"""
    return ledger.show(call.service, call.path['instance'])


def migrations(call: Call) -> Answer:
    """GET /v1/migrations"""
    return {'migrations': handover.list_migrations(call.service)}


def migration(call: Call) -> Answer:
    """GET /v1/migrations/{id}"""
    return handover.show(call.service, call.path['id'])


def abort(call: Call) -> Answer:
    """POST /v1/migrations/{id}/abort"""
    document = call.read(schemas.ABORT)
    return decisions.force_abort(
        call.service, call.path['id'], document['reason'], call.actor
    )


def receipts_since(call: Call) -> Answer:
    """GET /v1/receipts"""
    since = call.query('since').get('since', '0')
    if not since.isascii() or not since.isdigit() or len(since) > 18:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            'The parameter since is a sequence number.',
        )
    return {'receipts': receipts.list_receipts(call.service, int(since))}


def recover(call: Call) -> Answer:
    """POST /v1/ledger/recover"""
    document = call.read(schemas.RECOVER, schemas.RECOVER_LIMIT)
    return recovery.recover(call.service, document['receipts'], call.actor)
