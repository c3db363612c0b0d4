# SPDX-License-Identifier: Apache-2.0
"""Watches the streams that this host sends, and ends them if it is told to.

Which streams there are, the vault says: an agent that was started again goes
on where the one before was. Only the service's word ends a stream; whatever
else comes, or nothing, leaves the guest alone. What becomes of the key is not
decided here: libvirt's call fails, as it may at any time, and both ends say
what they see.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import errors, trail
from korora_nova.attester.host import Host
from korora_nova.attester.vault import Record
from korora_nova.custody import answers
from korora_nova.custody.watch import Watched
from korora_nova.custody.words import Statement, VaultState

LOG = logging.getLogger(__name__)

_R = errors.Reason

#: Seconds for which the service may keep a request.
WAIT = 20.0
#: Seconds from one request to the next, at least, and after a failure.
AGAIN = 1.0
#: The same with a service that does not know the request, or the migration.
SELDOM = 10.0
#: Seconds between two looks at libvirt once a stream is to end.
STEP = 0.25
#: Requests at a time, and how many of them may wait at the service: others
#: then come round each second.
THREADS = 16
WAITING = 8
#: Ends that are remembered for who asks why.
_KEPT = 64

_MISSING = (errors.NotFound, errors.Forbidden, errors.Invalid)


@dataclasses.dataclass
class _Watch:
    """One stream.

    :param since: by ``time.monotonic``, since when the service answers.
    :param order: why it is to end, once it is; ``ended``: libvirt was told.
    :param complaint: the reason id that was logged last.
    """

    instance: str
    migration: str
    since: float | None = None
    order: Watched | None = None
    ended: bool = False
    complaint: str = ''


class Watches:
    """One request of this host's for each stream that it sends.

    :param clock: as ``time.monotonic``.
    """

    def __init__(
        self, host: Host, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._host = host
        self._clock = clock
        self._lock = threading.Lock()
        self._running = False
        #: Whether the vault may have a stream that nobody watches.
        self._missed = True
        self._stop = threading.Event()
        #: Under way, by migration; and those that nobody looks at now.
        self._open: dict[str, _Watch] = {}
        self._due: collections.deque[_Watch] = collections.deque()
        self._threads = 0
        self._ended: collections.OrderedDict[str, answers.Ended] = (
            collections.OrderedDict()
        )

    def start(self) -> None:
        """From now on streams are watched, those of before as well."""
        self._running = True
        self.take_up()

    def stop(self) -> None:
        self._stop.set()

    def take_up(self) -> None:
        """Watch what the vault has and nobody watches, if anything."""
        if not (self._running and self._missed):
            return
        self._missed = False
        for record in self._host.vault.all():
            if _may_stream(record):
                self.begin(record)

    def begin(self, record: Record) -> None:
        """A stream may start now; never fails."""
        with self._lock:
            if not self._running or record.migration in self._open:
                return
            watch = _Watch(record.instance, record.migration)
            self._open[record.migration] = watch
            self._due.append(watch)
            if self._threads >= THREADS:
                return
            self._threads += 1
        try:
            threading.Thread(
                target=self._work, name='watch', daemon=True
            ).start()
        except RuntimeError as exc:
            LOG.error('%s: not watched yet: %s', record.instance, exc)
            with self._lock:
                self._threads -= 1
                if watch in self._due:  # else another thread has it
                    self._due.remove(watch)
                    del self._open[record.migration]
                    self._missed = True

    def why(self, migration: str) -> answers.Ended:
        """Why this host was told to end a stream, if it was."""
        return self._ended.get(migration, answers.Ended('', '', ()))

    # The threads

    def _work(self) -> None:
        while (watch := self._next()) is not None:
            try:
                with trail.following(
                    instance=watch.instance, migration=watch.migration
                ):
                    delay = self.step(watch)
            except Exception:  # noqa: BLE001 - the guest needs a watch
                LOG.exception('%s: the watch failed', watch.instance)
                delay = AGAIN
            if delay:
                self._stop.wait(delay)
            with self._lock:
                if delay is None:
                    del self._open[watch.migration]
                else:
                    self._due.append(watch)

    def _next(self) -> _Watch | None:
        with self._lock:
            if self._due and not self._stop.is_set():
                return self._due.popleft()
            self._threads -= 1
            return None

    # One stream

    def step(self, watch: _Watch) -> float | None:
        """Do what is due; the seconds until the next time, None for never."""
        record = self._host.vault.of_migration(watch.instance, watch.migration)
        if record is None or not _may_stream(record):
            return self._leave(watch)
        if record.statement == Statement.KEPT and not self._has_job(record):
            return SELDOM
        return self._ask(watch) if watch.order is None else self._end(watch)

    def _has_job(self, record: Record) -> bool:
        try:
            return self._host.hypervisor.has_job(record.instance)
        except errors.Unavailable:
            return True

    def _leave(self, watch: _Watch) -> float | None:
        """The hand-over is over; if its key stays, so does the guest.

        An operator may have decided so while it is streamed.
        """
        record = self._host.vault.current(watch.instance)
        if (
            record is not None
            and record.state == VaultState.HELD
            and self._has_job(record)
        ):
            watch.order = watch.order or Watched(_R.MIGRATION_SPENT)
            return self._end(watch)
        return None

    def _ask(self, watch: _Watch) -> float:
        began = self._clock()
        since = began if watch.since is None else watch.since
        try:
            answer = Watched.from_json(
                self._host.client.watch_migration(
                    watch.migration,
                    wait=WAIT if len(self._open) <= WAITING else 0.0,
                    heard=began - since,
                )
            )
        except errors.KororaError as exc:
            watch.since = None
            self._complain(watch, exc)
            return SELDOM if isinstance(exc, _MISSING) else AGAIN
        watch.since = since
        watch.complaint = ''
        if answer.ends:
            watch.order = answer
            return 0.0
        took = self._clock() - began
        return max(answer.retry_after, AGAIN - took, 0.0)

    def _complain(self, watch: _Watch, exc: errors.KororaError) -> None:
        """Say once that a stream goes on without the service's word."""
        if exc.reason != watch.complaint:
            LOG.warning('%s: the stream goes on: %s', watch.instance, exc)
        watch.complaint = exc.reason

    def _end(self, watch: _Watch) -> float:
        """End libvirt's job, if there is one, or as soon as there is.

        The stream may be about to begin, or libvirt be away.
        """
        assert watch.order is not None  # noqa: S101 says the caller
        order = watch.order
        # Before libvirt's call fails, and Nova's driver asks why.
        self._ended[watch.migration] = answers.Ended(
            order.reason, order.host, order.reasons
        )
        while len(self._ended) > _KEPT:
            self._ended.popitem(last=False)
        try:
            ended = self._host.hypervisor.abort(watch.instance)
        except errors.Unavailable as exc:
            self._complain(watch, exc)
            return STEP
        if ended and not watch.ended:
            watch.ended = True
            LOG.error(
                '%s: the stream of migration %s is ended (%s): %s %s',
                watch.instance,
                watch.migration,
                order.reason,
                order.host,
                ' '.join(order.reasons),
            )
        return AGAIN if watch.ended and not ended else STEP


def _may_stream(record: Record) -> bool:
    """Whether libvirt may move a record's guest from here.

    It may begin to after the guest was seen to stay.
    """
    return (
        record.state == VaultState.MOVING
        and not record.is_cold
        and record.is_of_this_boot
        and record.statement in (None, Statement.KEPT)
    )
