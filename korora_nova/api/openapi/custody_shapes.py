# SPDX-License-Identifier: Apache-2.0
"""What answers about custody look like: JSON schemas by name."""

from __future__ import annotations

from korora_nova.api.openapi.shapes import (
    BOOLEAN,
    COUNT,
    REASONS,
    TEXT,
    TIER,
    merged,
    nullable,
    page,
    ref,
    several,
    words,
)
from korora_nova.custody import approval, offline
from korora_nova.custody.exits import LedgerState
from korora_nova.custody.moves import Move
from korora_nova.custody.words import MigrationState, Role
from korora_nova.rats.schemas import (
    DIGEST,
    HOST,
    TIME,
    TOKEN,
    UUID,
    Schema,
    closed,
)
from korora_nova.verifier.custody import ends
from korora_nova.verifier.custody.issues import IssueId

#: A signed document, or '' for none.
_TOKEN_OR_NONE: Schema = {'anyOf': [TOKEN, {'const': ''}]}

_ROW = {
    'holder': nullable(HOST),
    'epoch': COUNT,
    'version': COUNT,
    'head': DIGEST,
    'pending': nullable(UUID),
    'released': BOOLEAN,
    'disputed': nullable(UUID),
}

_REFUSED = nullable(closed({'reason': TEXT, 'message': TEXT}))

# Of a server that is behind or forked, the row is not told.
_SERVER = closed(
    {
        **_ROW,
        'instance': UUID,
        'state': words(*LedgerState),
        'approval_kid': nullable(TEXT),
        'reported_at': nullable(TIME),
        'issues': several(closed({'id': words(*IssueId), 'message': TEXT})),
    },
    tuple(_ROW),
)

_END = closed(
    {
        'role': words(ends.HOLDER, *Role),
        'host': HOST,
        'known': BOOLEAN,
        'tier': TIER,
        'last_heard': nullable(TIME),
        'evicted_at': nullable(TIME),
        'offline_until': nullable(TIME),
        'rebooted': nullable(BOOLEAN),
        'copy': words('yes', 'no', 'unknown'),
        'reported_at': nullable(TIME),
        'word': nullable(TEXT),
    }
)

_STEP = closed(
    {
        'instance': UUID,
        'done': BOOLEAN,
        'consequences': several(TEXT),
        'ends': several(_END),
        'nova': nullable(closed({'host': nullable(TEXT), 'status': TEXT})),
        'refused': _REFUSED,
        'receipt': _TOKEN_OR_NONE,
    }
)

#: What each purpose adds to an answer, in one.
_SERVED: dict[str, Schema] = {
    'approval_kid': TEXT,
    'wanted': several(UUID),
    'news': several(TOKEN),
    'streams': closed(
        {'mode': TEXT, 'certificate': TEXT, 'refused': TEXT},
        ('certificate', 'refused'),
    ),
    'grant': TOKEN,
    'approvals': several(approval.SCHEMA),
    'approval': approval.SCHEMA,
    'permit': TOKEN,
    'start': TOKEN,
    'peer': TOKEN,
    'receipt': _TOKEN_OR_NONE,
    'offline': offline.SCHEMA,
    'ima_dropped': COUNT,
    'uefi_digest': DIGEST,
}

_ATTESTED = closed(
    {
        'result': TOKEN,
        'ima_offset': COUNT,
        'next_challenge': ref('Challenge'),
        **_SERVED,
    },
    tuple(_SERVED),
)

_MIGRATION = closed(
    {
        'id': UUID,
        'instance': UUID,
        'source': HOST,
        'dest': HOST,
        'kind': words(*Move),
        'status': words(*MigrationState),
        'epoch': nullable(COUNT),
        'source_word': nullable(TEXT),
        'dest_word': nullable(TEXT),
        'receipt': nullable(TOKEN),
        'taint': REASONS,
        'created_at': TIME,
        'updated_at': TIME,
    }
)

#: Name -> schema.
SHAPES: dict[str, Schema] = {
    'Attested': {'anyOf': [_ATTESTED, closed({'upto': COUNT})]},
    'Server': _SERVER,
    'Servers': page('servers', ref('Server'), nova=BOOLEAN),
    'WholeServer': merged(
        _SERVER,
        {
            'refused': _REFUSED,
            'stored': nullable(closed({'instance': UUID, **_ROW})),
            'anchor': nullable(closed({'version': COUNT, 'digest': DIGEST})),
            'holder_state': nullable(_END),
            'migration': nullable(ref('Migration')),
            'ends': several(_END),
            'documents': several(
                closed(
                    {
                        'version': COUNT,
                        'kind': TEXT,
                        'migration': nullable(TEXT),
                        'digest': DIGEST,
                        'stored_at': TIME,
                    }
                )
            ),
            'exits': several(
                closed({'id': TEXT, 'command': TEXT, 'consequence': TEXT})
            ),
        },
        tuple(_ROW),
    ),
    'Step': _STEP,
    'Evicted': closed(
        {
            'host': HOST,
            'servers': several(ref('Step')),
            'left': several(UUID),
            'next': TEXT,
        }
    ),
    'Migration': _MIGRATION,
    'WholeMigration': merged(
        _MIGRATION, {'documents': several(TOKEN)}, ('documents',)
    ),
    'Migrations': page('migrations', ref('Migration')),
    'Watched': closed(
        {
            'reason': TEXT,
            'host': TEXT,
            'reasons': REASONS,
            'retry_after': TIME,
        }
    ),
    'Receipts': closed(
        {
            'receipts': several(TOKEN),
            'next': {'anyOf': [COUNT, TEXT]},
            'last': TEXT,
        },
        ('last',),
    ),
    'Presented': closed({'servers': COUNT, 'current': COUNT}),
}
