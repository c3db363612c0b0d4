# SPDX-License-Identifier: Apache-2.0
"""What nova-compute's start leaves to do: its agent may come later.

Host and agent start in any order. Nova's start does not wait for the agent:
a thread tries until all is done, and logs nothing twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import errors

LOG = logging.getLogger(__name__)

#: Seconds to the second attempt; each wait is twice the one before.
FIRST_WAIT = 2.0
LONGEST_WAIT = 120.0


class Arrival:
    """Tries until it is done, or stopped.

    :param attempt: does what can be done; returns whether that was all.
        If it raises, that is logged and it is tried again.
    :param name: of the thread.
    """

    def __init__(
        self, attempt: Callable[[], bool], name: str = 'korora-arrival'
    ) -> None:
        self._attempt = attempt
        self._name = name
        self._stop = threading.Event()
        self._told = ''
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; a second call changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=self._name, daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Do not try again; an attempt under way is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        wait = FIRST_WAIT
        while not self.step() and not self._stop.wait(wait):
            wait = min(2 * wait, LONGEST_WAIT)

    def step(self) -> bool:
        """One attempt; whether nothing is left to do."""
        try:
            done = self._attempt()
        except errors.KororaError as exc:
            self._tell(exc)
            return False
        except Exception as exc:  # noqa: BLE001 boundary: the loop goes on
            if repr(exc) != self._told:
                LOG.exception(
                    'Cannot do what the start of nova-compute left to do; '
                    'tried again without restart'
                )
            self._told = repr(exc)
            return False
        if self._told:
            LOG.info('The korora-agent of this host answers')
            self._told = ''
        return done

    def _tell(self, exc: errors.KororaError) -> None:
        if str(exc) == self._told:
            return
        self._told = str(exc)
        # An agent that starts after nova-compute is no fault.
        waiting = exc.reason == errors.Reason.AGENT_UNAVAILABLE
        level = logging.INFO if waiting else logging.WARNING
        LOG.log(
            level,
            'Waiting for the korora-agent of this host, without '
            'which protected servers do not start here; tried again '
            'without restart: %s',
            exc,
        )
