# SPDX-License-Identifier: Apache-2.0
"""What Nova does with a server while its key is handed over."""

from __future__ import annotations

import uuid
from typing import Final

from korora_nova.rats import schemas
from korora_nova.rats.words import Word


class Move(Word):
    """The kind of a hand-over.

    COLD is a cold migration or resize, REVERT its way back: the guest is off
    meanwhile, so what a host sees of it says nothing.
    """

    LIVE = 'live'
    COLD = 'cold'
    REVERT = 'revert'


#: As JSON Schema; what it is left out for is LIVE.
MOVE: Final[schemas.Schema] = {
    'enum': [str(Move.COLD), str(Move.REVERT)],
}


def way_back(migration: str) -> str:
    """The id of the hand-over that reverts a cold migration.

    Nova has one record, and one UUID, for both.

    :param migration: Nova's UUID of it.
    """
    return str(uuid.uuid5(uuid.UUID(migration), 'revert'))
