# SPDX-License-Identifier: Apache-2.0
"""Bodies of what an agent says about its own host."""

from korora_nova.custody.words import ChallengeClass
from korora_nova.rats import evidence, schemas

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

#: Base64 of both logs, and room for the rest.
EVIDENCE_LIMIT = (evidence.MAX_UEFI_LOG + evidence.MAX_IMA_LOG) // 3 * 4 + (
    1 << 20
)
