# SPDX-License-Identifier: Apache-2.0
"""Pages of what a host knows, and documents that it presents."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any
from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.attester import journal, reports, vault
from korora_nova.custody import bodies, chain, documents
from korora_nova.custody.exchange import Heard, Presented
from korora_nova.custody.words import VaultState
from korora_nova.rats.signed import token as tokens
from tests.support import documents as docs
from tests.unit.attester.test_outcome import record

_R = errors.Reason


def server(number: int) -> str:
    return f'00000000-0000-4000-8000-{number:012d}'


def heard(wanted: tuple[str, ...] = (), news: tuple[str, ...] = ()) -> Heard:
    return Heard('ab' * 8, wanted, news)


class ReportsTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        directory = pathlib.Path(scratch.name)
        self.keys = docs.Keys()
        self.host = mock.Mock()
        self.host.vault = vault.Vault(directory / 'vault')
        self.host.journal = journal.Journal(directory / 'journal')
        self.host.read = self.read
        self.host.attester.attest_for = self.attest_for
        self.said: list[bodies.Body] = []
        self.news: tuple[str, ...] = ()
        self.wanted: tuple[str, ...] = ()
        self.enforcer: bodies.Enforcer | None = None
        self.reports = reports.Reports(self.host, lambda: self.enforcer)

    def read(self, token: str) -> Any:
        return chain.read(token, self.keys.ring)

    def attest_for(self, body: bodies.Body, kind: type[Any]) -> Any:
        self.said.append(body)
        if kind is Presented:
            return mock.Mock(served=Presented(self.news))
        return mock.Mock(served=heard(self.wanted, self.news))

    def sign(self, document: documents.Document) -> str:
        return documents.sign(document, self.keys.custody)

    def keep(self, document: documents.Document) -> str:
        token = self.sign(document)
        self.host.journal.add(self.read(token))
        return token

    def known(self) -> list[tuple[Any, ...]]:
        return sorted(tuple(one) for one in self.reports.known())

    def presented(self) -> list[list[str]]:
        return [
            list(body.documents)
            for body in self.said
            if isinstance(body, bodies.Present)
        ]

    def test_nothing(self) -> None:
        self.assertEqual(bodies.Attest(()), self.reports.page())
        self.assertEqual(set(), self.reports.work())
        self.assertEqual([], self.said)

    def test_journal_and_vault(self) -> None:
        token = self.keep(docs.a_grant())
        digest = tokens.digest(token).hex()
        self.assertEqual([(docs.INSTANCE, 1, digest, '')], self.known())
        self.host.vault.put(
            record(VaultState.HELD, rests_on=1, document=token, kid='ab' * 8)
        )
        self.assertEqual([(docs.INSTANCE, 1, digest, 'ab' * 8)], self.known())
        # The journal may lack what a record rests on, and records be old.
        newer = self.sign(docs.a_receipt(**docs.ABORTED))
        self.host.vault.put(
            record(
                VaultState.HELD,
                epoch=6,
                rests_on=7,
                document=newer,
                kid='cd' * 8,
            )
        )
        self.assertEqual(
            [(docs.INSTANCE, 7, tokens.digest(newer).hex(), 'cd' * 8)],
            self.known(),
        )

    def test_record_without_document_is_not_reported(self) -> None:
        self.host.vault.put(
            record(VaultState.CLAIMING, rests_on=0, kid='ab' * 8)
        )
        self.assertEqual([], self.known())

    def test_pages(self) -> None:
        """4,097 servers, each in one page; then from the beginning."""
        many = [
            bodies.Known(server(number), 1, '00' * 32, '')
            for number in range(4097)
        ]
        with mock.patch.object(self.reports, 'known', lambda: many):
            pages = [self.reports.page() for _ in range(6)]
        sizes = [len(page.known) for page in pages]
        self.assertEqual([1024, 1024, 1024, 1024, 1, 1024], sizes)
        self.assertEqual(
            many, [one for page in pages[:5] for one in page.known]
        )
        self.assertEqual('', pages[4].upto)
        self.assertEqual(pages[0], pages[5])

    def test_news(self) -> None:
        token = self.sign(docs.a_grant())
        self.reports.hear(heard(news=(token, 'a.b.c', '', token)))
        self.assertEqual({docs.INSTANCE}, self.reports.work())
        self.assertEqual(set(), self.reports.work())
        entry = self.host.journal.newest(docs.INSTANCE)
        self.assertEqual(token, entry.token)

    def test_news_on_a_full_disk(self) -> None:
        token = self.sign(docs.a_grant())
        self.reports.hear(heard(news=(token,)))
        with mock.patch.object(
            self.host.journal, 'add', side_effect=OSError(28, '')
        ):
            self.assertEqual(set(), self.reports.work())
        self.reports.hear(heard(news=(token,)))
        self.assertEqual({docs.INSTANCE}, self.reports.work())

    def test_flood_of_news(self) -> None:
        self.reports.hear(heard(news=('x',) * 100_000))
        self.assertLessEqual(len(self.reports._news), 4096)

    def test_presents_all_that_is_at_hand(self) -> None:
        grant = self.keep(docs.a_grant())
        permit = self.sign(docs.a_permit())
        start = self.sign(docs.a_start())
        self.host.vault.put(
            record(
                VaultState.MOVING, permit=permit, document=start, rests_on=6
            )
        )
        self.reports.hear(heard((docs.INSTANCE, docs.OTHER)))
        self.reports.work()
        self.assertEqual([[permit, start, grant]], self.presented())
        self.reports.work()
        self.assertEqual(1, len(self.presented()))

    def test_presents_in_parts(self) -> None:
        tokens = {
            number: self.keep(docs.a_grant(instance=server(number)))
            for number in range(200)
        }
        self.reports.hear(heard(tuple(map(server, tokens))))
        self.reports.work()
        parts = self.presented()
        self.assertEqual(sorted(tokens.values()), sorted(sum(parts, [])))
        for part in parts:
            self.assertLessEqual(len(part), bodies.PRESENTED)
            self.assertLess(sum(map(len, part)), 200_000)

    def test_presents_so_much_in_one_round(self) -> None:
        for number in range(100):
            self.keep(docs.a_grant(instance=server(number)))
        self.reports.hear(heard(tuple(map(server, range(100)))))
        with mock.patch.object(bodies, 'PRESENTED', 1):
            self.reports.work()
            self.assertEqual(reports._CALLS, len(self.presented()))
        self.reports.work()
        self.assertEqual(100, len(sum(self.presented(), [])))

    def test_presentation_that_fails(self) -> None:
        self.keep(docs.a_grant())
        self.host.attester.attest_for = mock.Mock(
            side_effect=errors.Unavailable(_R.SERVICE_UNAVAILABLE)
        )
        self.reports.hear(heard((docs.INSTANCE,)))
        self.assertEqual(set(), self.reports.work())

    def test_news_of_a_presentation(self) -> None:
        self.keep(docs.a_grant())
        self.news = (self.sign(docs.a_receipt()),)
        self.reports.hear(heard((docs.INSTANCE,)))
        self.assertEqual({docs.INSTANCE}, self.reports.work())

    def test_refresh_is_about_one_server(self) -> None:
        for number in range(5):
            self.keep(docs.a_grant(instance=server(number)))
        token = self.sign(docs.a_receipt(instance=server(3), **docs.ABORTED))
        self.wanted, self.news = (server(3),), (token,)
        self.reports.refresh(server(3))
        page, shown = self.said
        assert isinstance(page, bodies.Attest)
        self.assertEqual([server(3)], [one.instance for one in page.known])
        self.assertEqual(
            [False, True, False], [page.covers(server(n)) for n in (2, 3, 4)]
        )
        assert isinstance(shown, bodies.Present)
        entry = self.host.journal.newest(server(3))
        self.assertEqual((7, token), (entry.version, entry.token))
