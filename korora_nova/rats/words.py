# SPDX-License-Identifier: Apache-2.0
"""Fixed words of results, databases and JSON, each spelled once."""

from __future__ import annotations

import enum


class Word(str, enum.Enum):
    """A word that is its own text, also in JSON and f-strings.

    Python 3.11 calls it ``enum.StrEnum``.
    """

    def __str__(self) -> str:
        return str(self.value)


class Tier(Word):
    """How far a host is trusted (AR4SI's trust tiers); NONE: no result."""

    AFFIRMING = 'affirming'
    CONTRAINDICATED = 'contraindicated'
    NONE = 'none'
