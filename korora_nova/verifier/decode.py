# SPDX-License-Identifier: Apache-2.0
"""From the text of a document to bytes and TPM structures."""

from __future__ import annotations

import base64

from korora_nova import errors
from korora_nova.rats.tpm2 import objects


def base64_field(text: str, field: str) -> bytes:
    """Decode standard base64.

    :raises Invalid: INVALID_REQUEST naming the field.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            f'{field} is not base64.',
            details={'field': field},
        ) from None


def public_field(text: str, field: str) -> objects.Public:
    """Decode a TPM2B_PUBLIC.

    :raises Invalid: INVALID_REQUEST, not base64.
    :raises EvidenceError: not such a structure.
    """
    return objects.parse_public(base64_field(text, field))
