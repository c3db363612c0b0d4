# SPDX-License-Identifier: Apache-2.0
"""C11, C12: documents travel both ways; whoever has lost some is healed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

import sqlalchemy as sa

from korora_nova import errors, faultpoints
from korora_nova.attester import observe
from korora_nova.attester.vault import Record
from korora_nova.custody.words import VaultState
from korora_nova.rats.signed import keys
from korora_nova.verifier.db import models
from tests.functional.attester.test_decisions import DecisionCase
from tests.functional.attester.test_recovery import RecoveryCase
from tests.support import hosts

_R = errors.Reason


class LostTransactionsTest(DecisionCase):
    """V's database goes back; its anchor and the hosts do not."""

    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(self.korora.directory, 'korora.db')
        self.copies: list[bytes] = []

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        """Keep the database as it is after each change of custody."""
        points = ('claim', 'receive', 'permit', 'sealed', 'start', 'word')
        changes = {f'v.{name}' for name in (*points, 'decide')}

        def hook(name: str, when: str) -> object:
            if name in changes and when == faultpoints.AFTER:
                self.copies.append(pathlib.Path(self.path).read_bytes())
            return False

        with mock.patch.object(faultpoints, 'hook', hook):
            yield

    def lose(self, transactions: int) -> None:
        """The last so many changes of custody, and all that was beside."""
        content = self.copies[-1 - transactions]
        temporary = self.path + '.restored'
        pathlib.Path(temporary).write_bytes(content)
        shutil.copy(temporary, self.path)
        self.korora.service.references.clear()

    def healed(self) -> None:
        """Both hosts attest, and do what comes of it."""
        for _ in range(2):
            for machine in (self.h1, self.h2):
                machine.client.call('attest')
                machine.settle()

    def in_turn(self, lost: int) -> None:
        self.lose(lost)
        self.healed()

    def test_permitted(self) -> None:
        for lost in (1, 2, 3):
            with self.subTest(lost=lost):
                with self.copying():
                    self.new()
                self.in_turn(lost)
                self.domain(self.h2, 'none')
                with contextlib.suppress(errors.KororaError):
                    self.said(self.h1, 'never_started', self.migration)
                self.said(self.h2, 'no_domain', self.migration)
                self.assert_only(self.h1)

    def test_moving(self) -> None:
        for lost in (1, 2, 3):
            for kept in (True, False):
                with self.subTest(lost=lost, kept=kept):
                    with self.copying():
                        self.new()
                        self.start(self.h1, self.h2, self.migration)
                    self.in_turn(lost)
                    if kept:
                        self.domain(self.h2, 'none')
                        self.said(self.h2, 'no_domain', self.migration)
                        self.later(observe.KEPT_GRACE, self.h1)
                    else:
                        self.stream(self.h1, self.h2)
                        self.said(self.h1, 'stream_completed', self.migration)
                        self.said(self.h2, 'activated', self.migration)
                    self.assert_only(self.h1 if kept else self.h2)

    def test_committed(self) -> None:
        for lost in (1, 2, 3):
            with self.subTest(lost=lost):
                with self.copying():
                    self.new()
                    self.start(self.h1, self.h2, self.migration)
                    self.stream(self.h1, self.h2)
                    self.said(self.h1, 'stream_completed', self.migration)
                self.in_turn(lost)
                self.said(self.h2, 'activated', self.migration)
                self.assert_only(self.h2)
                self.migrate(self.h2, self.h1)
                self.assert_only(self.h1)

    def test_aborted(self) -> None:
        for lost in (1, 2, 3):
            with self.subTest(lost=lost):
                with self.copying():
                    self.new()
                    self.start(self.h1, self.h2, self.migration)
                    self.domain(self.h2, 'none')
                    self.said(self.h2, 'no_domain', self.migration)
                    self.later(observe.KEPT_GRACE, self.h1)
                self.in_turn(lost)
                self.assert_only(self.h1)

    def test_start_of_a_server_heals_it(self) -> None:
        """Without waiting for the next report."""
        with self.copying():
            self.new()
            self.start(self.h1, self.h2, self.migration)
            self.stream(self.h1, self.h2)
            self.said(self.h1, 'stream_completed', self.migration)
            self.said(self.h2, 'activated', self.migration)
        self.lose(2)
        self.refused(
            _R.VAULT_MISSING,
            self.h1.client.call,
            'open',
            instance=self.instance,
        )
        self.open(self.h2)

    def test_word_heals_it(self) -> None:
        """The last one who knows of the start is S, and it has a word."""
        with self.copying():
            self.new()
            self.start(self.h1, self.h2, self.migration)
        self.lose(3)
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', self.migration)
        self.assertEqual('committed', self.shown()['status'])
        self.assert_only(self.h2)


