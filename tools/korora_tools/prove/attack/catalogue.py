# SPDX-License-Identifier: Apache-2.0
"""Every attack, in the order of its id."""

from __future__ import annotations

from korora_tools.prove.attack import (
    custody,
    handover,
    offline,
    stream,
    trust,
)
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
            *offline.ATTACKS,
        ),
        key=lambda attack: order(attack.id),
    )
)
BY_ID = {attack.id: attack for attack in ATTACKS}

#: Tried on the lab, too.
ON_LAB = frozenset(
    'S1 S4 S5 T1 T2 T3 T4 T5 T6 T9 T11 T13 T17 T18 T19 T21 T22 T27 T32 T33 '
    'T38 T44 T47'.split()
)

#: Another check refuses them, too: a test that fails shows no success.
REFUSED_TWICE = frozenset(('O3', 'O8', 'O9', 'T7', 'T29', 'T31', 'T34'))
