# SPDX-License-Identifier: Apache-2.0
"""How is counted, and written for node_exporter's textfile collector.

A process that counts listens on nothing. It writes ``PROCESS-N.prom``, of
which N is the least number that no other process of this name has, and the
label ``worker`` of all that is in the file. Nothing fails because something
cannot be counted or written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from oslo_log import log as logging

from korora_nova import reasons

LOG = logging.getLogger(__name__)

#: Outcome of what went well, and of what failed for a reason without an id.
OK: Final = 'ok'
OTHER: Final = 'OTHER'
#: Seconds between two writes of a file.
INTERVAL: Final = 15.0
#: Seconds after which a directory that could not be used is tried again.
RETRY: Final = 60.0
#: Processes of one name that can count in one directory.
MAX_WORKERS: Final = 1024
#: Upper bounds of durations, seconds.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_NOTHING: Final = contextlib.nullcontext()
# The directory may be for others, too.
_OPEN: Final = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclasses.dataclass(frozen=True)
class Metric:
    """One name; see https://prometheus.io/docs/practices/naming/.

    :param labels: names of labels, besides ``worker``.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        METRICS[self.name] = self

    def _child(self, labels: dict[str, str]) -> Any:
        """prometheus_client's; None while nothing is counted."""
        live = _current()
        return None if live is None else live.child(self, labels)


#: Name -> metric.
METRICS: dict[str, Metric] = {}


class Counter(Metric):
    """Something that only grows while its process lives."""

    def add(self, number: float = 1, /, **labels: str) -> None:
        if _target is None:
            return
        child = self._child(labels)
        if child is not None:
            child.inc(number)


class Gauge(Metric):
    """Something that is now."""

    def set(self, value: float, /, **labels: str) -> None:
        if _target is None:
            return
        child = self._child(labels)
        if child is not None:
            child.set(value)


class Histogram(Metric):
    """How long something takes, seconds."""

    def time(
        self, labels: dict[str, str]
    ) -> contextlib.AbstractContextManager[None]:
        """Measure what is done inside, however it ends.

        :param labels: as they are at its end.
        """
        return _NOTHING if _target is None else self._time(labels)

    @contextlib.contextmanager
    def _time(self, labels: dict[str, str]) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            child = self._child(labels)
            if child is not None:
                child.observe(time.perf_counter() - began)


def outcome(error: BaseException | None) -> str:
    """:data:`OK`, a reason id that this release knows, or :data:`OTHER`."""
    if error is None:
        return OK
    return known(str(getattr(error, 'reason', '')))


def known(reason: str) -> str:
    """A reason id, as a label: peers say whatever they like."""
    return reason if reason in reasons.TABLE else OTHER


