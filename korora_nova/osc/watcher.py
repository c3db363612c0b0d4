# SPDX-License-Identifier: Apache-2.0
"""Looks at the service again and again, and finds what is new."""

from __future__ import annotations

from collections.abc import Iterator

from korora_nova import client
from korora_nova.osc import events

#: Seconds after which all results are read, not only those that changed:
#: hosts that are gone count no change.
WHOLE = 60.0


class Watcher:
    """Looks again and again; :meth:`look` gives what is new.

    :param api: the client.
    """

    def __init__(self, api: client.AttestationClient) -> None:
        self._api = api
        self._trust: dict[str, events.Trust] = {}
        self._results: client.Results | None = None
        self._whole = 0.0
        self._migrations: dict[str, str] = {}
        self._tag = self._place = ''
        self._shown: dict[str, events.Trust] = {}

    def begin(self, now: float) -> None:
        """Take note of how things are; that is no event."""
        for _ in self.look(now):
            pass

    def look(self, now: float) -> Iterator[events.Event]:
        """What has happened since the last look.

        :raises KororaError: the service does not tell.
        """
        yield from self._look_at_results(now)
        yield from self._look_at_migrations()
        yield from self._look_at_receipts()

    def _look_at_results(self, now: float) -> Iterator[events.Event]:
        if now - self._whole >= WHOLE:
            self._results = None
        last = self._results
        found = self._api.results(
            changes_since=last.seq if last else None,
            etag=last.etag if last else None,
        )
        if found is not None:
            known = self._trust if last else {}
            told = {
                str(one.get('host')): events.Trust.of(one)
                for one in found.results
            }
            self._trust = {**known, **told}
            self._results = found
            if last is None:
                self._whole = now
            elif last.incarnation != found.incarnation:
                # The service counts anew.
                self._whole = 0.0
        shown = {host: one.at(now) for host, one in self._trust.items()}
        yield from events.of_trust(self._shown, shown)
        self._shown = shown

    def _look_at_migrations(self) -> Iterator[events.Event]:
        changed = self._api.newest_migrations(self._tag)
        if changed is None:
            return
        self._tag, found = changed
        yield from events.of_migrations(self._migrations, found)
        self._migrations = {
            str(one.get('id')): str(one.get('status')) for one in found
        }

    def _look_at_receipts(self) -> Iterator[events.Event]:
        self._place, found = self._api.newest_receipts(self._place)
        yield from map(events.of_receipt, found)
