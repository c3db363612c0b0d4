# SPDX-License-Identifier: Apache-2.0
"""What answers look like: JSON schemas by name.

They are closed: a field that an answer has and its schema lacks is a fault.
Those of custody are in :mod:`.custody_shapes`.
"""

from __future__ import annotations

from korora_nova.custody.words import ChallengeClass
from korora_nova.rats import verdict
from korora_nova.rats.schemas import (
    DIGEST,
    HOST,
    TIME,
    TOKEN,
    UUID,
    VERSION,
    Schema,
    closed,
    hex_string,
    properties,
)
from korora_nova.rats.words import Tier
from korora_nova.verifier import hosts
from korora_nova.verifier.responses.words import State

TEXT: Schema = {'type': 'string'}
BOOLEAN: Schema = {'type': 'boolean'}
COUNT: Schema = {'type': 'integer', 'minimum': 0}
OBJECT: Schema = {'type': 'object'}
NULL: Schema = {'type': 'null'}
TIER: Schema = {'enum': [str(one) for one in Tier]}
REASONS: Schema = {'type': 'array', 'items': TEXT}


def ref(name: str) -> Schema:
    """A named schema of the document."""
    return {'$ref': f'#/components/schemas/{name}'}


def nullable(schema: Schema) -> Schema:
    return {'anyOf': [schema, NULL]}


def several(items: Schema) -> Schema:
    return {'type': 'array', 'items': items}


def words(*given: object) -> Schema:
    return {'enum': [str(one) for one in given]}


def page(name: str, of: Schema, **more: Schema) -> Schema:
    """A list under its name; before version 1.1 some have no ``next``."""
    return closed({name: several(of), **more, 'next': TEXT}, ('next',))


def merged(
    base: Schema, more: Schema, optional: tuple[str, ...] = ()
) -> Schema:
    """An object with all of another one's properties."""
    return closed({**properties(base), **more}, optional)


_HOST = closed(
    {
        'name': HOST,
        'status': words(*hosts.STATUSES),
        'ek_hash': TEXT,
        'certified': nullable(BOOLEAN),
        'ak_name': nullable(TEXT),
        'srk_name': nullable(TEXT),
        'enrolled_at': nullable(TIME),
        'last_attested': nullable(TIME),
        'evicted_at': nullable(TIME),
        'tier': TIER,
        'reasons': REASONS,
        'enforcing': BOOLEAN,
        'enforcer': nullable(
            closed(
                {
                    'driver': TEXT,
                    'version': TEXT,
                    'drift': TEXT,
                    'heard_at': TIME,
                }
            )
        ),
        'certificate': nullable(
            closed(
                {
                    'name': TEXT,
                    'serial': nullable(TEXT),
                    'until': nullable(TIME),
                    'authority': nullable(TEXT),
                }
            )
        ),
        'streams': TEXT,
        'offline': nullable(closed({'until': TIME, 'servers': COUNT})),
    }
)

_RESULT = closed(
    {'host': HOST, 'tier': TIER, 'reasons': REASONS, 'token': nullable(TEXT)}
)

_KEYS = several(
    closed(
        {
            'kid': hex_string(8),
            'pem': TEXT,
            'state': TEXT,
            'certificate': TEXT,
        },
        ('certificate',),
    )
)

_REFERENCE = {
    'version': {'const': 2},
    'name': HOST,
    'pcrs': {
        'type': 'object',
        'additionalProperties': several(hex_string(32)),
    },
    'firmware_version': nullable(COUNT),
    'host': HOST,
    'created_at': TIME,
}

_POLICY = closed(
    {
        'name': HOST,
        'uuid': nullable(UUID),
        'revision': COUNT,
        'description': TEXT,
        'hosts': several(TEXT),
        'rules': several(TEXT),
        'created_at': nullable(TIME),
        'updated_at': nullable(TIME),
        'actor': TEXT,
    }
)

_JUDGED = several(
    closed(
        {
            'host': HOST,
            'tier': TIER,
            'satisfied': nullable(BOOLEAN),
            'reasons': REASONS,
        }
    )
)

_RESPONSE = closed(
    {
        'id': UUID,
        'host': TEXT,
        'driver': TEXT,
        'state': words(*State),
        'reasons': REASONS,
        'why': TEXT,
        'detail': OBJECT,
        'attempts': COUNT,
        'error': TEXT,
        'created_at': TIME,
        'updated_at': TIME,
        'due_at': TIME,
        'actor': TEXT,
        'note': TEXT,
    }
)

