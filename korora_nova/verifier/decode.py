# SPDX-License-Identifier: Apache-2.0
"""From the text of a document to TPM structures."""

from __future__ import annotations

from korora_nova.custody import messages
from korora_nova.rats.tpm2 import objects


def public_field(text: str, field: str) -> objects.Public:
    """Decode a TPM2B_PUBLIC.

    :raises Invalid: INVALID_REQUEST, not base64.
    :raises EvidenceError: not such a structure.
    """
    return objects.parse_public(messages.base64_field(text, field))
