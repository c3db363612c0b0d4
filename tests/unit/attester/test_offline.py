# SPDX-License-Identifier: Apache-2.0
"""The file of approvals in advance: damaged, full disks, other boots."""

from __future__ import annotations

import pathlib
from typing import Any
from unittest import mock

import fixtures
import testtools

from korora_nova import errors
from korora_nova.attester import boot, offline
from korora_nova.custody import exchange
from korora_nova.custody.approval import Approval
from korora_nova.custody.offline import MOST, Offline

SERVERS = [f'00000000-0000-4000-8000-{number:012}' for number in range(3)]


def approval(instance: str, epoch: int = 1) -> Approval:
    """Of a form that can be read; nothing here looks at the signature."""
    return Approval(
        instance,
        epoch,
        bytes(32),
        bytes(8),
        7,
        bytes(32),
        '00' * 8,
        bytes(32),
        bytes(32),
    )


def heard(*instances: str, starts: int = 2) -> Offline:
    return Offline(tuple(approval(one) for one in instances), starts)


class FileTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        directory = self.useFixture(fixtures.TempDir()).path
        self.path = pathlib.Path(directory) / 'offline'
        self.held = set(SERVERS)
        self.trusted = True
        self.kept = self.again()

    def again(self) -> offline.Offline:
        """The agent is started."""
        return offline.Offline(
            self.path,
            lambda instance, epoch: instance in self.held,
            lambda: self.trusted,
        )

    def test_nothing(self) -> None:
        for _ in range(2):
            self.kept.hear(None)
            self.kept.drop_all()
            self.kept.drop(SERVERS[0])
            self.assertIsNone(self.kept.take(SERVERS[0], 1))
        self.assertFalse(self.path.exists())

    def test_what_comes_next_replaces_it(self) -> None:
        self.kept.hear(heard(*SERVERS))
        self.kept.hear(heard(SERVERS[1]))
        for kept in (self.kept, self.again()):
            self.assertIsNone(kept.take(SERVERS[0], 1))
            self.assertEqual(approval(SERVERS[1]), kept.take(SERVERS[1], 1))
        self.kept.hear(None)
        self.assertFalse(self.path.exists())

    def test_nothing_new(self) -> None:
        self.kept.hear(heard(*SERVERS))
        before = self.path.read_bytes()
        self.kept.hear(Offline(kept=True))
        self.assertEqual(before, self.path.read_bytes())

    def test_a_key_that_is_not_held(self) -> None:
        self.held.discard(SERVERS[2])
        self.kept.hear(heard(*SERVERS))
        self.assertIsNone(self.kept.take(SERVERS[2], 1))

    def test_a_no_came_first(self) -> None:
        """O4: an answer that is late brings back nothing."""
        self.trusted = False
        self.kept.drop_all()
        self.kept.hear(heard(*SERVERS))
        self.assertIsNone(self.kept.take(SERVERS[0], 1))
        self.assertFalse(self.path.exists())

    def test_another_epoch(self) -> None:
        self.kept.hear(heard(*SERVERS))
        self.assertIsNone(self.kept.take(SERVERS[0], 2))

    def test_one_is_dropped(self) -> None:
        self.kept.hear(heard(*SERVERS))
        self.kept.drop(SERVERS[0])
        for kept in (self.kept, self.again()):
            self.assertIsNone(kept.take(SERVERS[0], 1))
        self.assertIsNotNone(self.kept.take(SERVERS[1], 1))

    def test_used_up_on_disk(self) -> None:
        self.kept.hear(heard(SERVERS[0]))
        self.kept.take(SERVERS[0], 1)
        self.again().take(SERVERS[0], 1)
        error = self.assertRaises(
            errors.CustodyError, self.again().take, SERVERS[0], 1
        )
        self.assertEqual('OFFLINE_SPENT', error.reason)

    def test_disk_is_full(self) -> None:
        """What cannot be written is not kept: neither is what was there."""
        self.kept.hear(heard(SERVERS[0]))
        with mock.patch.object(offline.files, 'write', side_effect=OSError):
            self.kept.hear(heard(*SERVERS))
        self.assertIsNone(self.kept.take(SERVERS[0], 1))
        self.assertFalse(self.path.exists())
        self.kept.hear(heard(*SERVERS))
        self.assertIsNotNone(self.kept.take(SERVERS[0], 1))

    def test_directory_is_read_only(self) -> None:
        self.kept.hear(heard(SERVERS[0]))
        with (
            mock.patch.object(offline.files, 'remove', side_effect=OSError),
            mock.patch.object(pathlib.Path, 'unlink', side_effect=OSError),
        ):
            self.kept.drop_all()
        self.assertIsNone(self.kept.take(SERVERS[0], 1))

    def test_of_another_boot(self) -> None:
        self.kept.hear(heard(SERVERS[0]))
        with mock.patch.object(boot, 'boot_id', return_value='x'):
            self.assertIsNone(self.again().take(SERVERS[0], 1))
        self.assertFalse(self.path.exists())

    def test_damaged(self) -> None:
        self.kept.hear(heard(SERVERS[0]))
        good = self.path.read_text()
        for text in (
            '',
            '{}',
            good[:-1],
            good.replace('"left": 2', '"left": 17'),
            good.replace('"left": 2', '"left": -1'),
            good.replace('"epoch": 1', '"epoch": "1"'),
            good.replace('}', ', "more": 1}', 1),
            '\0\xff',
        ):
            with self.subTest(text[-40:]):
                self.path.write_bytes(text.encode('latin-1'))
                self.assertIsNone(self.again().take(SERVERS[0], 1))
                self.assertFalse(self.path.exists())


class MessageTest(testtools.TestCase):
    def test_there_and_back(self) -> None:
        said = heard(*SERVERS)
        self.assertEqual(said, Offline.from_json(said.to_json()))

    def test_a_service_without(self) -> None:
        """Services of before say nothing, and so do we if there is nothing."""
        document = exchange.Heard('ab' * 8).to_json()
        self.assertEqual(
            ['approval_kid', 'wanted', 'news', 'streams'], list(document)
        )
        self.assertIsNone(exchange.Heard.from_json(document).offline)

    def test_malformed(self) -> None:
        good: dict[str, Any] = heard(SERVERS[0]).to_json()
        for changed in (
            None,
            [],
            {},
            {**good, 'starts': 17},
            {**good, 'kept': 1},
            {**good, 'more': 1},
            {**good, 'approvals': [{}]},
            {
                **good,
                'approvals': [approval(SERVERS[0]).to_json()] * (MOST + 1),
            },
        ):
            error = self.assertRaises(
                errors.Unavailable, Offline.from_json, changed
            )
            self.assertNotIsInstance(error, errors.Unreachable)
