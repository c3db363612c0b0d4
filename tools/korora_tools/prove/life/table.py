# SPDX-License-Identifier: Apache-2.0
"""All operations, in the order in which they run."""

from __future__ import annotations

from korora_tools.prove.life import (
    ends,
    firmware,
    hosts,
    moves,
    power,
    shared,
)
from korora_tools.prove.life.operations import ALL, Operation

__all__ = ['ends', 'firmware', 'hosts', 'moves', 'power', 'shared']


def chosen(only: str | None) -> list[Operation]:
    """Those with this text in their names; all without one."""
    return [one for one in ALL if only is None or only in one.op]
