# SPDX-License-Identifier: Apache-2.0
"""Findings: why a host is not trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from korora_nova import errors

#: Findings of one kind that are listed singly.
MAX_LISTED = 8
#: Longest text taken from evidence into a finding, characters.
MAX_TEXT = 256


@dataclasses.dataclass(frozen=True)
class Finding:
    """A reason id, a sentence for operators, and what it is about.

    :param details: e.g. ``want`` and ``got``, ``policy`` and ``rule``.
    """

    reason: str
    message: str
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, exc: errors.KororaError) -> Finding:
        """The finding that an error amounts to."""
        return cls(exc.reason, exc.message, exc.details)

    def to_json(self) -> dict[str, object]:
        """JSON object with the three fields."""
        return {
            'reason': self.reason,
            'message': self.message,
            'details': dict(self.details),
        }


def listed(
    reason: str,
    items: Sequence[str],
    template: str,
    details: Mapping[str, str] | None = None,
    key: str = '',
) -> list[Finding]:
    """A finding for each item, one for all beyond ``MAX_LISTED``.

    :param details: given to each of them.
    :param key: under which the item is in the details: 'want' or 'got'.
    """
    shared = dict(details or {})
    found = [
        Finding(
            reason,
            template.format(item),
            {**shared, key: item} if key else shared,
        )
        for item in items[:MAX_LISTED]
    ]
    if len(items) > MAX_LISTED:
        found.append(
            Finding(
                reason,
                template.format(f'{len(items) - MAX_LISTED} more'),
                shared,
            )
        )
    return found


def printable(text: bytes | str) -> str:
    """Text of the evidence as it can be shown to a person."""
    if isinstance(text, bytes):
        text = text[:MAX_TEXT].decode(errors='backslashreplace')
    return ''.join(
        char if char.isprintable() else '?' for char in text[:MAX_TEXT]
    )
