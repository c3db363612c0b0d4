# SPDX-License-Identifier: Apache-2.0
"""Every purpose that an attestation can have, at a glance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from korora_nova.custody import bodies
from korora_nova.custody.exchange import Served
from korora_nova.custody.words import ChallengeClass
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import (
    at_rest,
    decisions,
    handover,
    present,
    reports,
)
from korora_nova.verifier.service import Service

B = TypeVar('B', bound=bodies.Body)


@dataclasses.dataclass(frozen=True)
class Purpose(Generic[B]):
    """How one purpose is served.

    :param any_tier: a contraindicated host may report this fact, too.
    :param classes: of challenges that may be answered with it.
    :param repeated: the same request, sent again, gets the same answer.
    """

    body: type[B]
    serve: Callable[[Service, Attested, B], Served]
    any_tier: bool = False
    classes: frozenset[ChallengeClass] = frozenset((ChallengeClass.ON_DEMAND,))
    repeated: bool = True


_BOTH = frozenset(ChallengeClass)

#: purpose -> how it is served.
PURPOSES: dict[str, Purpose[Any]] = {
    purpose.body.PURPOSE: purpose
    for purpose in (
        Purpose(
            bodies.Attest,
            reports.hear,
            any_tier=True,
            classes=_BOTH,
            repeated=False,
        ),
        Purpose(
            bodies.Present,
            present.present,
            any_tier=True,
            classes=_BOTH,
            repeated=False,
        ),
        Purpose(bodies.Claim, at_rest.claim),
        Purpose(bodies.Approve, at_rest.approve, repeated=False),
        Purpose(bodies.Delete, at_rest.delete),
        # The permit counts the age of both challenges itself
        Purpose(bodies.Receive, handover.receive, classes=_BOTH),
        Purpose(bodies.Send, handover.send, classes=_BOTH),
        Purpose(bodies.Sealed, handover.sealed, classes=_BOTH),
        Purpose(bodies.Start, handover.start, classes=_BOTH),
        Purpose(bodies.Tell, decisions.tell, any_tier=True, classes=_BOTH),
    )
}
