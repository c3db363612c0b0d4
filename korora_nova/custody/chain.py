# SPDX-License-Identifier: Apache-2.0
"""Reads documents of any kind, and chains of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jwt

from korora_nova import errors
from korora_nova.custody import documents, grant, permit, receipt, start
from korora_nova.custody.documents import Verified
from korora_nova.rats.signed import keys

#: A document that verified, of whatever kind.
AnyVerified = Verified[Any]

#: Header type -> what verifies it.
_READERS: dict[str, Callable[..., AnyVerified]] = {
    grant.Grant.KIND.typ: grant.verify_grant,
    permit.Permit.KIND.typ: permit.verify_permit,
    start.Start.KIND.typ: start.verify_start,
    receipt.Receipt.KIND.typ: receipt.verify_receipt,
}


def read(
    token: str, ring: keys.KeyRing, *, incarnation: str | None = None
) -> AnyVerified:
    """Verify a document of any kind, not its place in the chain.

    :raises CustodyError: DOCUMENT_INVALID, or as its kind says.
    """
    try:
        typ = jwt.get_unverified_header(token).get('typ')
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        typ = None
    reader = _READERS.get(typ) if isinstance(typ, str) else None
    if reader is None:
        raise errors.CustodyError(errors.Reason.DOCUMENT_INVALID)
    return reader(token, ring, incarnation=incarnation)


def verify_chain(
    chain: Iterable[str],
    ring: keys.KeyRing,
    *,
    after: AnyVerified | None = None,
) -> tuple[AnyVerified, ...]:
    """Verify documents of one server in order: each follows the one before.

    :param after: the one before the first, None if that is version 1.
    :raises CustodyError: DOCUMENT_INVALID; details name the version
        expected where the chain breaks.
    """
    verified: list[AnyVerified] = []
    for token in chain:
        item = _next(token, ring, after)
        verified.append(item)
        after = item
    return tuple(verified)


def _next(
    token: str, ring: keys.KeyRing, after: AnyVerified | None
) -> AnyVerified:
    version = after.content.version + 1 if after else 1
    try:
        item = read(token, ring)
    except errors.CustodyError as exc:
        raise _broken(version, **exc.details) from None
    prev = after.hash if after else documents.GENESIS
    found = item.content
    if (found.version, found.prev) != (version, prev) or (
        after is not None and found.instance != after.content.instance
    ):
        raise _broken(version)
    return item


def _broken(version: int, **details: str) -> errors.CustodyError:
    return errors.CustodyError(
        errors.Reason.DOCUMENT_INVALID,
        f'The chain of documents breaks at version {version}.',
        details={**details, 'version': str(version)},
    )
