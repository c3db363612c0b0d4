# SPDX-License-Identifier: Apache-2.0
"""Rules about the ledger, hand-overs and receipts."""

from korora_nova.api.policies import base

SERVER = 'attestation:servers:show'
MIGRATIONS = 'attestation:migrations:list'
MIGRATION = 'attestation:migrations:show'
ABORT = 'attestation:migrations:abort'
RECEIPTS = 'attestation:receipts:list'
RECOVER = 'attestation:ledger:recover'

RULES = [
    base.rule(
        'servers:show',
        base.READER_OR_ATTESTER,
        "Show which host holds a server's key.",
        ('GET', '/v1/servers/{instance}'),
    ),
    base.rule(
        'migrations:list',
        base.READER,
        'List hand-overs.',
        ('GET', '/v1/migrations'),
    ),
    base.rule(
        'migrations:show',
        base.READER_OR_ATTESTER,
        'Show one hand-over and its receipt.',
        ('GET', '/v1/migrations/{id}'),
    ),
    base.rule(
        'migrations:abort',
        base.ADMIN,
        'Decide that a pending hand-over did not happen; only with '
        'the destination fenced.',
        ('POST', '/v1/migrations/{id}/abort'),
    ),
    base.rule(
        'receipts:list',
        base.READER_OR_ATTESTER,
        'List receipts.',
        ('GET', '/v1/receipts'),
    ),
    base.rule(
        'ledger:recover',
        base.ADMIN,
        'Reconcile a restored database with receipts of hosts.',
        ('POST', '/v1/ledger/recover'),
    ),
]
