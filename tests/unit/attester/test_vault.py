# SPDX-License-Identifier: Apache-2.0
"""Records on disk: atomic, private, and only a server's own."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
from unittest import mock

import testtools

from korora_nova import errors
from korora_nova.attester import files, vault
from korora_nova.custody.words import Statement, VaultState

INSTANCE = '6b6f726f-7261-4000-8000-000000000001'
OTHER = '6b6f726f-7261-4000-8000-000000000002'
NAME = '000b' + '00' * 32


def record(**changes: object) -> vault.Record:
    fields: dict[str, object] = {
        'instance': INSTANCE,
        'state': VaultState.HELD,
        'ak_name': NAME,
        'srk_name': NAME,
        'epoch': 3,
        'public': b'public',
        'private': b'private',
        'envelope': b'envelope',
        **changes,
    }
    return vault.Record(**fields)  # type: ignore[arg-type]


class VaultTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name) / 'vault'
        self.vault = vault.Vault(self.directory)
        self.path = self.directory / f'{INSTANCE}.json'

    def assert_damaged(self) -> None:
        error = self.assertRaises(
            errors.CustodyError, self.vault.get, INSTANCE
        )
        self.assertEqual(errors.Reason.VAULT_DAMAGED, error.reason)
        self.assertEqual([], self.vault.all())

    def test_round_trip(self) -> None:
        self.assertIsNone(self.vault.get(INSTANCE))
        kept = self.vault.put(record())
        self.assertEqual(kept, self.vault.get(INSTANCE))
        self.assertEqual([kept], self.vault.all())
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)
        self.vault.erase(INSTANCE)
        self.assertIsNone(self.vault.get(INSTANCE))
        self.vault.erase(INSTANCE)

    def test_every_field_survives(self) -> None:
        kept = record(
            secret_uuid=OTHER,
            kid='0011223344556677',
            migration=OTHER,
            permit='a.b.c',
            peer='h2',
            statement=Statement.NO_DOMAIN,
            forget=True,
        ).moved(VaultState.RELINQUISHED)
        self.assertNotEqual('', kept.boot_id)
        self.assertEqual(kept, vault.Record.from_json(kept.to_json()))

    def test_no_statement_is_empty_text(self) -> None:
        document = record().to_json()
        self.assertEqual('', document['statement'])
        self.assertIsNone(vault.Record.from_json(document).statement)

    def test_crash_while_writing_keeps_the_old_record(self) -> None:
        kept = self.vault.put(record())
        with mock.patch.object(os, 'replace', side_effect=OSError):
            self.assertRaises(
                OSError, self.vault.put, record(state=VaultState.MOVING)
            )
        self.assertEqual(kept, self.vault.get(INSTANCE))
        self.assertEqual([kept], self.vault.all())

    def test_written_to_disk_before_put_returns(self) -> None:
        synced: list[str] = []
        fsync = os.fsync

        def note(descriptor: int) -> None:
            synced.append(os.readlink(f'/proc/self/fd/{descriptor}'))
            fsync(descriptor)

        with mock.patch.object(os, 'fsync', note):
            self.vault.put(record())
        self.assertEqual(2, len(synced))
        self.assertEqual(str(self.directory), synced[1])

    def test_repr_shows_no_blob(self) -> None:
        self.assertNotIn('private', repr(record()))
        self.assertNotIn('envelope', repr(record()))

    def test_another_servers_record(self) -> None:
        self.vault.put(record(instance=OTHER))
        (self.directory / f'{OTHER}.json').rename(self.path)
        self.assert_damaged()

    def test_damage(self) -> None:
        good = record().to_json()
        for content in (
            b'',
            b'\xff',
            b'[]',
            b'{',
            json.dumps({**good, 'version': 2}).encode(),
            json.dumps({**good, 'state': 'open'}).encode(),
            json.dumps({**good, 'private': '*'}).encode(),
            json.dumps({**good, 'epoch': -1}).encode(),
            json.dumps({**good, 'extra': 1}).encode(),
        ):
            with self.subTest(content=content[:40]):
                files.write(self.path, content)
                self.assert_damaged()

    def test_single_flight(self) -> None:
        with self.vault.busy(INSTANCE):
            self.assertTrue(self.vault.is_busy(INSTANCE))
            error = self.assertRaises(
                errors.Retry, self.vault.busy(INSTANCE).__enter__
            )
            self.assertEqual(errors.Reason.BUSY, error.reason)
            with self.vault.busy(OTHER):
                pass
        self.assertFalse(self.vault.is_busy(INSTANCE))
        with self.vault.busy(INSTANCE):
            pass

    def test_flight_ends_with_an_error(self) -> None:
        with contextlib.suppress(ValueError), self.vault.busy(INSTANCE):
            raise ValueError
        self.assertFalse(self.vault.is_busy(INSTANCE))