@contextlib.contextmanager
def _counted(metric: Counter, labels: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except BaseException as exc:
        metric.add(outcome=outcome(exc), **labels)
        raise
    metric.add(outcome=OK, **labels)


def counted(
    metric: Counter, **labels: str
) -> contextlib.AbstractContextManager[None]:
    """Count what is done inside, by its outcome."""
    return _NOTHING if _target is None else _counted(metric, labels)


# -- writing --------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Target:
    directory: pathlib.Path
    process: str


_lock = threading.Lock()
_target: _Target | None = None
_live: _Live | None = None
#: By time.monotonic; after a failure it is tried again.
_not_before = 0.0


def enabled() -> bool:
    return _target is not None


def start(directory: str | None, process: str) -> None:
    """Count from now on, if there is a directory; never fails.

    The file, its number and a thread come with the first thing that is
    counted: this process may fork before.

    :param process: begins the name of the file.
    """
    global _target, _not_before
    if directory:
        stop()
        _not_before = 0.0
        _target = _Target(pathlib.Path(directory), process)


def stop() -> None:
    """Count no more; what was counted is written."""
    global _target, _live
    with _lock:
        live, _target, _live = _live, None, None
    if live is not None:
        live.close()


def write() -> None:
    """Write the file now, for a process that does not live on."""
    live = _current()
    if live is not None:
        live.write()


def _current() -> _Live | None:
    global _live, _not_before
    if _live is not None:
        return _live
    with _lock:
        if (
            _live is None
            and _target is not None
            and time.monotonic() >= _not_before
        ):
            try:
                _live = _Live(_target)
            except Exception as exc:  # noqa: BLE001 boundary: see the module
                _not_before = time.monotonic() + RETRY
                LOG.error(
                    'Nothing is counted in %s: %s: %s',
                    _target.directory,
                    type(exc).__name__,
                    exc,
                )
        return _live


def _after_fork() -> None:
    """A child has counted nothing, and has no thread and no number."""
    global _lock, _live
    _lock = threading.Lock()
    live, _live = _live, None
    if live is not None:
        live.forget()


os.register_at_fork(after_in_child=_after_fork)


class _Live:
    """What this process has counted, and the thread that writes it.

    :raises ImportError: there is no prometheus_client.
    :raises OSError: the directory cannot be used, or is full of workers.
    """

    def __init__(self, target: _Target) -> None:
        import prometheus_client

        self._client = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        self._made: dict[Metric, Any] = {}
        self._lock = threading.Lock()
        self._complaint = ''
        self._stop = threading.Event()
        self.worker, self._fd = _take_number(target)
        self.path = target.directory / f'{target.process}-{self.worker}.prom'
        threading.Thread(
            target=self._run, daemon=True, name='korora-metrics'
        ).start()

    def child(self, metric: Metric, labels: dict[str, str]) -> Any:
        with self._lock:
            made = self._made.get(metric)
            if made is None:
                made = self._made[metric] = self._make(metric)
        return made.labels(**labels, worker=str(self.worker))

    def _make(self, metric: Metric) -> Any:
        labels = (*metric.labels, 'worker')
        if isinstance(metric, Histogram):
            return self._client.Histogram(
                metric.name,
                metric.help,
                labels,
                registry=self._registry,
                buckets=BUCKETS,
            )
        kind: Any = (
            self._client.Counter
            if isinstance(metric, Counter)
            else self._client.Gauge
        )
        return kind(metric.name, metric.help, labels, registry=self._registry)

    def collect(self) -> Iterable[Any]:
        """All families, without when each series began."""
        for family in self._registry.collect():
            family.samples = [
                one
                for one in family.samples
                if not one.name.endswith('_created')
            ]
            yield family

    def write(self) -> None:
        """Replace the file; complains of a new trouble once."""
        complaint = ''
        try:
            _replace(self.path, self._client.generate_latest(self))
        except OSError as exc:
            complaint = f'{type(exc).__name__}: {exc.strerror}'
        if complaint and complaint != self._complaint:
            LOG.warning('%s is not written: %s', self.path, complaint)
        self._complaint = complaint

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.write()

    def close(self) -> None:
        self._stop.set()
        self.write()
        self.forget()

    def forget(self) -> None:
        """Give the number back; a child's parent keeps it."""
        self._stop.set()
        os.close(self._fd)


def _take_number(target: _Target) -> tuple[int, int]:
    """The least number that is free, and what holds it while it is open.

    :raises OSError: see :class:`_Live`.
    """
    for number in range(MAX_WORKERS):
        path = target.directory / f'{target.process}-{number}.lock'
        fd = os.open(path, _OPEN | os.O_RDWR, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, fd
        except BlockingIOError:
            os.close(fd)
    raise OSError(f'{MAX_WORKERS} processes count there already')


def _replace(path: pathlib.Path, content: bytes) -> None:
    """Who reads the file sees the old one or the new one, whole.

    :raises OSError: it stays as it was.
    """
    new = path.with_name(f'.{path.name}.new')
    # Of a process with this number that did not come to its end.
    new.unlink(missing_ok=True)
    fd = os.open(new, _OPEN | os.O_WRONLY | os.O_EXCL, 0o644)
    with os.fdopen(fd, 'wb') as file:
        # node_exporter is another user, whatever the umask.
        os.fchmod(fd, 0o644)
        file.write(content)
    os.replace(new, path)
