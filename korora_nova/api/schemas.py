# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of request bodies.

Those of evidence are in ``custody.exchange`` and ``custody.bodies``.
"""

from korora_nova.custody.words import ChallengeClass
from korora_nova.rats import evidence, schemas

# What an agent says about its own host.

ENROL = schemas.closed(
    {
        'version': schemas.VERSION,
        'ek_cert': schemas.base64_string(8192),
        'ek_public': schemas.base64_string(1024),
        'ak_public': schemas.base64_string(1024),
        'srk_public': schemas.base64_string(1024),
    }
)

PROVE = schemas.closed(
    {'version': schemas.VERSION, 'proof': schemas.base64_string(64)}
)

CHALLENGE = schemas.closed(
    {'class': {'enum': [str(word) for word in ChallengeClass]}}
)

#: Base64 of both logs, and room for the rest, bytes.
EVIDENCE_LIMIT = (evidence.MAX_UEFI_LOG + evidence.MAX_IMA_LOG) // 3 * 4 + (
    1 << 20
)

#: JSON values in evidence: a report of 4,096 keys has some 12,000, and text
#: of names counts, too.
EVIDENCE_VALUES = 1 << 16

# What operators decide.

APPROVE_HOST = schemas.closed({'ek_hash': schemas.DIGEST})

CREATE_REFERENCE = schemas.closed({'name': schemas.HOST, 'host': schemas.HOST})

# What is in a policy's document is the appraisal's to check.
CREATE_POLICY = schemas.closed({'document': {'type': 'object'}})

UPDATE_POLICY = schemas.closed(
    {
        'document': {'type': 'object'},
        'revision': {'type': 'integer', 'minimum': 1, 'maximum': 2**63 - 1},
    }
)

#: A policy of 1,000,000 digests has 75 MB.
POLICY_LIMIT = 128 << 20

ABORT_MIGRATION = schemas.closed({'reason': schemas.text(1024)})

RECOVER_LEDGER = schemas.closed(
    {'receipts': {'type': 'array', 'maxItems': 4096, 'items': schemas.TOKEN}}
)

RECOVER_LIMIT = 16 << 20
