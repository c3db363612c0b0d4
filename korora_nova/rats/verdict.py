# SPDX-License-Identifier: Apache-2.0
"""What several verifiers say of one host, and what that comes to.

A *source* is a verifier with a word of its own: the appraisal of this service
(:data:`NATIVE`), or another one that is asked. Of those that are required the
worst counts; a word that has expired is none. Advisory ones are shown only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.words import Tier

#: The appraisal of this service.
NATIVE = 'native'
#: Sources of one result.
MAX_SOURCES = 8
#: Reasons in a result, and in a verdict.
MAX_REASONS = 64

#: Tiers from the worst to the best.
ORDER = (Tier.CONTRAINDICATED, Tier.NONE, Tier.AFFIRMING)

SCHEMA: schemas.Schema = {
    'type': 'array',
    'maxItems': MAX_SOURCES,
    'items': schemas.closed(
        {
            'source': schemas.text(64),
            'required': {'type': 'boolean'},
            'proof': {'type': 'boolean'},
            'tier': {'enum': [str(tier) for tier in Tier]},
            'reasons': {
                'type': 'array',
                'maxItems': MAX_REASONS,
                'items': {'type': 'string', 'maxLength': 64},
            },
            'subject': schemas.text(255, least=0),
            'issued': schemas.TIME,
            'expires': schemas.TIME,
        }
    ),
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one source says of a host; times in seconds since 1970.

    :param required: whether it counts.
    :param proof: whether evidence stands behind it.
    :param reasons: reason ids, empty if affirming.
    :param subject: what the source calls the host; '' if it does not know
        it.
    :param issued: when the state was proven that it speaks of.
    """

    source: str
    required: bool
    proof: bool
    tier: Tier
    reasons: tuple[str, ...] = ()
    subject: str = ''
    issued: float = 0.0
    expires: float = 0.0

    def at(self, now: float) -> Verdict:
        """What is left of it at this moment."""
        if now < self.expires:
            return self
        return dataclasses.replace(
            self, tier=Tier.NONE, reasons=(errors.Reason.SOURCE_SILENT,)
        )

    def to_json(self) -> dict[str, object]:
        """An element of :data:`SCHEMA`."""
        return {
            **vars(self),
            'tier': str(self.tier),
            'reasons': list(self.reasons),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Verdict:
        """Read what follows :data:`SCHEMA`."""
        return cls(
            **{
                **document,
                'tier': Tier(document['tier']),
                'reasons': tuple(document['reasons']),
                'issued': float(document['issued']),
                'expires': float(document['expires']),
            }
        )


@dataclasses.dataclass(frozen=True)
class Combined:
    """What all verdicts come to.

    :param reasons: of the required ones that do not affirm, each once.
    :param verdicts: as they were at that moment.
    """

    tier: Tier
    reasons: tuple[str, ...]
    expires: float
    verdicts: tuple[Verdict, ...]


def combine(verdicts: Sequence[Verdict], now: float) -> Combined:
    """The worst of what is required; it ends with the first that does.

    Without any that is required nothing is known.

    :param now: seconds since 1970.
    """
    current = tuple(one.at(now) for one in verdicts)
    required = [one for one in current if one.required]
    tier = min(
        (one.tier for one in required), key=ORDER.index, default=Tier.NONE
    )
    reasons = dict.fromkeys(
        reason
        for one in required
        if one.tier is not Tier.AFFIRMING
        for reason in one.reasons or (errors.Reason.SOURCE_SILENT,)
    )
    return Combined(
        tier,
        tuple(reasons)[:MAX_REASONS] if tier is not Tier.AFFIRMING else (),
        min((one.expires for one in required if now < one.expires), default=0),
        current,
    )
