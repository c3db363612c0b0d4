# SPDX-License-Identifier: Apache-2.0
"""Bodies about hosts."""

from korora_nova.rats import schemas

APPROVE = schemas.closed({'ek_hash': schemas.DIGEST})
