# SPDX-License-Identifier: Apache-2.0
"""All operations, in the order in which they run."""

from __future__ import annotations

from korora_tools.prove.life import (
    ends,
    firmware,
    hosts,
    moves,
    power,
    responses,
    shared,
)
from korora_tools.prove.life.operations import ALL, Operation

__all__ = [
    'ends',
    'firmware',
    'hosts',
    'moves',
    'power',
    'responses',
    'shared',
]


#: A guest with firmware takes minutes to start, and a file system that hosts
#: share has packages of its own: these run when they are named.
ON_REQUEST = ('Secure Boot', 'shared storage')


def chosen(only: str | None) -> list[Operation]:
    """Those with this text in their names; without one all the usual ones."""
    if only is not None:
        return [one for one in ALL if only in one.op]
    return [
        one for one in ALL if not any(kind in one.op for kind in ON_REQUEST)
    ]
