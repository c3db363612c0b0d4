# SPDX-License-Identifier: Apache-2.0
"""One process that responds, while it leads: look, decide, do, compare.

Each turn:

1. Lead, or go on to. Who does not lead does nothing.
2. Look at all results, and note what follows (:mod:`.judge`): one transaction.
3. Do what is due: note that it is begun, ask a driver, note what came of it.
   A driver that fails is left alone for the rest of the turn.
4. Now and then, compare what was decided with the marks that drivers find.

A turn that fails is over; the next one begins anew from the database.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Collection

import sqlalchemy as sa
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.response import counters, decide
from korora_nova.response.drivers import base
from korora_nova.response.drivers.loading import Drivers
from korora_nova.response.judge import Judge
from korora_nova.verifier.db import api, models
from korora_nova.verifier.responses import leader
from korora_nova.verifier.responses.lease import Lease, NotLeader
from korora_nova.verifier.responses.words import Response, State

LOG = logging.getLogger(__name__)

#: Seconds for which a process leads if it is not heard of any more, and that
#: must be left of them when a request begins that changes something: to
#: connect and for an answer, of Keystone first and then of whoever is asked.
LEASE, MARGIN = 60.0, 45.0
#: Seconds for what is due, in one turn.
BUSY = 30.0
_BATCH = 500


@dataclasses.dataclass
class Responder:
    """See the module.

    :param ring: returns the keys that verify results.
    :param survey_interval: seconds.
    """

    db: api.Database
    lease: Lease
    settings: decide.Settings
    drivers: Drivers
    ring: Callable[[], keys.KeyRing]
    survey_interval: float
    counters: counters.Counters = dataclasses.field(
        default_factory=counters.Counters
    )
    steady: Callable[[], float] = time.monotonic
    _surveyed: float = -math.inf

    def run(self, stop: threading.Event, interval: float) -> None:
        """Take turns until ``stop``; then let another process lead."""
        while not stop.is_set():
            self.turn()
            stop.wait(interval)
        try:
            self.lease.give_up()
        except errors.KororaError as exc:
            LOG.warning('Another process will lead in %.0f s: %s', LEASE, exc)

    def turn(self) -> None:
        """One turn; never fails."""
        try:
            self._turn()
        except NotLeader:
            LOG.info('Another process leads.')
        except errors.KororaError as exc:
            LOG.warning('Nothing is done now: %s', exc)
        # The boundary of the process: a bad row must not end it.
        except Exception:
            LOG.exception('This turn failed')
        leads = self.lease.term is not None
        if leads != self.counters.leading:
            LOG.warning('This process %s.', 'leads' if leads else 'follows')
            self.counters.leading = leads

    def _turn(self) -> None:
        term = self.lease.term
        if not self.lease.take():
            return
        if self.lease.term != term:
            self._surveyed = -math.inf
        leader.look(
            self.lease, Judge(self.settings, self.ring(), self.counters)
        )
        self.counters.looks += 1
        self._work()
        if self.steady() - self._surveyed >= self.survey_interval:
            self._surveyed = self.steady()
            self._survey()

    def _work(self) -> None:
        end = self.steady() + BUSY
        failing: set[str] = set()
        for response in leader.work(self.lease):
            if self.steady() >= end:
                return
            if response.driver not in failing and not self._respond(response):
                failing.add(response.driver)

    def _respond(self, response: Response) -> bool:
        """Do or undo one; whether its driver works."""
        begun = leader.begin(self.lease, response)
        if begun is None:
            return True
        try:
            outcome = self._ask(begun)
        except errors.KororaError as exc:
            self._failed(begun, str(exc))
            return False
        except NotLeader:
            raise
        except Exception as exc:  # noqa: BLE001 - in any way
            # Without its text, which may hold a secret of the driver's.
            self._failed(begun, f'The driver failed: {type(exc).__name__}.')
            return False
        self._came(begun, outcome)
        return True

    def _ask(self, response: Response) -> base.Outcome:
        driver = self.drivers.get(response.driver)
        if response.state == State.UNDOING:
            return driver.undo(response, self._scene())
        return driver.do(response, self._scene())

    def _came(self, response: Response, outcome: base.Outcome) -> None:
        leader.note(self.lease, response, outcome.detail, again=outcome.again)
        if outcome.again is not None:
            return
        leader.finish(self.lease, response, outcome.why)
        undone = response.state == State.UNDOING
        counters.add(
            self.counters.undone if undone else self.counters.done,
            response.driver,
        )
        LOG.warning(
            'Host %s: %s %s: %s',
            response.host,
            response.driver,
            'undone' if undone else 'done',
            outcome.why or ' '.join(response.reasons) or response.why,
        )

    def _failed(self, response: Response, error: str) -> None:
        counters.add(self.counters.failed, response.driver)
        LOG.error(
            'Host %s: %s failed, and is tried again: %s',
            response.host,
            response.driver,
            error,
        )
        leader.failed(self.lease, response, error)

    def _survey(self) -> None:
        for name, driver in self.drivers.on.items():
            asked = leader.time(self.lease)
            try:
                found = driver.survey()
            except errors.KororaError as exc:
                LOG.warning('%s: nothing is compared: %s', name, exc)
                continue
            if found is None or self.settings.dry_run:
                continue
            for stray in leader.marks(self.lease, name, found, asked):
                LOG.warning(
                    'Host %s: %s %s was undone, and is still there.',
                    stray.host,
                    name,
                    stray.id,
                )
                self._again(stray, driver)

    def _again(self, stray: Response, driver: base.Driver) -> None:
        """Undo what came late, or came back with a database of Nova's."""
        try:
            driver.undo(stray, self._scene())
        except errors.KororaError as exc:
            LOG.warning('Host %s: not undone: %s', stray.host, exc)

    def _scene(self) -> base.Scene:
        return base.Scene(
            lambda: self.lease.require(MARGIN), self._keys_on, self._protected
        )

    def _keys_on(self, host: str) -> Collection[str]:
        table = models.Server
        with self.db.read() as session:
            return set(
                session.scalars(
                    sa.select(table.instance).where(table.holder == host)
                )
            )

    def _protected(self, servers: Collection[str]) -> Collection[str]:
        table = models.Server
        named = sorted(servers)
        found: set[str] = set()
        with self.db.read() as session:
            for start in range(0, len(named), _BATCH):
                found.update(
                    session.scalars(
                        sa.select(table.instance).where(
                            table.instance.in_(named[start : start + _BATCH]),
                            table.released.is_(False),
                        )
                    )
                )
        return found
