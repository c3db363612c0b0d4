# SPDX-License-Identifier: Apache-2.0
"""The scheduler's view: all attestation results, at hand when they are asked.

A thread of its own refreshes them while they are used, and rests when they
are not. Scheduling requests read what is there: what was signed counts until
it expires, however the service is. Only the first request of a process, or
the first one after a rest, waits for the refresh under way, for at most
``budget`` seconds in all and never per host (I10); and one that finds no host
may wait as long for what is newer. So a service that is dead or hangs costs
one request a budget, and one thread. It is asked again ever more seldom until
it answers.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import errors, metrics
from korora_nova.rats.signed import keys
from korora_nova.relying_party.feed import Client, Feed, Pins
from korora_nova.relying_party.table import Decision, Table

LOG = logging.getLogger(__name__)

#: Seconds after its last use for which the table is refreshed.
IDLE = 600.0
#: Longest pause between two attempts, seconds.
MAX_PAUSE = 30.0
#: Results this old are new enough to say that there is no host, seconds.
NEW = 1.0
#: Share of a pause by which it may be shorter: schedulers do not march.
JITTER = 0.2

_ALL: weakref.WeakSet[Results] = weakref.WeakSet()


class Results:
    """Results of all hosts.

    :param client: makes the client; called in the thread.
    :param keys_path: ``[korora] trusted_keys``; read again if it changes.
    :param cache: seconds between two refreshes. 0: each request waits for
        one, as the first does.
    :param budget: seconds that one decision may take.
    :param idle: see :data:`IDLE`.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        keys_path: str,
        *,
        cache: float,
        budget: float,
        idle: float = IDLE,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._pins = Pins(keys_path)
        self._feed = Feed(client, self._pins, monotonic=monotonic, now=now)
        self._cache = cache
        self._budget = budget
        self._idle = idle if cache else 0.0
        self._monotonic = monotonic
        self._now = now
        self._table: Table | None = None
        self._seen = (0.0, 0.0)
        self._failure: errors.KororaError | None = None
        self._used = 0.0
        self._fresh_process()
        _ALL.add(self)

    def _fresh_process(self) -> None:
        """No thread of a parent lives here, and its locks are nobody's."""
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._rounds = 0
        self._done = 0
        self._wake = threading.Event()
        self._worker: threading.Thread | None = None
        self._first = threading.Event()
        self._in_vain = False
        self._failures = 0
        self._feed.forked()

    def decide(self) -> Decision:
        """Return a decision about all hosts, of what is known now.

        :raises Unavailable: SERVICE_UNAVAILABLE, nothing was ever heard;
            KEYS_INVALID, nothing can be verified.
        :raises KororaError: what was heard first does not verify.
        """
        ring = self._pins.current()
        first = self._join()
        if first is not None and not first.wait(self._budget):
            self._in_vain = True
        with self._lock:
            table, failure = self._table, self._failure
            wall, steady = self._seen
        if table is None:
            # Each of those who wait raises one of its own.
            raise (failure or _too_late()).fresh()
        return Decision(
            self._under(table, ring), wall + self._monotonic() - steady
        )

    def again(self, last: Decision) -> Decision | None:
        """Return what is newer than a decision that let no host pass.

        A host may be trusted again since. Waits for one refresh, that of all
        who wait, at most ``budget`` seconds. None: there is nothing newer, or
        the last attempt to get it failed.
        """
        with self._ended:
            age = self._monotonic() - self._seen[1]
            if (
                age < NEW
                or self._failures
                or self._in_vain
                or self._worker is None
            ):
                return None
            wanted = self._rounds + 1
            self._wake.set()
            if not self._ended.wait_for(
                lambda: self._done >= wanted, self._budget
            ):
                self._in_vain = True
                return None
        newer = self.decide()
        return None if newer.table is last.table else newer

    def _under(self, table: Table, ring: keys.KeyRing) -> Table:
        """What counts of it now; a key that was withdrawn counts at once."""
        if table.ring is ring:
            return table
        left = table.under(ring)
        with self._lock:
            if self._table is table:
                self._table = left
        self._wake.set()
        return left

    def _join(self) -> threading.Event | None:
        """See that the thread runs; what to wait for, if anything."""
        with self._lock:
            self._used = self._monotonic()
            if self._worker is None or not self._worker.is_alive():
                self._start()
            if self._first.is_set() or self._in_vain:
                return None
            return self._first

    def _start(self) -> None:
        """Called with the lock, in the first request or after a rest."""
        self._first = threading.Event()
        self._in_vain = False
        self._worker = threading.Thread(
            target=self._run,
            args=(self._first,),
            daemon=True,
            name='korora-results',
        )
        try:
            self._worker.start()
        except RuntimeError as exc:
            LOG.error('No thread can be started: %s', exc)
            self._worker = None
            self._failure = errors.Unavailable(
                errors.Reason.SERVICE_UNAVAILABLE
            )
            self._first.set()

    def _run(self, first: threading.Event) -> None:
        """The thread: refresh, wake who waits, pause; until nobody asks."""
        try:
            while self._round():
                first.set()
                self._wake.wait(self._pause())
                self._wake.clear()
        finally:
            with self._lock:
                if self._worker is threading.current_thread():
                    self._worker = None
            first.set()

    def _round(self) -> bool:
        """One refresh; whether there is to be another."""
        failure: errors.KororaError | None = errors.Unavailable(
            errors.Reason.SERVICE_UNAVAILABLE
        )
        table = None
        with self._lock:
            self._rounds += 1
        try:
            seen = self._now(), self._monotonic()
            table = self._feed.refresh()
            # Made here, not in the first request that needs it.
            table.windows  # noqa: B018
            failure = None
        except errors.KororaError as exc:
            failure = exc.fresh()
        except Exception:  # noqa: BLE001 boundary: a thread's last word
            LOG.exception('Cannot read the attestation results')
        finally:
            self._tell(failure)
            with self._lock:
                if table is not None:
                    self._table, self._seen = table, seen
                self._failure = failure
                self._failures = 0 if failure is None else self._failures + 1
                self._in_vain = self._in_vain and failure is not None
                self._done = self._rounds
                self._ended.notify_all()
                goes_on = self._monotonic() - self._used < self._idle
                if not goes_on:
                    self._worker = None
        return goes_on

    def _tell(self, failure: errors.KororaError | None) -> None:
        metrics.FILTER_REFRESHES.add(outcome=metrics.outcome(failure))
        if failure is None:
            metrics.FILTER_REFRESHED.set(self._now())
        if failure is not None:
            LOG.warning(
                'The attestation results were not refreshed, attempt '
                '%(number)d; those at hand count until they expire: '
                '%(error)s %(details)s',
                {
                    'number': self._failures + 1,
                    'error': failure,
                    'details': failure.details or '',
                },
            )
        elif self._failures:
            LOG.info(
                'The attestation results were refreshed, after %d attempts '
                'in vain.',
                self._failures,
            )

    def _pause(self) -> float:
        """Seconds until the next refresh: longer after each failure."""
        pause = self._cache
        if self._failures:
            pause = max(1.0, pause) * 2.0 ** min(self._failures - 1, 10)
        varied = 1 - JITTER * random.random()  # noqa: S311 no secret
        return min(pause, max(self._cache, MAX_PAUSE)) * varied


def _too_late() -> errors.KororaError:
    return errors.Unavailable(
        errors.Reason.SERVICE_UNAVAILABLE,
        'The attestation service did not answer in time.',
    )


def _after_fork() -> None:
    for one in list(_ALL):
        one._fresh_process()  # noqa: SLF001 this module's own


os.register_at_fork(after_in_child=_after_fork)
