# SPDX-License-Identifier: Apache-2.0
"""Where the scheduler's table comes from: one refresh at a time.

A service gives one signature over all hosts, and later what changed. One of
an earlier release gives a list with a signed result of each host, all of it
each time; those that were seen before are not verified again. Neither is
believed: both are verified with pinned keys.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.rats.signed import keys, snapshot
from korora_nova.rats.signed import result as results
from korora_nova.relying_party.table import Table

LOG = logging.getLogger(__name__)

#: Seconds until a service that knows no snapshots is asked for one again.
OLD_SERVICE = 60.0


class Bulk(Protocol):
    """One bulk answer, as ``korora_nova.client.Results``."""

    @property
    def etag(self) -> str | None: ...

    @property
    def results(self) -> tuple[Any, ...]: ...


class Update(Protocol):
    """One answer, as ``korora_nova.client.Snapshot``."""

    @property
    def token(self) -> str: ...

    @property
    def base(self) -> str: ...

    @property
    def rows(self) -> str: ...

    @property
    def gone(self) -> tuple[str, ...]: ...


class Client(Protocol):
    """What is needed of ``korora_nova.client.AttestationClient``.

    Both must end, whatever the service does.
    """

    def snapshot(self, base: str = '') -> Update: ...

    def results(self, *, etag: str | None = None) -> Bulk | None: ...


class Pins:
    """The pinned keys, read again when their file changes.

    :param path: ``[korora] trusted_keys``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._loaded: tuple[tuple[int, int, int], keys.KeyRing] | None = None

    def current(self) -> keys.KeyRing:
        """The same object for as long as the file is the same.

        :raises Unavailable: KEYS_INVALID.
        """
        try:
            stat = os.stat(self._path)
        except OSError as exc:
            raise errors.Unavailable(
                errors.Reason.KEYS_INVALID,
                f'Cannot read {self._path}: {exc.strerror}.',
            ) from exc
        stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        loaded = self._loaded
        if loaded is None or loaded[0] != stamp:
            loaded = self._loaded = (stamp, keys.KeyRing.load(self._path))
        return loaded[1]


class Feed:
    """Asks the service; used by one thread at a time.

    :param client: makes the client; called when it is first needed, so that
        looking up credentials and endpoints is no request's work.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        pins: Pins,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._make_client = client
        self._client: Client | None = None
        self._pins = pins
        self._monotonic = monotonic
        self._now = now
        self._held: snapshot.Snapshot | None = None
        self._list_until: float | None = None
        self._list = _List()

    def forked(self) -> None:
        """Connections are the parent's."""
        self._client = None

    def refresh(self) -> Table:
        """Ask, and verify the answer.

        :raises KororaError: there is none, or it does not verify. What was
            held before is held still.
        """
        ring = self._pins.current()
        if self._client is None:
            self._client = self._make_client()
        if not self._knows_no_snapshots():
            try:
                return self._snapshot(self._client, ring)
            except errors.NotFound:
                LOG.info(
                    'The attestation service is of an earlier release: it '
                    'has no snapshots, and is asked for all results.'
                )
                self._list_until = self._monotonic() + OLD_SERVICE
        return self._list.refresh(self._client, ring, self._now())

    def _knows_no_snapshots(self) -> bool:
        return (
            self._list_until is not None
            and self._monotonic() < self._list_until
        )

    def _snapshot(self, client: Client, ring: keys.KeyRing) -> Table:
        held = self._held
        if held is not None and (
            held.head.cloud != ring.cloud or held.head.kid not in ring.result
        ):
            held = None
        if held is not None:
            try:
                return self._verified(client, ring, held, held.head.mark)
            except errors.Untrusted as exc:
                LOG.info(
                    'Changes of attestation results cannot be used, all are '
                    'asked for: %(error)s %(details)s',
                    {'error': exc, 'details': exc.details},
                )
        return self._verified(client, ring, held, '')

    def _verified(
        self,
        client: Client,
        ring: keys.KeyRing,
        held: snapshot.Snapshot | None,
        base: str,
    ) -> Table:
        update = client.snapshot(base)
        self._held = snapshot.verify(
            snapshot.Update(
                update.token, update.base, update.rows, update.gone
            ),
            ring,
            now=self._now(),
            held=held,
        )
        return Table(self._held.rows, ring, self._held.head.kid)


class _List:
    """All results, each with a signature of its own."""

    def __init__(self) -> None:
        self._etag: str | None = None
        self._ring: keys.KeyRing | None = None
        self._tokens: dict[str, str] = {}
        self._pending: dict[str, str] = {}
        self._verdicts: dict[str, results.VerifiedResult | str] = {}

    def refresh(self, client: Client, ring: keys.KeyRing, now: float) -> Table:
        bulk = client.results(etag=self._etag)
        if bulk is not None:
            found = {
                str(item['host']): str(item['token'])
                for item in bulk.results
                if item.get('token')
            }
            pending = _pending(bulk.results)
        else:
            found, pending = self._tokens, self._pending
        if bulk is not None or ring is not self._ring:
            self._verdicts = self._verify(found, ring, now)
            self._tokens, self._pending = found, pending
            self._ring = ring
        if bulk is not None:
            self._etag = bulk.etag
        return self._table(ring)

    def _verify(
        self, found: Mapping[str, str], ring: keys.KeyRing, now: float
    ) -> dict[str, results.VerifiedResult | str]:
        """Verify what is new; a token seen before needs its age only."""
        known = self._verdicts if ring is self._ring else {}
        return {
            host: known[host]
            if host in known
            and self._tokens.get(host) == token
            and isinstance(known[host], results.VerifiedResult)
            else _verdict(host, token, ring, now)
            for host, token in found.items()
        }

    def _table(self, ring: keys.KeyRing) -> Table:
        good = {
            host: verdict
            for host, verdict in self._verdicts.items()
            if isinstance(verdict, results.VerifiedResult)
        }
        return Table(
            {
                host: snapshot.Row.of(verdict.result)
                for host, verdict in good.items()
            },
            ring,
            {host: verdict.kid for host, verdict in good.items()},
            {
                **self._pending,
                **{
                    host: verdict
                    for host, verdict in self._verdicts.items()
                    if isinstance(verdict, str)
                },
            },
        )


def _verdict(
    host: str, token: str, ring: keys.KeyRing, now: float
) -> results.VerifiedResult | str:
    try:
        return results.verify_result(
            token, ring, host=host, cloud=ring.cloud, now=now
        )
    except errors.KororaError as exc:
        return exc.reason


def _pending(rows: Iterable[Any]) -> dict[str, str]:
    """Hosts without result that wait for approval.

    Nothing of it is signed: it only tells one refusal from another.
    """
    return {
        str(row['host']): errors.Reason.HOST_PENDING
        for row in rows
        if not row.get('token')
        and errors.Reason.HOST_PENDING in (row.get('reasons') or ())
    }
