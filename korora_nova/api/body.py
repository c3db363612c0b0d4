# SPDX-License-Identifier: Apache-2.0
"""Read a request's body: capped, JSON, valid, and nothing else."""

from __future__ import annotations

from typing import Any

import webob

from korora_nova import errors
from korora_nova.api import faults
from korora_nova.custody import messages
from korora_nova.rats import schemas

#: Largest body unless a handler says otherwise, bytes.
LIMIT = 64 * 1024


def read(
    request: webob.Request, schema: schemas.Schema, *, limit: int = LIMIT
) -> dict[str, Any]:
    """Return the document in the body.

    :raises TooLarge: more than ``limit`` bytes; they are not read.
    :raises Invalid: INVALID_REQUEST: type, encoding, JSON or schema.
    """
    if request.content_type != 'application/json':
        raise faults.UnsupportedMediaType(
            errors.Reason.INVALID_REQUEST,
            'The body must be of type application/json.',
        )
    data = _bytes(request, limit)
    try:
        text = data.decode('utf-8')
    except UnicodeDecodeError:
        raise _invalid('The body is not UTF-8.') from None
    return messages.loads(text, schema, limit=limit)


def _bytes(request: webob.Request, limit: int) -> bytes:
    try:
        length = request.content_length
    except ValueError:
        raise _invalid('The header Content-Length is malformed.') from None
    if length is not None and length > limit:
        raise _too_large(limit)
    # One byte more than admitted tells; chunked bodies state no length.
    data: bytes = request.body_file.read(limit + 1)
    if len(data) > limit:
        raise _too_large(limit)
    return data


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(errors.Reason.INVALID_REQUEST, message)


def _too_large(limit: int) -> errors.TooLarge:
    return errors.TooLarge(
        errors.Reason.TOO_LARGE, f'The body is larger than {limit} bytes.'
    )