_RESPONSES_ABOVE = {
    'hold': nullable(closed({'since': TIME, 'why': TEXT})),
    'leader': closed({'name': TEXT, 'leads': BOOLEAN, 'until': TIME}),
}

#: Name -> schema.
SHAPES: dict[str, Schema] = {
    'Error': closed(
        {
            'error': closed(
                {
                    'code': {'type': 'integer'},
                    'reason': TEXT,
                    'message': TEXT,
                    'details': {
                        'type': 'object',
                        'additionalProperties': TEXT,
                    },
                }
            )
        }
    ),
    'Versions': closed(
        {
            'versions': several(
                closed(
                    {
                        'id': TEXT,
                        'status': TEXT,
                        'min_version': TEXT,
                        'max_version': TEXT,
                        'links': several(closed({'rel': TEXT, 'href': TEXT})),
                    }
                )
            )
        }
    ),
    'Keys': closed(
        {
            'version': VERSION,
            'cloud': TEXT,
            'result': _KEYS,
            'custody': _KEYS,
            'approval': _KEYS,
            'tls': _KEYS,
        },
        ('tls',),
    ),
    'JwkSet': closed({'keys': several(OBJECT)}),
    'Host': _HOST,
    'JudgedHost': merged(
        _HOST, {'policies': several(TEXT), 'sources': verdict.SCHEMA}
    ),
    'Hosts': page('hosts', ref('Host')),
    'Credential': closed(
        {'credential': TEXT, 'secret': TEXT, 'expires_in': TIME}
    ),
    'Enrolled': closed({'status': words('pending', 'approved')}),
    'Challenge': closed(
        {
            'challenge': DIGEST,
            'class': words(*ChallengeClass),
            'issued': TIME,
            'expires_in': TIME,
            'incarnation': TEXT,
        }
    ),
    'Result': _RESULT,
    'Results': page('results', ref('Result'), incarnation=TEXT, seq=COUNT),
    'ExplainedResult': merged(
        _RESULT,
        {
            'findings': several(
                closed(
                    {
                        'reason': TEXT,
                        'message': TEXT,
                        'details': {
                            'type': 'object',
                            'additionalProperties': TEXT,
                        },
                    }
                )
            ),
            'sources': verdict.SCHEMA,
        },
    ),
    'Snapshot': closed(
        {
            'token': TOKEN,
            'base': TEXT,
            'rows': TEXT,
            'gone': several(HOST),
        }
    ),
    'Reference': closed(
        {
            **_REFERENCE,
            'ima_digests': several(TEXT),
            'measured': OBJECT,
            'boot': nullable(OBJECT),
        }
    ),
    'References': page(
        'references',
        closed(
            {
                **_REFERENCE,
                'ima_digest_count': COUNT,
                'components': nullable(COUNT),
            }
        ),
    ),
    'Policy': _POLICY,
    'WholePolicy': merged(_POLICY, {'document': OBJECT}),
    'Policies': page('policies', ref('Policy')),
    'Differences': closed(
        {
            'policy': HOST,
            'revision': COUNT,
            'host': HOST,
            'measured_at': TIME,
            'differences': several(
                closed(
                    {
                        'rule': TEXT,
                        'reason': TEXT,
                        'what': TEXT,
                        'last_good': TEXT,
                        'advice': TEXT,
                    }
                )
            ),
        }
    ),
    'Checked': closed(
        {'policy': HOST, 'revision': COUNT, 'hosts': _JUDGED, 'next': TEXT}
    ),
    'Proposal': closed(
        {
            'policy': HOST,
            'golden': several(
                closed(
                    {
                        'host': HOST,
                        'tier': TIER,
                        'reasons': REASONS,
                        'measured_at': TIME,
                        'digest': DIGEST,
                        'admitted': BOOLEAN,
                    }
                )
            ),
            'differences': several(
                closed(
                    {
                        'component': TEXT,
                        'values': {
                            'type': 'object',
                            'additionalProperties': TEXT,
                        },
                    }
                )
            ),
            'hosts': _JUDGED,
            'next': TEXT,
        }
    ),
    'Response': _RESPONSE,
    'Responses': closed(
        {
            'responses': several(ref('Response')),
            **_RESPONSES_ABOVE,
            'next': TEXT,
        }
    ),
}
