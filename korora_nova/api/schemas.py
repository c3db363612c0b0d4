# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of request bodies.

Those of evidence are in ``custody.exchange`` and ``custody.bodies``.
"""

from korora_nova.custody.moves import Move
from korora_nova.custody.words import ChallengeClass, MigrationState
from korora_nova.rats import endorsement, evidence, schemas
from korora_nova.rats.words import Tier
from korora_nova.verifier import hosts
from korora_nova.verifier.appraisal import learning
from korora_nova.verifier.responses.words import State

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

_FLAG: schemas.Schema = {'enum': ['true', 'false']}


def _page(marker: schemas.Schema, **filters: schemas.Schema) -> schemas.Schema:
    """The query string of a list in pages, which may all be left out."""
    parameters = {**filters, 'limit': _LIMIT, 'marker': marker}
    return schemas.closed(parameters, optional=tuple(parameters))


def _words(*words: object) -> schemas.Schema:
    return {'enum': [str(one) for one in words]}


_TIER = _words(*Tier)

#: Parameters of a policy that is tried on the fleet.
CHECK_POLICY = _page(schemas.HOST, all=_FLAG)

# Parameters of lists, since version 1.1.

LIST_HOSTS = _page(schemas.HOST, status=_words(*hosts.STATUSES), tier=_TIER)

LIST_RESULTS = _page(
    schemas.HOST,
    tier=_TIER,
    **{'changes-since': {'type': 'string', 'minLength': 1, 'maxLength': 64}},
)

LIST_REFERENCES = _page(schemas.HOST, host=schemas.HOST)

LIST_POLICIES = _page(schemas.HOST, host=schemas.HOST)

LIST_MIGRATIONS = _page(
    schemas.UUID,
    instance=schemas.UUID,
    host=schemas.HOST,
    status=_words(*MigrationState),
    kind=_words(*Move),
)

#: A place in the log of documents.
_PLACE: schemas.Schema = {
    'type': 'string',
    'pattern': '^[0-9]{1,18}' + schemas.END,
}

LIST_RECEIPTS = _page(_PLACE, instance=schemas.UUID)

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

SHOW_MIGRATION = schemas.closed(
    {'documents': {'enum': ['true', 'false']}}, optional=('documents',)
)

#: Parameters of a request about a stream under way.
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
LIST_SERVERS = _page(schemas.UUID, issues=_FLAG, holder=schemas.HOST)

#: Parameters of a list of responses; the second form is since version 1.1.
LIST_RESPONSES_1_0 = _page(schemas.UUID, all=_FLAG, host=schemas.HOST)
LIST_RESPONSES = _page(
    schemas.UUID,
    all=_FLAG,
    host=schemas.HOST,
    state=_words(*State),
    driver=schemas.HOST,
)

DECIDE_RESPONSE = schemas.closed({'reason': _REASON})