class LeftOverTest(RecoveryCase):
    """Copies that came back from a backup, journal and all."""

    def backup(self, machine: hosts.Machine) -> pathlib.Path:
        copy = self.directory / uuid.uuid4().hex
        shutil.copytree(machine.state_dir, copy)
        return copy

    def restore(self, machine: hosts.Machine, copy: pathlib.Path) -> None:
        machine.stop_agent()
        shutil.rmtree(machine.state_dir)
        shutil.copytree(copy, machine.state_dir)
        machine.power_agent()

    def epochs(self, machine: hosts.Machine) -> list[int]:
        return [one.epoch for one in machine.agent.vault.of(self.instance)]

    def test_the_server_returns(self) -> None:
        copy = self.backup(self.h1)
        self.migrate(self.h1, self.h2)
        self.restore(self.h1, copy)
        self.assertEqual([1], self.epochs(self.h1))
        migration = self.nova_migrates(self.h2, self.h1)
        self.receive(self.h2, self.h1, migration)
        self.assertEqual([1, 5], self.epochs(self.h1))
        self.start(self.h2, self.h1, migration)
        self.stream(self.h2, self.h1)
        self.said(self.h2, 'stream_completed', migration)
        self.said(self.h1, 'activated', migration)
        self.h1.settle()
        # Superseded by a document: it goes although the server runs here
        self.assertEqual([5], self.epochs(self.h1))
        self.assertEqual('held', self.h1.state(self.instance))
        self.open(self.h1)

    def test_in_each_state(self) -> None:
        """Of a hand-over long ago: no state is in the server's way."""
        copies = []
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        copies.append(self.backup(self.h1))
        self.start(self.h1, self.h2, migration)
        copies.append(self.backup(self.h1))
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.said(self.h2, 'activated', migration)
        for copy in copies:
            self.restore(self.h1, copy)
            self.migrate(self.h2, self.h1)
            self.open(self.h1)
            self.migrate(self.h1, self.h2)
            self.open(self.h2)

    def test_report_ends_it(self) -> None:
        copy = self.backup(self.h1)
        self.migrate(self.h1, self.h2)
        self.restore(self.h1, copy)
        self.h1.agent.attestation.step()
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))

    def test_copy_under_its_guest_stays(self) -> None:
        """I16: whatever documents say, a guest that runs keeps its key."""
        copy = self.backup(self.h1)
        self.migrate(self.h1, self.h2)
        self.restore(self.h1, copy)
        self.h1.libvirt.domains[self.instance] = 'running'
        self.h1.agent.attestation.step()
        self.h1.settle()
        self.assertEqual([1], self.epochs(self.h1))
        self.h1.libvirt.domains.clear()
        self.h1.settle()
        self.assertEqual([], self.epochs(self.h1))

    def test_key_that_was_lost_with_its_vault(self) -> None:
        """The service's documents come back; the key does not."""
        shutil.rmtree(self.h1.state_dir)
        self.h1.restart_agent()
        self.h1.agent.attestation.step()
        self.assertEqual('none', self.h1.state(self.instance))
        self.refused(_R.LEDGER_CONFLICT, self.create, self.h1)

    def test_next_key_after_a_release(self) -> None:
        """An operator took it; the copy that is left is in nobody's way."""
        copy = self.backup(self.h1)
        self.h1.libvirt.domains.clear()
        self.admin.release_server(self.instance, 'a test', force='a test')
        self.create(self.h1)
        self.assertEqual(3, self.ledger()['epoch'])
        self.h1.settle()
        self.assertEqual([3], self.epochs(self.h1))
        self.open(self.h1)
        self.restore(self.h1, copy)
        self.refused(
            _R.EPOCH_MISMATCH,
            self.h1.client.call,
            'open',
            instance=self.instance,
        )

    def test_released_elsewhere(self) -> None:
        """A report tells the holder, whose key goes with its guest."""
        self.admin.release_server(self.instance, 'a test', force='a test')
        self.h1.agent.attestation.step()
        self.h1.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        self.h1.libvirt.domains.clear()
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))

    def test_claim_that_another_made(self) -> None:
        """Its answer was lost, and Nova started the server elsewhere."""
        instance = self.instance = str(uuid.uuid4())
        with mock.patch.object(
            self.h1.agent.attester.client,
            'evidence',
            side_effect=errors.Unavailable(_R.SERVICE_UNAVAILABLE),
        ):
            self.refused(_R.SERVICE_UNAVAILABLE, self.create, self.h1)
        self.create(self.h2)
        self.migrate(self.h2, self.h1)
        self.h1.settle()
        (left,) = self.h1.agent.vault.of(instance)
        self.assertEqual(VaultState.HELD, left.state)
        self.open(self.h1)


