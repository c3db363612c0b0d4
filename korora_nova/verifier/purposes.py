# SPDX-License-Identifier: Apache-2.0
"""Every purpose an attestation can have, at a glance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from korora_nova.verifier import service
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.challenges import ON_DEMAND, STEADY
from korora_nova.verifier.custody import at_rest, handover

Serve = Callable[[service.Service, Attested, dict[str, Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Purpose:
    """How one purpose is served.

    :param any_tier: a contraindicated host may report this fact, too.
    :param classes: of challenges that may be answered with it.
    """

    serve: Serve
    any_tier: bool = False
    classes: frozenset[str] = frozenset((ON_DEMAND,))


def _attest(
    verifier: service.Service, attested: Attested, body: dict[str, Any]
) -> dict[str, Any]:
    """The result is all there is; the report was stored with it."""
    return {}


PURPOSES: dict[str, Purpose] = {
    'attest': Purpose(
        _attest, any_tier=True, classes=frozenset((STEADY, ON_DEMAND))
    ),
    'claim': Purpose(at_rest.claim),
    'approve': Purpose(at_rest.approve),
    'delete': Purpose(at_rest.delete),
    'receive': Purpose(handover.receive),
    'send': Purpose(handover.send),
    'commit': Purpose(handover.commit, any_tier=True),
    'abort': Purpose(handover.abort, any_tier=True),
}
