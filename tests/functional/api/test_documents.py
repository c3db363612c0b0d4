# SPDX-License-Identifier: Apache-2.0
"""What was signed of a hand-over, for whoever wants to verify it."""

from __future__ import annotations

import uuid
from unittest import mock

from korora_nova import errors
from korora_nova.custody import chain
from tests.functional.api import base

SERVER = str(uuid.UUID(int=1))


class DocumentsTest(base.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.source, self.dest = self.host('h1'), self.host('h2')
        self.source.claim(SERVER)

    def told(self, migration: str) -> list[str]:
        shown = self.admin.get_migration(migration, documents=True)
        return [
            type(one.content).__name__
            for one in chain.verify_chain(
                shown['documents'],
                self.korora.ring,
                after=self.source.read(self.claimed()),
            )
        ]

    def claimed(self) -> str:
        """The grant that the hand-over follows."""
        (grant,) = (
            one.token
            for one in self.source.documents.values()
            if one.content.version == 1
        )
        return grant

    def test_as_far_as_there_are_any(self) -> None:
        migration, permit = self.sealed_over(self.source, self.dest, SERVER)
        self.assertEqual(['Permit'], self.told(migration))
        self.source.start(permit)
        self.assertEqual(['Permit', 'Start'], self.told(migration))
        self.dest.state(migration, 'activated')
        self.source.state(migration, 'stream_completed')
        self.assertEqual(['Permit', 'Start', 'Receipt'], self.told(migration))

    def test_only_if_they_are_asked_for(self) -> None:
        migration, _ = self.handed_over(self.source, self.dest, SERVER)
        path = f'/v1/migrations/{migration}'
        for query in ('', '?documents=false'):
            found = self.korora.request('GET', path + query)
            self.assertNotIn('documents', found.json)
        for query in ('?documents=1', '?document=true', '?documents='):
            found = self.korora.request('GET', path + query)
            self.assertEqual(400, found.status_int)

    def test_agents_are_answered_without_an_anchor(self) -> None:
        """They do not ask for documents, and must not wait for it."""
        migration, _ = self.handed_over(self.source, self.dest, SERVER)
        with mock.patch.object(
            self.korora.service.anchor,
            'get',
            side_effect=errors.Unavailable('ANCHOR_UNAVAILABLE'),
        ):
            shown = self.admin.get_migration(migration)
            self.assertEqual('permitted', shown['status'])
            with self.refused('ANCHOR_UNAVAILABLE'):
                self.told(migration)
