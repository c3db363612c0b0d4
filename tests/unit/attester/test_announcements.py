# SPDX-License-Identifier: Apache-2.0
"""An announcement admits one hand-over, a few attempts, for a while."""

from __future__ import annotations

import dataclasses
from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.attester import boot, source
from korora_nova.custody.moves import Move
from korora_nova.custody.transfer import WrapRequest

SERVER = '6b6f726f-7261-4000-8000-000000000001'
MIGRATION = '6b6f726f-7261-4000-8000-000000000002'
ASKED = WrapRequest(MIGRATION, SERVER, b'', 'h2')


class AnnouncementsTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.open = source.Announcements()

    def assert_closed(self) -> None:
        error = self.assertRaises(
            errors.CustodyError, self.open.attempt, SERVER
        )
        self.assertEqual(errors.Reason.NOT_ANNOUNCED, error.reason)

    def test_none(self) -> None:
        self.assert_closed()

    def test_few_attempts(self) -> None:
        self.open.add(SERVER)
        for _ in range(source.ATTEMPTS):
            self.open.attempt(SERVER)
        self.assert_closed()
        self.open.add(SERVER)
        self.open.attempt(SERVER)

    def test_looking_costs_no_attempt(self) -> None:
        error = self.assertRaises(
            errors.CustodyError, self.open.require, ASKED
        )
        self.assertEqual(errors.Reason.NOT_ANNOUNCED, error.reason)
        self.open.add(SERVER)
        for _ in range(source.ATTEMPTS + 1):
            self.assertEqual(Move.LIVE, self.open.require(ASKED))
        self.open.attempt(SERVER)

    def test_strangers_do_not_keep_a_start_waiting(self) -> None:
        """An unannounced call never takes the server's own turn."""
        host = mock.Mock()
        wrapper = source.Source(
            host, self.open, *(mock.Mock() for _ in range(5))
        )
        self.assertRaises(errors.CustodyError, wrapper.wrap, ASKED)
        host.vault.busy.assert_not_called()

    def test_one_that_names_its_move(self) -> None:
        """Of a cold migration everything is known, and nothing else meant."""
        self.open.add(SERVER, Move.COLD, (MIGRATION, 'h2'))
        self.assertEqual(Move.COLD, self.open.require(ASKED))
        for field, value in (('migration', SERVER), ('dest', 'h3')):
            other = dataclasses.replace(ASKED, **{field: value})
            error = self.assertRaises(
                errors.CustodyError, self.open.require, other
            )
            self.assertEqual(errors.Reason.NOT_ANNOUNCED, error.reason)

    def test_spent(self) -> None:
        self.open.add(SERVER)
        self.open.attempt(SERVER)
        self.open.spend(SERVER)
        self.assert_closed()

    def test_expires(self) -> None:
        self.open.add(SERVER)
        later = boot.now() + source.ANNOUNCED_SECONDS + 1
        with mock.patch.object(boot, 'now', return_value=later):
            self.assert_closed()
