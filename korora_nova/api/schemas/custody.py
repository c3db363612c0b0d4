# SPDX-License-Identifier: Apache-2.0
"""Bodies of operators' custody calls."""

from korora_nova.rats import schemas

ABORT = schemas.closed({'reason': schemas.text(1024)})

RECOVER = schemas.closed(
    {'receipts': {'type': 'array', 'maxItems': 4096, 'items': schemas.TOKEN}}
)

RECOVER_LIMIT = 16 << 20
