# SPDX-License-Identifier: Apache-2.0
"""Read a request's body: capped, JSON, valid, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import webob

from korora_nova import errors
from korora_nova.api import faults
from korora_nova.custody import messages
from korora_nova.rats import schemas

#: Largest body unless a handler says otherwise, bytes.
LIMIT = 64 * 1024


def read(
    request: webob.Request,
    schema: schemas.Schema,
    *,
    limit: int = LIMIT,
    values: int | None = None,
    admit: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Return the document in the body.

    :param values: JSON values that it may have: an empty object costs 28
        times its text once it is parsed.
    :param admit: is called before anything is read, and may refuse.
    :raises TooLarge: more than ``limit`` bytes; they are not read. More
        than ``values``; they are not parsed.
    :raises Invalid: INVALID_REQUEST: type, encoding, JSON or schema.
    """
    if request.content_type != 'application/json':
        raise faults.UnsupportedMediaType(
            errors.Reason.INVALID_REQUEST,
            'The body must be of type application/json.',
        )
    _check_length(request, limit)
    admit()
    data = _bytes(request, limit)
    # Each value but the first comes after one of these.
    if (
        values is not None
        and sum(map(data.count, (b',', b':', b'['))) > values
    ):
        raise errors.TooLarge(
            errors.Reason.TOO_LARGE, 'The body has too many values.'
        )
    try:
        text = data.decode('utf-8')
    except UnicodeDecodeError:
        raise _invalid('The body is not UTF-8.') from None
    return messages.loads(text, schema, limit=limit)


def length(request: webob.Request) -> int | None:
    """Bytes of the body; None if that is not said.

    :raises Invalid: INVALID_REQUEST.
    """
    try:
        stated: int | None = request.content_length
    except ValueError:
        raise _invalid('The header Content-Length is malformed.') from None
    return stated


def _check_length(request: webob.Request, limit: int) -> None:
    stated = length(request)
    if stated is not None and stated > limit:
        raise _too_large(limit)


def _bytes(request: webob.Request, limit: int) -> bytes:
    # One byte more than admitted tells; chunked bodies state no length.
    try:
        data: bytes = request.body_file.read(limit + 1)
    except OSError:
        raise _invalid('The body ended before its length.') from None
    if len(data) > limit:
        raise _too_large(limit)
    return data


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(errors.Reason.INVALID_REQUEST, message)


def _too_large(limit: int) -> errors.TooLarge:
    return errors.TooLarge(
        errors.Reason.TOO_LARGE, f'The body is larger than {limit} bytes.'
    )
