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

from korora_nova import errors, faultpoints
from korora_nova.attester import files, vault
from korora_nova.custody import grant
from korora_nova.custody.moves import Move
from korora_nova.custody.words import Statement, VaultState
from tests.support import documents as docs

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
        self.path = self.directory / f'{INSTANCE}.3.json'

    def assert_damaged(self) -> None:
        error = self.assertRaises(
            errors.CustodyError, self.vault.get, INSTANCE, 3
        )
        self.assertEqual(errors.Reason.VAULT_DAMAGED, error.reason)
        self.assertEqual([], self.vault.all())
        self.assertRaises(errors.CustodyError, self.vault.current, INSTANCE)

    def test_round_trip(self) -> None:
        self.assertIsNone(self.vault.get(INSTANCE, 3))
        kept = self.vault.put(record())
        self.assertEqual(kept, self.vault.get(INSTANCE, 3))
        self.assertIsNone(self.vault.get(INSTANCE, 2))
        self.assertEqual([kept], self.vault.all())
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)
        self.vault.erase(kept)
        self.assertIsNone(self.vault.get(INSTANCE, 3))
        self.vault.erase(kept)

    def test_every_field_survives(self) -> None:
        kept = record(
            secret_uuid=OTHER,
            kid='0011223344556677',
            migration=OTHER,
            document='d.e.f',
            rests_on=7,
            permit='a.b.c',
            peer='h2',
            statement=Statement.NO_DOMAIN,
            forget=True,
        ).moved(VaultState.RELINQUISHED)
        self.assertNotEqual('', kept.boot_id)
        self.assertTrue(kept.is_of_this_boot)
        self.assertEqual(kept, vault.Record.from_json(kept.to_json()))

    def test_every_state_and_word_survives(self) -> None:
        for state in VaultState:
            for word in (None, *Statement):
                kept = self.vault.put(record(state=state, statement=word))
                self.assertEqual(kept, self.vault.get(INSTANCE, 3))

    def test_kind(self) -> None:
        """What a live migration leaves is read by older agents."""
        for kind in Move:
            kept = self.vault.put(record(kind=kind))
            self.assertEqual(kept, self.vault.get(INSTANCE, 3))
            self.assertEqual(kind != Move.LIVE, 'kind' in kept.to_json())
            self.assertEqual(kind != Move.LIVE, kept.is_cold)
            self.assertFalse(kept.settled().is_cold)

    def test_hash_of_a_vtpm(self) -> None:
        """A record without one is read by older agents."""
        self.assertNotIn('vtpm_hash', record().to_json())
        noted = record(vtpm_hash='ab' * 32)
        self.assertEqual(noted, self.vault.put(noted))
        self.assertEqual(noted, self.vault.get(INSTANCE, 3))
        for damaged in ('', 'AB' * 32, 'ab' * 31, None):
            self.assertRaises(
                errors.Invalid,
                vault.Record.from_json,
                {**noted.to_json(), 'vtpm_hash': damaged},
            )

    def test_no_statement_is_empty_text(self) -> None:
        document = record().to_json()
        self.assertEqual('', document['statement'])
        self.assertIsNone(vault.Record.from_json(document).statement)

    def test_rests_on_a_document(self) -> None:
        ring = docs.Keys()
        token = docs.documents.sign(docs.a_grant(), ring.custody)
        resting = record().resting_on(grant.verify_grant(token, ring.ring))
        self.assertEqual((token, 1), (resting.document, resting.rests_on))
        settled = resting.settled()
        self.assertEqual((token, 1), (settled.document, settled.rests_on))

    def test_crash_while_writing_keeps_the_old_record(self) -> None:
        kept = self.vault.put(record())
        with mock.patch.object(os, 'replace', side_effect=OSError):
            self.assertRaises(
                OSError, self.vault.put, record(state=VaultState.MOVING)
            )
        self.assertEqual(kept, self.vault.get(INSTANCE, 3))
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

    def test_points_of_fault(self) -> None:
        seen: list[str] = []

        def note(name: str, moment: str) -> None:
            if moment == faultpoints.BEFORE:
                seen.append(name)

        with mock.patch.object(faultpoints, 'hook', note):
            kept = self.vault.put(record())
            kept = self.vault.say(kept, Statement.DELETE)
            self.vault.erase(kept)
        self.assertEqual(['host.held', 'host.word', 'host.erase'], seen)
        for state in VaultState:
            self.assertIn(f'host.{state}', faultpoints.POINTS)

    def test_repr_shows_no_blob(self) -> None:
        for name in ('private', 'envelope', 'document', 'permit'):
            self.assertNotIn(name, repr(record()))

    def test_another_servers_record(self) -> None:
        """T12: two servers' keys change places."""
        self.vault.put(record(instance=OTHER))
        (self.directory / f'{OTHER}.3.json').rename(self.path)
        self.assert_damaged()

    def test_record_of_another_epoch(self) -> None:
        self.vault.put(record(epoch=4))
        (self.directory / f'{INSTANCE}.4.json').rename(self.path)
        self.assert_damaged()

    def test_damage(self) -> None:
        good = record().to_json()
        for content in (
            b'',
            b'\xff',
            b'[]',
            b'{',
            b'[' * 100000,
            json.dumps({**good, 'version': 1}).encode(),
            json.dumps({**good, 'state': 'open'}).encode(),
            json.dumps({**good, 'private': '*'}).encode(),
            json.dumps({**good, 'epoch': -1}).encode(),
            json.dumps({**good, 'extra': 1}).encode(),
        ):
            with self.subTest(content=content[:40]):
                files.write(self.path, content)
                self.assert_damaged()

    def test_damage_is_one_records(self) -> None:
        """Other epochs of the server, and other servers, are read."""
        files.write(self.path, b'{')
        kept = [
            self.vault.put(record(epoch=2)),
            self.vault.put(record(epoch=9)),
            self.vault.put(record(instance=OTHER)),
        ]
        self.assertEqual(kept, self.vault.all())
        self.assertEqual(kept[:2], self.vault.of(INSTANCE))
        self.assertEqual(kept[1], self.vault.current(INSTANCE))

    def test_strange_files_are_no_records(self) -> None:
        for name in (
            f'.{INSTANCE}.3.json.new',
            f'{INSTANCE}.json',
            f'{INSTANCE}.x.json',
            f'{INSTANCE}.3.json.bak',
            'notes',
        ):
            (self.directory / name).write_bytes(b'{')
        self.assertEqual([], self.vault.all())
        self.assertIsNone(self.vault.current(INSTANCE))

    # Several records of one server

    def test_the_highest_epoch_counts(self) -> None:
        self.assertIsNone(self.vault.current(INSTANCE))
        waiting = self.vault.put(
            record(epoch=0, private=b'', state=VaultState.RECEIVING)
        )
        self.assertEqual(waiting, self.vault.current(INSTANCE))
        old = self.vault.put(record(epoch=1))
        new = self.vault.put(record(epoch=12, state=VaultState.MOVING))
        self.assertEqual([waiting, old, new], self.vault.of(INSTANCE))
        self.assertEqual(new, self.vault.current(INSTANCE))
        self.vault.erase(new)
        self.assertEqual(old, self.vault.current(INSTANCE))

    def test_record_of_a_migration(self) -> None:
        self.vault.put(record())
        self.assertIsNone(self.vault.of_migration(INSTANCE, OTHER))
        waiting = self.vault.put(
            record(epoch=0, migration=OTHER, state=VaultState.RECEIVING)
        )
        self.assertEqual(waiting, self.vault.of_migration(INSTANCE, OTHER))
        come = self.vault.put(
            record(epoch=5, migration=OTHER, state=VaultState.INCOMING)
        )
        # A crash left both of them
        self.assertEqual(come, self.vault.of_migration(INSTANCE, OTHER))

    def test_epoch_becomes_known(self) -> None:
        old = self.vault.put(record(epoch=0, private=b''))
        new = self.vault.replace(old, record(epoch=5))
        self.assertEqual([new], self.vault.of(INSTANCE))
        self.assertRaises(
            errors.CustodyError, self.vault.replace, old, record(epoch=6)
        )
        self.assertEqual([new], self.vault.of(INSTANCE))

    def test_same_key_as_it_is_now(self) -> None:
        kept = self.vault.put(record())
        said = self.vault.say(kept, Statement.DELETE)
        self.assertEqual(said, self.vault.find(kept))
        self.vault.put(record(private=b'another'))
        self.assertIsNone(self.vault.find(kept))

    def test_place_that_is_free(self) -> None:
        self.assertTrue(self.vault.is_free(INSTANCE, 3))
        files.write(self.path, b'{')
        self.assertFalse(self.vault.is_free(INSTANCE, 3))
        self.assertTrue(self.vault.is_free(INSTANCE, 4))

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
