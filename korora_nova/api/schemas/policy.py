# SPDX-License-Identifier: Apache-2.0
"""Bodies about appraisal policies."""

from korora_nova.rats import schemas

# What is in a document is the appraisal's to check.
_DOCUMENT = {'type': 'object'}

CREATE = schemas.closed({'document': _DOCUMENT})

UPDATE = schemas.closed(
    {
        'document': _DOCUMENT,
        'revision': {'type': 'integer', 'minimum': 1, 'maximum': 2**63 - 1},
    }
)

#: A policy of 1,000,000 digests has 75 MB.
LIMIT = 128 << 20
