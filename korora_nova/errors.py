# SPDX-License-Identifier: Apache-2.0
"""Every error of the project; each shows one reason id.

::

    KororaError                 reason, message, details; HTTP code
     +-- EvidenceError     400  evidence or input bytes are bad; .place
     +-- Invalid           400  a document does not follow its schema
     +-- Forbidden         403  the caller may not do this
     +-- Untrusted         403  evidence is fine, appraisal or rule says no
     +-- CustodyError      403  permit, receipt, approval, transfer, vault
     +-- NotFound          404
     +-- Conflict          409  identity or ledger state
     |    +-- Retry        409  lost a race; the same request may succeed
     +-- TooLarge          413
     +-- Busy              429  too much to do; .retry_after
     +-- Unavailable       503  service, agent, TPM, bus, database: never a
          |                     statement about evidence, nor the reverse
          +-- Unreachable       the attestation service gave no answer at all

The ids, their classes and meanings are in :mod:`korora_nova.reasons`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

from korora_nova import reasons

#: The stable ids: ``Reason.RETRY``.
Reason = reasons.Reason
#: Reason id -> what it means, for operators.
REASONS = reasons.REASONS

_E = TypeVar('_E', bound='KororaError')


class KororaError(Exception):
    """Base of all errors of Kororā.

    :param reason: stable id, one of :data:`REASONS`.
    :param message: a sentence an operator can act on; default: the table's.
    :param details: short strings for logs and APIs; never secrets.
    """

    code = 500

    def __init__(
        self,
        reason: str,
        message: str | None = None,
        *,
        details: Mapping[str, str] | None = None,
    ) -> None:
        self.reason = reason
        self.message = message or REASONS.get(reason, 'Unknown reason.')
        self.details: dict[str, str] = dict(details or {})
        super().__init__(self.reason, self.message)

    def __str__(self) -> str:
        return f'[{self.reason}] {self.message}'

    def fresh(self: _E) -> _E:
        """The same error without traceback, cause and context.

        An error that is kept keeps each frame it was ever raised through,
        with all that is in them: keep a fresh one, and raise a fresh one.
        """
        return copy.copy(self)


class EvidenceError(KororaError):
    """Evidence or other untrusted bytes are malformed or do not verify.

    :param place: the field or offset at fault, if known.
    """

    code = 400

    def __init__(
        self,
        reason: str,
        message: str | None = None,
        *,
        place: str | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, message, details=details)
        self.place = place
        if place is not None:
            self.details.setdefault('place', place)


class Invalid(KororaError):
    """A document does not follow its schema."""

    code = 400


class Forbidden(KororaError):
    """The caller may not do this."""

    code = 403


class Untrusted(KororaError):
    """The evidence was read, and the appraisal or a rule says no."""

    code = 403


class CustodyError(KororaError):
    """A permit, receipt, approval, transfer or vault record was refused."""

    code = 403


class NotFound(KororaError):
    """What was asked for does not exist."""

    code = 404


class Conflict(KororaError):
    """The request contradicts the recorded identity or ledger state."""

    code = 409


class Retry(Conflict):
    """A race was lost; the same request with a new challenge may succeed."""

    def __init__(
        self,
        reason: str = 'RETRY',
        message: str | None = None,
        *,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, message, details=details)


class TooLarge(KororaError):
    """The input is larger than its cap."""

    code = 413


class Busy(KororaError):
    """There is too much to do: ``retry_after`` of the details, seconds."""

    code = 429

    @property
    def retry_after(self) -> int:
        """When to come again, seconds; at most some minutes."""
        said = self.details.get('retry_after', '')
        return min(int(said), 300) if said.isdecimal() else 1


class Unavailable(KororaError):
    """Infrastructure is down; says nothing about any evidence."""

    code = 503


class Unreachable(Unavailable):
    """The attestation service gave no answer, not even that it cannot."""


_BY_CODE: dict[int, type[KororaError]] = {
    cls.code: cls
    for cls in (
        Invalid,
        Forbidden,
        NotFound,
        Conflict,
        TooLarge,
        Busy,
        Unavailable,
    )
}

_BY_KIND: dict[reasons.Kind, type[KororaError]] = {
    'EvidenceError': EvidenceError,
    'Invalid': Invalid,
    'Forbidden': Forbidden,
    'Untrusted': Untrusted,
    'CustodyError': CustodyError,
    'NotFound': NotFound,
    'Conflict': Conflict,
    'Retry': Retry,
    'Busy': Busy,
    'TooLarge': TooLarge,
    'Unavailable': Unavailable,
}


def from_reason(
    reason: str,
    message: str | None = None,
    details: Mapping[str, str] | None = None,
    code: int | None = None,
) -> KororaError:
    """Build the error a peer reported, by its reason id.

    A reason this version does not know becomes the class of the HTTP
    ``code``, else a plain :class:`KororaError`; never a success.
    """
    if reason in reasons.TABLE:
        cls = _BY_KIND[reasons.TABLE[reason].kind]
    else:
        cls = _BY_CODE.get(code or 0, KororaError)
    return cls(reason, message, details=details)
