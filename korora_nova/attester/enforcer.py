# SPDX-License-Identifier: Apache-2.0
"""Whether this host's nova-compute runs our driver, as the agent heard it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova.custody import operations as ops
from korora_nova.custody.bodies import Enforcer

LOG = logging.getLogger(__name__)


class Enforcement:
    """What nova-compute said last, for as long as that counts.

    Who may say it is decided by the socket: the users that may open keys.

    :param timeout: seconds of silence after which nova-compute is gone.
    :param changed: called when the host begins to enforce, or to refuse.
    """

    def __init__(
        self,
        timeout: float,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._changed = changed
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: tuple[float, ops.Enforces] | None = None

    def hear(self, said: ops.Enforces) -> None:
        """nova-compute says that it enforces."""
        with self._lock:
            before, self._heard = self._said(), (self._clock(), said)
        if before != said:
            LOG.info(
                'nova-compute runs %(driver)s %(release)s: %(drift)s',
                {**vars(said), 'drift': said.drift or 'it enforces'},
            )
        if before is None or before.drift != said.drift:
            self._changed()

    def current(self) -> Enforcer | None:
        """What is attested of it; None if it was silent for too long."""
        with self._lock:
            said, heard = self._said(), self._heard
            if said is None or heard is None:
                return None
            seen = max(0, int(self._clock() - heard[0]))
        return Enforcer(said.driver, said.release, said.drift, seen)

    def _said(self) -> ops.Enforces | None:
        if (
            self._heard is None
            or self._clock() - self._heard[0] > self._timeout
        ):
            return None
        return self._heard[1]
