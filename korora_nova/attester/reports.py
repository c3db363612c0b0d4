# SPDX-License-Identifier: Apache-2.0
"""What this host knows, told to the service, and what it hears of it.

With each attestation goes a page of the versions that this host knows (C11).
The service answers with documents that the host lacks, and with servers whose
documents it wants to see, which are presented (C12).
"""

from __future__ import annotations

import collections
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester import vault
from korora_nova.attester.host import Host
from korora_nova.attester.vault import Record
from korora_nova.custody import bodies
from korora_nova.custody.bodies import Known
from korora_nova.custody.exchange import Heard, Presented
from korora_nova.rats.signed import token as tokens

LOG = logging.getLogger(__name__)

#: Presentations in one round; what is left waits for the next.
_CALLS = 16
#: Characters of documents in one presentation: it travels in a quoted body.
_LONGEST = 160_000
#: Documents that wait to be read; the service says them again.
_WAITING = 4096


class Reports:
    """Pages of what is known, documents to present, and news.

    :param enforcer: returns what is known of this host's nova-compute.
    :param tls: returns what is said of this host's certificate.
    """

    def __init__(
        self,
        host: Host,
        enforcer: Callable[[], bodies.Enforcer | None],
        tls: Callable[[], bodies.Tls | None] = lambda: None,
    ) -> None:
        self._host = host
        self._enforcer = enforcer
        self._tls = tls
        self._lock = threading.Lock()
        self._told = ''  # the server up to which the last page went
        self._wanted: collections.OrderedDict[str, None] = (
            collections.OrderedDict()
        )
        self._news: collections.deque[str] = collections.deque(maxlen=_WAITING)

    def page(self) -> bodies.Attest:
        """The next page; after the last one the first."""
        page = bodies.Attest.page(
            self.known(), self._told, self._enforcer(), self._tls()
        )
        self._told = page.upto
        return page

    def known(self) -> list[Known]:
        """What this host knows of each server."""
        by_server: dict[str, list[Record]] = collections.defaultdict(list)
        for record in self._host.vault.all():
            by_server[record.instance].append(record)
        versions = {
            entry.instance: (entry.version, entry.hash)
            for entry in self._host.journal.all()
        }
        found = []
        for instance in by_server.keys() | versions.keys():
            records = by_server.get(instance, [])
            newest = max(
                [versions.get(instance, (0, '')), *map(_rests_on, records)]
            )
            if newest[0]:
                found.append(Known(instance, *newest, _kid(records)))
        return found

    # What the service answered

    def hear(self, heard: Heard) -> None:
        """Keep an answer for :meth:`work`; costs nothing."""
        with self._lock:
            self._news.extend(heard.news)
            for instance in heard.wanted:
                self._wanted[instance] = None

    def work(self) -> set[str]:
        """Read the news, present what is wanted; a bounded part of it.

        :returns: servers of which there is a newer document.
        """
        changed = set()
        for _ in range(_CALLS):
            changed |= self._take()
            page = self._next_page()
            if not page:
                break
            self._present(page)
        return changed | self._take()

    def refresh(self, instance: str) -> None:
        """Tell what is known of one server, and hear the answer, now.

        :raises KororaError: whatever the service, or the way there, says.
        """
        known = [one for one in self.known() if one.instance == instance]
        before = str(uuid.UUID(int=max(uuid.UUID(instance).int - 1, 0)))
        page = bodies.Attest(tuple(known), before, instance, self._enforcer())
        served = self._host.attester.attest_for(page, Heard).served
        with self._lock:
            self._news.extend(served.news)
        self._take()
        if instance in served.wanted:
            self.present([instance])

    def present(self, instances: Iterable[str]) -> None:
        """Show all documents that are at hand of some servers, now.

        :raises KororaError: whatever the service, or the way there, says.
        """
        for instance in instances:
            page = self._documents(instance)
            if page:
                self._say(page)
        self._take()

    def _present(self, page: list[str]) -> None:
        try:
            self._say(page)
        except errors.KororaError as exc:
            # The next report makes the service ask again.
            LOG.warning('Documents were not presented: %s', exc)

    def _say(self, page: list[str]) -> None:
        body = bodies.Present(tuple(page))
        answered = self._host.attester.attest_for(body, Presented)
        with self._lock:
            self._news.extend(answered.served.news)

    def _next_page(self) -> list[str]:
        """Documents of the next servers that are wanted."""
        page: list[str] = []
        while len(page) < bodies.PRESENTED and (
            sum(map(len, page)) < _LONGEST // 2
        ):
            with self._lock:
                if not self._wanted:
                    break
                instance, _ = self._wanted.popitem(last=False)
            more = self._documents(instance)
            if page and not _fits([*page, *more]):
                with self._lock:
                    self._wanted[instance] = None
                break
            page += more
        return page

    def _documents(self, instance: str) -> list[str]:
        """All that is at hand of one server, the newest last."""
        found: dict[str, None] = {}
        for record in self._host.vault.of(instance):
            found.update(dict.fromkeys((record.permit, record.document)))
        entry = self._host.journal.newest(instance)
        if entry is not None:
            found[entry.token] = None
        documents = [token for token in found if token]
        while not _fits(documents):
            del documents[0]
        return documents

    def _take(self) -> set[str]:
        """Verify and keep news; returns the servers that have some."""
        changed = set()
        for token in self._drain():
            try:
                document = self._host.read(token)
                if self._host.journal.add(document):
                    changed.add(document.content.instance)
            except (errors.KororaError, OSError) as exc:
                LOG.warning('A document was not kept: %s', exc)
        return changed

    def _drain(self) -> Iterator[str]:
        while True:
            with self._lock:
                if not self._news:
                    return
                token = self._news.popleft()
            yield token


def _fits(documents: list[str]) -> bool:
    return (
        len(documents) <= bodies.PRESENTED
        and sum(map(len, documents)) <= _LONGEST
    )


def _rests_on(record: Record) -> tuple[int, str]:
    if not record.rests_on:
        return 0, ''
    return record.rests_on, tokens.digest(record.document).hex()


def _kid(records: list[Record]) -> str:
    """The approval key that a server's key rests under."""
    record = vault.current(one for one in records if one.has_key)
    return record.kid if record is not None else ''
