# SPDX-License-Identifier: Apache-2.0
"""The words of responses: their states, and what a response is."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence

#: In the place of a host: a response to what concerns the whole fleet.
FLEET = '*'


class State(str, enum.Enum):
    """Where a response is.

    ::

        waiting -> due -> done -> undoing -> undone
           |        |      |
           |        +------+--> ended       nothing is left to do or undo
           +--> rejected
        dry-run -> ended
    """

    WAITING = 'waiting'
    DUE = 'due'
    DONE = 'done'
    UNDOING = 'undoing'
    UNDONE = 'undone'
    REJECTED = 'rejected'
    ENDED = 'ended'
    DRY_RUN = 'dry-run'

    def __str__(self) -> str:
        return self.value


#: Something is to come of it: there is one such of a host and driver.
OPEN = frozenset(
    (State.WAITING, State.DUE, State.DONE, State.UNDOING, State.DRY_RUN)
)
#: To be worked on.
TO_DO = frozenset((State.DUE, State.UNDOING))
#: It has touched the host, or is about to.
ACTING = frozenset((State.DUE, State.DONE, State.UNDOING))


@dataclasses.dataclass(frozen=True)
class Response:
    """What one driver does about one host.

    :param host: or :data:`FLEET`.
    :param driver: name of its entry point.
    :param reasons: ids of why the host is not trusted.
    :param why: it waits, or was ended; a sentence, '' for nothing to say.
    :param detail: what the driver notes to go on, or to undo it.
    :param attempts: at what is due; ``error`` is why the last one failed.
    :param due_at: not before; all times are seconds since 1970, of the
        database's clock.
    :param actor: who decided last; '' if nobody had to.
    """

    id: str
    host: str
    driver: str
    state: State
    reasons: Sequence[str]
    why: str
    detail: Mapping[str, object]
    attempts: int
    error: str
    created_at: float
    updated_at: float
    due_at: float
    actor: str
    note: str

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class Hold:
    """Nothing more is done until an operator decides.

    :param since: seconds since 1970; None: there is none.
    """

    since: float | None = None
    why: str = ''

    def __bool__(self) -> bool:
        return self.since is not None

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))
