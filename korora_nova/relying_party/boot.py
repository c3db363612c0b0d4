# SPDX-License-Identifier: Apache-2.0
"""What the start of nova-compute may wait for its agent.

Nova starts in one thread, in which it also starts servers again, and serves
requests in others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from korora_nova import errors
from korora_nova.attester.socket_client import AgentClient

#: Makes a client of the agent that waits so many seconds for an answer.
Connect = Callable[[float], AgentClient]


class Boot:
    """One budget for all servers of this host.

    Charged is what was waited in vain: a start that takes its time is not.

    :param budget: seconds; then the agent counts as dead until Nova serves.
    """

    def __init__(
        self,
        connect: Connect,
        budget: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._left = budget
        self._clock = clock
        self._thread: int | None = None

    def begin(self) -> None:
        """nova-compute starts, in this thread."""
        self._thread = threading.get_ident()

    @property
    def here(self) -> bool:
        """Whether this is the thread in which nova-compute starts."""
        return threading.get_ident() == self._thread

    def agent(self, timeout: float) -> AgentClient:
        """A client that waits no longer than Nova's start may."""
        if not self.here:
            return self._connect(timeout)
        return _Charged(self, timeout)

    def call(
        self, timeout: float, op: str, fields: dict[str, Any]
    ) -> dict[str, Any]:
        """Call the agent.

        :raises Unavailable: AGENT_UNAVAILABLE, or the budget is used up.
        """
        if self._left <= 0:
            raise errors.Unavailable(
                errors.Reason.AGENT_UNAVAILABLE,
                'The start of nova-compute does not wait for it any longer.',
            )
        began = self._clock()
        try:
            agent = self._connect(min(timeout, self._left))
            return agent.call(op, **fields)
        except errors.Unavailable:
            self._left -= self._clock() - began
            raise


class _Charged(AgentClient):
    """A client whose vain waits are charged."""

    def __init__(self, boot: Boot, timeout: float) -> None:
        super().__init__('its socket', timeout)
        self._boot = boot

    def call(
        self, op: str, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        wait = self._timeout if timeout is None else timeout
        return self._boot.call(wait, op, fields)