class ManyServersTest(RecoveryCase):
    def test_report(self) -> None:
        """H4b: 4,097 servers do not end attestation: they come in pages."""
        record = self.h1.agent.vault.current(self.instance)
        assert record is not None
        many = [
            dataclasses.replace(record, instance=str(uuid.uuid4()))
            for _ in range(4096)
        ]
        many.append(record)
        heard: list[int] = []
        client = self.h1.agent.attester.client
        genuine = client.evidence

        def evidence(host: str, message: dict[str, Any], *more: str) -> Any:
            answer = genuine(host, message, *more)
            heard.append(len(answer['wanted']))
            return answer

        with (
            mock.patch.object(self.h1.agent.vault, 'all', lambda: many),
            mock.patch.object(client, 'evidence', evidence),
        ):
            for _ in range(5):
                self.assertEqual(60, self.h1.agent.attestation.step())
        # V has no document of those: it asks, and moves nothing (I15)
        self.assertEqual(5, len(heard))
        self.assertLessEqual(max(heard), 1024)
        self.h1.settle()
        self.open(self.h1)
        with self.korora.service.db.read() as session:
            count = session.scalar(
                sa.select(sa.func.count()).select_from(models.Server)
            )
        self.assertEqual(1, count)


class ResealTest(RecoveryCase):
    """An approval key is replaced while everything runs."""

    def replace_approval_key(self) -> str:
        new = keys.SigningKey.generate()
        ring = keys.KeyRing.load(self.korora.keys_file)
        keys.KeyRing.build(
            ring.cloud,
            result=list(ring.result.values()),
            custody=list(ring.custody.values()),
            approval=[*ring.approval.values(), new.public],
        ).save(self.korora.keys_file)
        new.save(
            os.path.join(self.korora.directory, f'approval-{new.kid}.pem')
        )
        self.korora.restart()
        self.admin = self.korora.client_as('admin')
        for machine in self.machines.values():
            machine.restart_agent()
            machine.agent.attestation.step()
        return new.kid

    def kept(self, machine: hosts.Machine | None = None) -> Record:
        record = (machine or self.h1).agent.vault.current(self.instance)
        assert record is not None
        return record

    def test_sealed_anew(self) -> None:
        before = self.kept()
        kid = self.replace_approval_key()
        self.assertNotEqual(kid, before.kid)
        self.open(self.h1)  # under the old one
        self.h1.settle()
        after = self.kept()
        self.assertEqual(kid, after.kid)
        self.assertEqual(
            (before.epoch, before.document), (after.epoch, after.document)
        )
        self.assertNotEqual(before.private, after.private)
        self.open(self.h1)
        self.migrate(self.h1, self.h2)
        self.open(self.h2)
        self.assertEqual(kid, self.kept(self.h2).kid)

    def test_the_service_is_told(self) -> None:
        kid = self.replace_approval_key()
        self.h1.settle()
        self.h1.client.call('attest')
        with self.korora.service.db.read() as session:
            row = session.get(models.Server, self.instance)
            assert row is not None
            self.assertEqual(kid, row.approval_kid)

    def test_full_disk_keeps_the_old_one(self) -> None:
        before = self.kept()
        kid = self.replace_approval_key()
        with mock.patch(
            'korora_nova.attester.vault.files.write',
            side_effect=OSError(28, 'No space left on device'),
        ):
            self.h1.settle()
        self.assertEqual(before, self.kept())
        self.open(self.h1)
        self.h1.agent.rest._refused.clear()
        self.h1.settle()
        self.assertEqual(kid, self.kept().kid)
        self.open(self.h1)

    def test_not_while_it_is_used(self) -> None:
        before = self.kept()
        self.replace_approval_key()
        with self.h1.agent.vault.busy(self.instance):
            self.h1.settle()
        self.assertEqual(before, self.kept())

    def test_not_in_a_hand_over(self) -> None:
        migration = self.begun()
        before = self.kept()
        self.replace_approval_key()
        self.h1.settle()
        self.h2.settle()
        self.assertEqual(before, self.kept())
        self.start(self.h1, self.h2, migration)
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.said(self.h2, 'activated', migration)
        self.assert_held_by(self.h2)

    def test_a_few_in_a_round(self) -> None:
        instances = [str(uuid.uuid4()) for _ in range(6)]
        for instance in instances:
            self.create(self.h1, instance)
        kid = self.replace_approval_key()

        def old() -> int:
            return sum(
                record.kid != kid for record in self.h1.agent.vault.all()
            )

        self.assertEqual(7, old())
        self.h1.settle()
        self.assertEqual(3, old())
        self.h1.settle()
        self.assertEqual(0, old())
        for instance in instances:
            self.open(self.h1, instance)
