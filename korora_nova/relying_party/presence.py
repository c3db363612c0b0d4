# SPDX-License-Identifier: Apache-2.0
"""Tells this host's agent, again and again, that nova-compute enforces.

The agent attests it: a host where nobody says so gets no protected servers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import conf, errors
from korora_nova.relying_party import gate

LOG = logging.getLogger(__name__)

#: Seconds between two words, of which the agent may miss some. An agent that
#: was started again counts as without driver until the next one.
INTERVAL = 1.0
#: Characters of what the agent takes.
LONGEST = 1024


class Presence:
    """Speaks in a thread of its own.

    :param driver: class of the compute driver.
    :param answered: called whenever the agent has heard it.
    """

    def __init__(
        self, the_gate: gate.Gate, driver: str, answered: Callable[[], None]
    ) -> None:
        self._gate = the_gate
        self._driver = driver
        self._answered = answered
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; a second call changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name='korora-presence', daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Fall silent."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.step()
            self._stop.wait(INTERVAL)

    def step(self) -> None:
        """Speak once; never fails."""
        try:
            self._gate.agent(gate.QUICK).enforces(
                self._driver, conf.release(), _drift(self._gate.obstacle)
            )
            self._answered()
        except errors.KororaError as exc:
            # That the agent is not there is told by others.
            LOG.debug('The agent was not told of this driver: %s', exc)
        except Exception:  # noqa: BLE001 boundary: the loop goes on
            LOG.exception('Cannot tell the agent of this driver')


def _drift(obstacle: errors.KororaError | None) -> str:
    """Why protected servers are refused here, on one line."""
    if obstacle is None:
        return ''
    return ' '.join(str(obstacle).split())[:LONGEST]
