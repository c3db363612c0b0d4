# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of request bodies.

Those of evidence are in ``custody.exchange`` and ``custody.bodies``.
"""

from korora_nova.custody.words import ChallengeClass
from korora_nova.rats import endorsement, evidence, schemas
from korora_nova.verifier.appraisal import learning

# What an agent says about its own host.

ENROL = schemas.closed(
    {
        'version': schemas.VERSION,
        # empty: the TPM has none
        'ek_cert': schemas.base64_string(8192),
        'ek_public': schemas.base64_string(1024),
        'ak_public': schemas.base64_string(1024),
        'srk_public': schemas.base64_string(1024),
        'ek_chain': {
            'type': 'array',
            'maxItems': endorsement.MAX_CHAIN,
            'items': schemas.base64_string(8192),
        },
    },
    optional=('ek_chain',),
)
#: With as many certificates as there may be, bytes.
ENROL_LIMIT = 256 * 1024

PROVE = schemas.closed(
    {'version': schemas.VERSION, 'proof': schemas.base64_string(64)}
)

CHALLENGE = schemas.closed(
    {'class': {'enum': [str(word) for word in ChallengeClass]}}
)

#: Base64 of both logs, and room for the rest, bytes.
EVIDENCE_LIMIT = (evidence.MAX_UEFI_LOG + evidence.MAX_IMA_READ) // 3 * 4 + (
    1 << 20
)

#: JSON values in evidence: a report of 4,096 keys has some 12,000, and text
#: of names counts, too.
EVIDENCE_VALUES = 1 << 16

# What operators decide.

APPROVE_HOST = schemas.closed(
    {'ek_hash': schemas.DIGEST, 'uncertified': {'type': 'boolean'}},
    optional=('uncertified',),
)

CREATE_REFERENCE = schemas.closed({'name': schemas.HOST, 'host': schemas.HOST})

# What is in a policy's document is the appraisal's to check.
CREATE_POLICY = schemas.closed(
    {
        'document': {'type': 'object'},
        'learn': {
            'type': 'array',
            'maxItems': learning.MAX_HOSTS,
            'items': schemas.closed(
                {
                    'host': schemas.HOST,
                    'name': schemas.HOST,
                    'digest': schemas.DIGEST,
                    'untrusted': {'type': 'boolean'},
                },
                optional=('untrusted',),
            ),
        },
    },
    optional=('learn',),
)

_LIMIT: schemas.Schema = {
    'type': 'string',
    'pattern': '^[1-9][0-9]{0,3}' + schemas.END,
}

#: Parameters of a policy that is tried on the fleet.
CHECK_POLICY = schemas.closed(
    {
        'all': {'enum': ['true', 'false']},
        'limit': _LIMIT,
        'marker': schemas.HOST,
    },
    optional=('all', 'limit', 'marker'),
)

PROPOSE_POLICY = schemas.closed(
    {
        'document': {'type': 'object'},
        'learn': {
            'type': 'array',
            'maxItems': learning.MAX_HOSTS,
            'uniqueItems': True,
            'items': schemas.HOST,
        },
        'all': {'type': 'boolean'},
        'limit': {'type': 'integer', 'minimum': 1, 'maximum': 1000},
        'marker': {'anyOf': [schemas.HOST, {'const': ''}]},
    },
    optional=('learn', 'all', 'limit', 'marker'),
)

UPDATE_POLICY = schemas.closed(
    {
        'document': {'type': 'object'},
        'revision': {'type': 'integer', 'minimum': 1, 'maximum': 2**63 - 1},
    }
)

#: A policy of 1,000,000 digests has 75 MB.
POLICY_LIMIT = 128 << 20

_REASON = schemas.text(1024)
_DRY_RUN: schemas.Schema = {'type': 'boolean'}
#: A sentence by which the operator vouches for something, '' for nothing.
_SENTENCE = schemas.text(1024, 0)

REISSUE = schemas.closed(
    {'reason': _REASON, 'fenced': _SENTENCE, 'dry_run': _DRY_RUN},
    optional=('fenced', 'dry_run'),
)

RELEASE = schemas.closed(
    {'reason': _REASON, 'force': _SENTENCE, 'dry_run': _DRY_RUN},
    optional=('force', 'dry_run'),
)

RESOLVE = schemas.closed(
    {
        'keep': {'enum': ['source', 'destination']},
        'reason': _REASON,
        'dry_run': _DRY_RUN,
    },
    optional=('dry_run',),
)

_SECONDS: schemas.Schema = {
    'type': 'string',
    'pattern': r'^[0-9]{1,9}(\.[0-9]{1,3})?' + schemas.END,
}

#: Parameters of a request about a stream under way.
SHOW_MIGRATION = schemas.closed(
    {'documents': {'enum': ['true', 'false']}}, optional=('documents',)
)

WATCH = schemas.closed(
    {'wait': _SECONDS, 'heard': _SECONDS}, optional=('wait', 'heard')
)

EVICT = schemas.closed(
    {
        'reason': _REASON,
        'dry_run': _DRY_RUN,
        'after': {'anyOf': [schemas.UUID, {'const': ''}]},
    },
    optional=('dry_run', 'after'),
)

PRESENT = schemas.closed(
    {
        'documents': {
            'type': 'array',
            'minItems': 1,
            'maxItems': 4096,
            'items': schemas.TOKEN,
        }
    }
)

PRESENT_LIMIT = 16 << 20

#: Parameters of a list of servers.
LIST_SERVERS = schemas.closed(
    {
        'issues': {'enum': ['true', 'false']},
        'holder': schemas.HOST,
        'limit': _LIMIT,
        'marker': schemas.UUID,
    },
    optional=('issues', 'holder', 'limit', 'marker'),
)

#: Parameters of a list of responses.
LIST_RESPONSES = schemas.closed(
    {
        'all': {'enum': ['true', 'false']},
        'host': schemas.HOST,
        'limit': _LIMIT,
        'marker': schemas.UUID,
    },
    optional=('all', 'host', 'limit', 'marker'),
)

DECIDE_RESPONSE = schemas.closed({'reason': _REASON})
