# SPDX-License-Identifier: Apache-2.0
"""Findings: why a host is not trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

#: Findings of one kind that are listed singly.
MAX_LISTED = 8
#: Longest text taken from evidence into a finding, characters.
MAX_TEXT = 256


@dataclasses.dataclass(frozen=True)
class Finding:
    """A reason id, a sentence for operators, and what it is about.

    :param details: e.g. ``want`` and ``got``, or the ``rule``.
    """

    reason: str
    message: str
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)


def listed(reason: str, items: Sequence[str],
           template: str) -> list[Finding]:
    """A finding for each item, one for all beyond ``MAX_LISTED``."""
    findings = [Finding(reason, template.format(item))
                for item in items[:MAX_LISTED]]
    if len(items) > MAX_LISTED:
        findings.append(Finding(
            reason, template.format(f'{len(items) - MAX_LISTED} more')))
    return findings


def printable(text: bytes | str) -> str:
    """Text of the evidence as it can be shown to a person."""
    if isinstance(text, bytes):
        text = text[:MAX_TEXT].decode(errors='backslashreplace')
    return ''.join(char if char.isprintable() else '?'
                   for char in text[:MAX_TEXT])
