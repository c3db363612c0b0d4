# SPDX-License-Identifier: Apache-2.0
"""Asks all sources again and again; each has a thread of its own.

Several processes may do so at once: the latest answer counts. If none does,
what was said expires, and results end with it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.verifier.service import Service
from korora_nova.verifier.sources import base, chosen, lowering, verdicts

LOG = logging.getLogger(__name__)


class Asker:
    """Asks one source.

    :param interval: seconds between two questions.
    """

    def __init__(
        self,
        service: Service,
        name: str,
        source: base.Source,
        interval: float,
    ) -> None:
        self._service = service
        self._name = name
        self._source = source
        self._interval = interval
        self._complaint = ''
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f'source-{name}', daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Wait for no answer any more."""
        self._stop.set()
        self._thread.join(5)

    def step(self) -> bool:
        """Ask once, and let results follow; whether there was an answer."""
        try:
            self._ask()
        except errors.KororaError as exc:
            self._complain(str(exc))
            return False
        # A driver may fail in any way, and none may end the others.
        except Exception as exc:  # noqa: BLE001
            self._complain(f'{type(exc).__name__} in the driver')
            LOG.debug('The driver of %s failed', self._name, exc_info=True)
            return False
        finally:
            self._lower()
        if self._complaint:
            LOG.info('The source %s answers again.', self._name)
        self._complaint = ''
        return True

    def _ask(self) -> None:
        service, at = self._service, self._service.clock()
        hosts = verdicts.enrolled(service)
        known = verdicts.known(service, self._name)
        verdicts.keep(
            service, self._name, self._source.ask(hosts, known, at), at
        )

    def _lower(self) -> None:
        try:
            lowering.lower(self._service)
        except errors.KororaError as exc:
            LOG.warning('Results cannot be lowered: %s', exc)

    def _complain(self, why: str) -> None:
        """Once for each cause."""
        if why != self._complaint:
            LOG.warning(
                'The source %(source)s gives no answer; what it said last '
                'counts until it expires: %(why)s',
                {'source': self._name, 'why': why},
            )
        self._complaint = why

    def _run(self) -> None:
        while not self._stop.is_set():
            self.step()
            self._stop.wait(self._interval * random.uniform(0.8, 1.2))


def askers(service: Service, conf: cfg.ConfigOpts) -> Sequence[Asker]:
    """One for each source that is asked.

    :raises Unavailable: SOURCE_INVALID.
    """
    interval = conf[options.SOURCES].interval
    return [
        Asker(service, one.name, chosen.make(conf, one.name), interval)
        for one in service.sources
        if one.asked
    ]
