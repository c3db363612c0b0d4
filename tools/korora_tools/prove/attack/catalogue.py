# SPDX-License-Identifier: Apache-2.0
"""Every attack, in the order of its id."""

from __future__ import annotations

from korora_tools.prove.attack import custody, handover, stream, trust
from korora_tools.prove.attack.row import Attack


def order(id: str) -> tuple[str, int]:
    """T2 comes before T10."""
    return id[0], int(id[1:])


ATTACKS: tuple[Attack, ...] = tuple(
    sorted(
        (
            *trust.ATTACKS,
            *handover.ATTACKS,
            *stream.ATTACKS,
            *custody.ATTACKS,
        ),
        key=lambda attack: order(attack.id),
    )
)
BY_ID = {attack.id: attack for attack in ATTACKS}
