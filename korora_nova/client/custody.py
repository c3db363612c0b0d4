# SPDX-License-Identifier: Apache-2.0
"""Custody: who holds the keys of servers, and the ways out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias
from urllib import parse as urls

from korora_nova.client.http import LONG_TIMEOUT, Answer, Calls, parse, path

#: Seconds for an answer, besides those that the service may wait.
WATCH_TIMEOUT = 10.0
#: A place that no log reaches.
END = str(10**18 - 1)
#: An entity tag and what it is of; None: nothing has changed.
Changed: TypeAlias = 'tuple[str, list[Answer]] | None'


class CustodyCalls(Calls):
    """Servers, hand-overs and documents.

    What is destructive takes a reason, for the audit table, and a dry run,
    which answers in the same form and changes nothing.
    """

    # Servers

    def list_servers(
        self, *, issues: bool = False, holder: str | None = None
    ) -> list[Answer]:
        """Servers of which there are documents, all pages.

        :param issues: only those of which something is the matter.
        """
        return [
            server
            for page in self.server_pages(issues=issues, holder=holder)
            for server in page.objects('servers')
        ]

    def server_pages(
        self,
        *,
        issues: bool = False,
        holder: str | None = None,
        limit: int | None = None,
        marker: str = '',
    ) -> Iterator[Answer]:
        """The same, page by page; each says whether ``nova`` was asked.

        :param marker: begin behind this server.
        """
        return self._pages(
            'servers',
            {
                'issues': 'true' if issues else None,
                'holder': holder,
                'limit': str(limit) if limit else None,
                'marker': marker,
            },
        )

    def get_server(self, instance: str) -> Answer:
        """The ledger's row, what hosts said about it, and its exits.

        The row's own fields are missing, and ``refused`` says why, while it
        may not be relied on.

        :raises NotFound: the server was never protected.
        """
        return self._get(path('servers', instance))

    def reissue_server(
        self,
        instance: str,
        reason: str,
        *,
        fenced: str = '',
        dry_run: bool = False,
    ) -> Answer:
        """Let the next start of a server have a new key.

        :param fenced: how the old holder is kept from running the server.
        :raises Conflict: NOT_FENCED, CUSTODY_PENDING, CUSTODY_DISPUTED.
        """
        return self._send(
            'POST',
            path('servers', instance, 'reissue'),
            {'reason': reason, 'fenced': fenced, 'dry_run': dry_run},
        )

    def release_server(
        self,
        instance: str,
        reason: str,
        *,
        force: str = '',
        dry_run: bool = False,
    ) -> Answer:
        """Forget a server that is gone from Nova.

        :param force: why, although Nova has it, or does not answer.
        :raises Conflict: SERVER_IN_NOVA, CUSTODY_PENDING, CUSTODY_DISPUTED.
        """
        return self._send(
            'POST',
            path('servers', instance, 'release'),
            {'reason': reason, 'force': force, 'dry_run': dry_run},
        )

    # Hand-overs

    def list_migrations(
        self,
        *,
        instance: str | None = None,
        host: str | None = None,
        status: str | None = None,
        kind: str | None = None,
    ) -> list[Answer]:
        """Hand-overs, the newest first; ``host`` is either end."""
        return self._list(
            'migrations',
            instance=instance,
            host=host,
            status=status,
            kind=kind,
        )

    def newest_migrations(self, etag: str = '', limit: int = 200) -> Changed:
        """The newest hand-overs, and the entity tag of this list.

        :param etag: of an earlier one: None instead if it is the same.
        """
        answer, found = self._changed(f'migrations?limit={limit}', etag)
        if answer is None:
            return None
        return found, answer.objects('migrations')

    def newest_receipts(self, marker: str = '') -> tuple[str, list[str]]:
        """Receipts behind a place in the log, and the next such place.

        :param marker: '' for the end of the log: there are none, and the
            place is from where later ones will be.
        """
        last, found = marker or END, []
        for page in self._pages('receipts', {}, marker=last):
            found += page.member('receipts')
            last = str(page.get('last') or last)
        return last, [str(one) for one in found]

    def get_migration(
        self, migration: str, *, documents: bool = False
    ) -> Answer:
        """One hand-over.

        :param documents: with all that was signed of it, by version.
        """
        query = '?documents=true' if documents else ''
        return self._get(path('migrations', migration) + query)

    def watch_migration(
        self, migration: str, *, wait: float = 0.0, heard: float = 0.0
    ) -> Answer:
        """Whether a stream under way may go on.

        :param wait: seconds for which the service may keep the request,
            while it may.
        :param heard: seconds for which the service was reached, without a
            break.
        """
        query = urls.urlencode({'wait': f'{wait:.1f}', 'heard': int(heard)})
        return parse(
            self._request(
                'GET',
                path('migrations', migration, 'watch') + '?' + query,
                timeout=wait + WATCH_TIMEOUT,
            )
        )

    def resolve_migration(
        self, migration: str, keep: str, reason: str, *, dry_run: bool = False
    ) -> Answer:
        """Decide a hand-over.

        :param keep: 'source' or 'destination'.
        :raises Conflict: CANNOT_KEEP, MIGRATION_SPENT.
        """
        return self._send(
            'POST',
            path('migrations', migration, 'resolve'),
            {'keep': keep, 'reason': reason, 'dry_run': dry_run},
        )

    # Documents

    def list_receipts(
        self, since: int = 0, *, instance: str | None = None
    ) -> list[str]:
        """Signed receipts after a place in the log, all pages."""
        pages = (
            self._pages('receipts', {}, marker=str(since), instance=instance)
            if instance
            else self._receipts_since(since)
        )
        return [one for page in pages for one in page.member('receipts')]

    def _receipts_since(self, since: int) -> Iterator[Answer]:
        """As in version 1.0, which knows no marker here."""
        while True:
            query = urls.urlencode({'since': since})
            page = self._get('/v1/receipts?' + query)
            yield page
            # A place that does not go on would never end.
            last, since = since, int(page.get('next') or 0)
            if since <= last:
                return

    def present_documents(self, documents: Sequence[str]) -> Answer:
        """Show signed documents in the place of the hosts that have them."""
        return self._send(
            'POST',
            '/v1/documents',
            {'documents': list(documents)},
            timeout=LONG_TIMEOUT,
        )
