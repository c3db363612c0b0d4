# SPDX-License-Identifier: Apache-2.0
"""Bodies of what an agent says about its own host."""

from korora_nova.custody import messages
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

CHALLENGE = schemas.closed({'class': {'enum': ['steady', 'on-demand']}})

# Evidence.from_json checks the evidence itself, logs included, in one pass.
EVIDENCE = schemas.closed(
    {
        'version': schemas.VERSION,
        'challenge': schemas.DIGEST,
        'purpose': {'enum': sorted(messages.BODIES)},
        'body': {'type': 'string', 'maxLength': 256 * 1024},
        'evidence': {'type': 'object'},
    }
)

#: Base64 of both logs, and room for the rest.
EVIDENCE_LIMIT = (evidence.MAX_UEFI_LOG + evidence.MAX_IMA_LOG) // 3 * 4 + (
    1 << 20
)
