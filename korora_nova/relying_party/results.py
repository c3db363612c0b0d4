# SPDX-License-Identifier: Apache-2.0
"""The scheduler's view: all attestation results, in one bounded answer.

One request for all hosts, revalidated by ETag, shared by all scheduling
requests of the process. It runs in a thread of its own: whoever needs a
decision waits for it at most ``budget`` seconds in all, never per host, and
a service that hangs costs one thread (I10): the client gives each request
up in the end, and until then no other begins. Results are signed; they are
verified here with pinned keys, so a forged answer of the service's endpoint
trusts nobody.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from typing import Any, Protocol

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import result as results

LOG = logging.getLogger(__name__)


class Bulk(Protocol):
    """One bulk answer, as ``korora_nova.client.Results``."""

    @property
    def etag(self) -> str | None: ...

    @property
    def results(self) -> tuple[dict[str, Any], ...]: ...


class Client(Protocol):
    """What is needed of ``korora_nova.client.AttestationClient``."""

    def results(self, *, etag: str | None = None) -> Bulk | None:
        """Must end, whatever the service does: one waits for all."""


Verdicts = Mapping[str, 'results.VerifiedResult | errors.KororaError']


@dataclasses.dataclass(frozen=True)
class Decision:
    """What is known about all hosts at one moment."""

    verdicts: Verdicts

    def require(
        self, host: str, now: float, max_age: float | None = None
    ) -> None:
        """Insist that a host is trusted, and that its driver enforces.

        :param now: seconds since 1970.
        :param max_age: oldest acceptable result, seconds.
        :raises Untrusted: it is not, or nothing verified says so.
        """
        verdict = self.verdicts.get(host)
        if verdict is None:
            raise errors.Untrusted(errors.Reason.RESULT_MISSING)
        if isinstance(verdict, errors.KororaError):
            raise verdict.fresh()
        verdict.require_affirming(now, max_age)
        verdict.require_enforcing()


@dataclasses.dataclass(frozen=True, eq=False)
class _Fetch:
    """One request under way, in a thread of its own.

    The interpreter waits for an executor's thread at its end; for this one
    it does not.
    """

    started: float
    #: What went wrong, if anything did.
    done: futures.Future[errors.KororaError | None] = dataclasses.field(
        default_factory=futures.Future
    )


class Results:
    """Cached results of all hosts.

    :param client: makes the client; called in the worker thread, so that
        looking up credentials and endpoints is within the budget too.
    :param keys_path: ``[korora] trusted_keys``; read again if it changes.
    :param cache: seconds for which an answer is used without asking.
    :param budget: seconds that one decision may take.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        keys_path: str,
        *,
        cache: float,
        budget: float,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._make_client = client
        self._client: Client | None = None
        self._keys_path = keys_path
        self._cache = cache
        self._budget = budget
        self._monotonic = monotonic
        self._now = now
        self._lock = threading.Lock()
        self._fetch: _Fetch | None = None
        self._worker: threading.Thread | None = None
        self._fresh_at: float | None = None
        self._etag: str | None = None
        self._raw: dict[str, str] = {}
        self._pending: dict[str, errors.KororaError] = {}
        self._verdicts: dict[
            str, results.VerifiedResult | errors.KororaError
        ] = {}
        self._ring: keys.KeyRing | None = None
        self._ring_stamp: tuple[int, int] | None = None

    def decide(self) -> Decision:
        """Return a current decision about all hosts.

        :raises Unavailable: SERVICE_UNAVAILABLE, none within the budget;
            KEYS_INVALID, nothing can be verified.
        """
        with self._lock:
            if self._is_fresh():
                return Decision(self._verdicts)
            fetch = self._join()
        try:
            failure = fetch.done.result(self._budget)
        except futures.TimeoutError:
            raise errors.Unavailable(
                errors.Reason.SERVICE_UNAVAILABLE,
                'The attestation service did not answer in time.',
            ) from None
        if failure is not None:
            # Each of those who wait raises one of its own.
            raise failure.fresh()
        with self._lock:
            return Decision(self._verdicts)

    def _is_fresh(self) -> bool:
        return (
            self._fresh_at is not None
            and self._monotonic() - self._fresh_at < self._cache
        )

    def _join(self) -> _Fetch:
        """The request under way, or a new one. Called with the lock."""
        if (
            self._fetch is not None
            and self._worker is not None
            # A process forked meanwhile has the request, not its thread.
            and self._worker.is_alive()
        ):
            return self._fetch
        fetch = _Fetch(self._monotonic())
        worker = threading.Thread(
            target=self._run, args=(fetch,), daemon=True, name='korora-results'
        )
        worker.start()
        self._fetch, self._worker = fetch, worker
        return fetch

    def _run(self, fetch: _Fetch) -> None:
        failure: errors.KororaError | None = errors.Unavailable(
            errors.Reason.SERVICE_UNAVAILABLE
        )
        try:
            self._refresh(fetch)
            failure = None
        except errors.KororaError as exc:
            failure = exc.fresh()
        except Exception:  # noqa: BLE001 boundary: a thread's last word
            LOG.exception('Cannot read the attestation results')
        finally:
            # Whoever is woken may begin the next request.
            with self._lock:
                self._fetch = None
            fetch.done.set_result(failure)

    def _refresh(self, fetch: _Fetch) -> None:
        changed = self._load_keys()
        if self._client is None:
            self._client = self._make_client()
        bulk = self._client.results(etag=self._etag)
        raw, pending = (
            (self._raw, self._pending)
            if bulk is None
            else (
                {
                    str(item['host']): str(item['token'])
                    for item in bulk.results
                    if item.get('token')
                },
                _pending(bulk.results),
            )
        )
        verdicts = (
            self._verdicts
            if bulk is None and not changed
            else {**pending, **self._verify(raw, changed)}
        )
        with self._lock:
            self._raw, self._verdicts = raw, verdicts
            self._pending = pending
            if bulk is not None:
                self._etag = bulk.etag
            self._fresh_at = fetch.started

    def _verify(
        self, raw: Mapping[str, str], changed: bool
    ) -> dict[str, results.VerifiedResult | errors.KororaError]:
        """Verify what is new; a token seen before needs its age only."""
        known = {} if changed else self._verdicts
        return {
            host: known[host]
            if host in known
            and self._raw.get(host) == token
            and isinstance(known[host], results.VerifiedResult)
            else self._verify_one(host, token)
            for host, token in raw.items()
        }

    def _verify_one(
        self, host: str, token: str
    ) -> results.VerifiedResult | errors.KororaError:
        assert self._ring is not None  # noqa: S101 set by _load_keys
        try:
            return results.verify_result(
                token,
                self._ring,
                host=host,
                cloud=self._ring.cloud,
                now=self._now(),
            )
        except errors.KororaError as exc:
            return exc.fresh()

    def _load_keys(self) -> bool:
        """Read the pinned keys if their file changed."""
        try:
            stat = os.stat(self._keys_path)
        except OSError as exc:
            raise errors.Unavailable(
                errors.Reason.KEYS_INVALID,
                f'Cannot read {self._keys_path}: {exc.strerror}.',
            ) from exc
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if self._ring is not None and stamp == self._ring_stamp:
            return False
        self._ring = keys.KeyRing.load(self._keys_path)
        self._ring_stamp = stamp
        return True


def _pending(rows: Iterable[dict[str, Any]]) -> dict[str, errors.KororaError]:
    """Hosts without result that wait for approval.

    Nothing of it is signed: it only tells one refusal from another.
    """
    return {
        str(row['host']): errors.Untrusted(errors.Reason.HOST_PENDING)
        for row in rows
        if not row.get('token')
        and errors.Reason.HOST_PENDING in (row.get('reasons') or ())
    }
