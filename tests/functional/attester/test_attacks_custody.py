# SPDX-License-Identifier: Apache-2.0
"""Attacks on who holds a key, , with real agents."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

from korora_nova import errors
from korora_nova.attester import boot, files, libvirt_secret, trust
from korora_nova.custody import bodies
from korora_nova.custody.exchange import Told
from korora_nova.custody.transfer import Transfer
from korora_nova.custody.words import Statement
from korora_nova.rats.signed import keys
from korora_nova.verifier import repeats
from korora_nova.verifier.db import models
from tests.functional.attester.test_recovery import RecoveryCase
from tests.support import hosts

_R = errors.Reason


class LostPermitTest(RecoveryCase):
    """T40: V's database goes back to before a permit that it signed."""

    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(self.korora.directory, 'korora.db')
        shutil.copy(self.path, self.path + '.backup')

    def restore(self) -> None:
        shutil.copy(self.path + '.backup', self.path)
        self.korora.service.references.clear()
        for machine in (self.h1, self.h2):
            machine.client.call('attest')

    def test_before_the_stream(self) -> None:
        """A2, A2a: without its row both ends wait; their permit helps."""
        migration = self.begun()
        self.restore()
        self.h2.libvirt.domains.clear()
        self.said(self.h2, 'no_domain', migration)
        with mock.patch.object(boot, 'boot_id', return_value='another'):
            self.h1.reboot()
            self.h1.settle()
        self.assert_held_by(self.h1)

    def test_after_the_stream(self) -> None:
        """A2b: D runs the guest and V names S; the permit should prove D."""
        migration = self.moving()
        self.stream(self.h1, self.h2)
        self.restore()
        self.said(self.h1, 'stream_completed', migration)
        self.said(self.h2, 'activated', migration)
        self.assert_held_by(self.h2)


class LiarsTest(RecoveryCase):
    """T42, T43: one end of a hand-over, or the bus, lies about it."""

    def lie(self, host: hosts.Machine, body: bodies.Tell) -> None:
        """Root says this with the host's own evidence; V may refuse it."""
        with contextlib.suppress(errors.KororaError):
            host.agent.attester.attest_for(body, Told)

    def assert_key_under(self, host: hosts.Machine) -> None:
        """The guest runs on this host, so its key must be there."""
        self.assertEqual(
            libvirt_secret.RUNNING, host.libvirt.domain_state(self.instance)
        )
        self.assertNotEqual(
            'none', host.state(self.instance), 'erased under its guest'
        )

    def test_arrived_before_the_stream(self) -> None:
        """A4a: D says "activated" too early, S erases; V should refuse it."""
        migration = self.begun()
        self.lie(self.h2, bodies.Tell(migration, Statement.ACTIVATED))
        with contextlib.suppress(errors.KororaError):
            self.start(self.h1, self.h2, migration)
        self.h1.settle()
        self.assert_key_under(self.h1)

    def test_never_started_after_the_stream(self) -> None:
        """A4b: S says "never_started" too late, D erases; V should refuse."""
        migration = self.moving()
        self.stream(self.h1, self.h2)
        self.lie(self.h1, bodies.Tell(migration, Statement.NEVER_STARTED))
        self.said(self.h2, 'activated', migration)
        self.assert_key_under(self.h2)

    def test_transfer_held_back(self) -> None:
        """A5: S erases a key that D never got; D should confirm it first."""
        migration = self.nova_migrates(self.h1, self.h2)
        genuine = self.h2.agent.bus.ask

        def hold_back(*args: Any) -> Transfer:
            genuine(*args)
            with contextlib.suppress(errors.KororaError):
                self.start(self.h1, self.h2, migration)
                self.h1.libvirt.domains.clear()
                self.said(self.h1, 'stream_completed', migration)
            raise errors.Unavailable(_R.BUS_UNAVAILABLE)

        self.h2.agent.destination._ask = hold_back
        self.refused(
            _R.BUS_UNAVAILABLE, self.receive, self.h1, self.h2, migration
        )
        self.h2.libvirt.domains.clear()
        for machine in (self.h2, self.h1):
            machine.settle()
        self.assertIn(
            'held',
            [machine.state(self.instance) for machine in (self.h1, self.h2)],
            'nobody holds the key',
        )

    def test_migration_taken_by_another(self) -> None:
        """A liar names itself D and is silent: D must not wait for it."""
        migration = self.nova_migrates(self.h1, self.h2)

        def taken(*_args: Any) -> Transfer:
            with self.korora.service.db.write() as session:
                row = session.get(models.Migration, migration)
                row.dest, row.ak_dest = 'h3', 'ab' * 34
            raise errors.Unavailable(_R.BUS_UNAVAILABLE)

        self.h2.agent.destination._ask = taken
        self.refused(
            _R.BUS_UNAVAILABLE, self.receive, self.h1, self.h2, migration
        )
        self.h2.settle()
        self.assertEqual('none', self.h2.state(self.instance))


class RepeatedClaimTest(hosts.HostsTestCase):
    """T46: below the agent a claim is sent again; its answer was lost."""

    HOSTS = ('h1',)

    @contextlib.contextmanager
    def repeated(self) -> Iterator[None]:
        client = self.h1.agent.attester.client
        genuine = client.evidence

        def twice(host: str, message: dict[str, Any]) -> dict[str, Any]:
            if message['purpose'] == 'claim':
                genuine(host, message)
            return genuine(host, message)

        with mock.patch.object(client, 'evidence', twice):
            yield

    def test_first_start(self) -> None:
        """A8a: a repeated claim gets the same answer."""
        with self.repeated():
            self.create(self.h1)

    def test_next_start(self) -> None:
        """A8b: whatever came of the first claim, its key is there."""
        with self.repeated(), contextlib.suppress(errors.KororaError):
            self.create(self.h1)
        self.create(self.h1)

    def test_while_the_first_is_served(self) -> None:
        """The repeated one is refused; the agent says it once more."""
        with mock.patch.object(repeats, 'keep'), self.repeated():
            self.refused(_R.CHALLENGE_USED, self.create, self.h1)
            self.assertEqual('claiming', self.h1.state(self.instance))
        self.create(self.h1)
        self.assertEqual(1, self.ledger()['epoch'])

    def test_while_nova_is_away(self) -> None:
        """A6: a claim is checked with Nova; until then its key is kept."""
        self.korora.nova.down = True
        self.refused(_R.NOVA_UNAVAILABLE, self.create, self.h1)
        self.assertEqual('claiming', self.h1.state(self.instance))
        self.korora.nova.down = False
        self.create(self.h1)

    def test_server_that_nova_has_elsewhere(self) -> None:
        self.korora.nova.servers[self.instance] = 'h2'
        self.refused(_R.SERVER_NOT_IN_NOVA, self.create, self.h1)
        # Nova gives up, and has the host forget the server.
        self.h1.client.call('forget', instance=self.instance)
        client = self.h1.agent.attester.client
        with mock.patch.object(
            client, 'evidence', side_effect=errors.NotFound(_R.HOST_UNKNOWN)
        ):
            self.h1.settle()
        self.assertEqual('claiming', self.h1.state(self.instance))
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))

    def test_refused_for_another_reason(self) -> None:
        """Only a key that is not its own goes: an earlier claim may count."""
        client = self.h1.agent.attester.client
        genuine = client.evidence

        def lost(host: str, message: dict[str, Any]) -> dict[str, Any]:
            genuine(host, message)
            raise errors.Unavailable(_R.SERVICE_UNAVAILABLE)

        with mock.patch.object(client, 'evidence', lost):
            self.refused(_R.SERVICE_UNAVAILABLE, self.create, self.h1)
        for reason in (
            errors.Untrusted(_R.HOST_UNTRUSTED),
            errors.NotFound(_R.HOST_UNKNOWN),
            errors.Conflict(_R.LEDGER_BEHIND),
            errors.EvidenceError(_R.CHALLENGE_EXPIRED),
        ):
            with mock.patch.object(client, 'evidence', side_effect=reason):
                self.refused(reason.reason, self.create, self.h1)
            self.h1.restart_agent()
            client = self.h1.agent.attester.client
            self.assertEqual('claiming', self.h1.state(self.instance))
        self.create(self.h1)
        self.assertEqual(1, self.ledger()['epoch'])


class ReplacedKeyTest(hosts.HostsTestCase):
    def replace_approval_key(self) -> None:
        """A new one signs, both are pinned; all processes start again."""
        new, ring = keys.SigningKey.generate(), self.korora.ring
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

    def test_migration_after_it(self) -> None:
        """A10: D seals under the key that the permit names."""
        self.replace_approval_key()
        self.create(self.h1)
        self.migrate(self.h1, self.h2)
        self.open(self.h2)
        self.migrate(self.h2, self.h1)
        self.open(self.h1)

    def test_destination_that_has_not_pinned_it(self) -> None:
        """The hand-over is refused before D's TPM is troubled; S keeps it."""
        before = keys.KeyRing.load(self.korora.keys_file)
        self.replace_approval_key()
        self.create(self.h1)
        old = str(self.directory / 'keys.json')
        before.save(old)
        self.h2.agent.attester.trusted = trust.TrustedKeys(old)
        migration = self.nova_migrates(self.h1, self.h2)
        self.refused(
            _R.APPROVAL_INVALID, self.receive, self.h1, self.h2, migration
        )
        self.h2.settle()
        self.h1.settle()
        self.assertEqual('none', self.h2.state(self.instance))
        self.open(self.h1)


class FullDiskTest(RecoveryCase):
    """The journal of receipts meets a full disk."""

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        def torn(path: Any, content: bytes) -> None:
            with open(path, 'ab') as stream:
                stream.write(content[:100])
            raise OSError(28, 'No space left on device')

        with mock.patch.object(files, 'append', torn):
            yield

    def completed(self) -> None:
        """A hand-over that ended well, but for what h1 writes down."""
        migration = self.moving()
        self.stream(self.h1, self.h2)
        self.said(self.h2, 'activated', migration)
        self.h1.client.call(
            'stream_completed', instance=self.instance, migration=migration
        )

    def test_sweep(self) -> None:
        """A12a: a full disk does not end the sweep, and loses no key."""
        self.completed()
        with self.full():
            self.h1.settle()
        self.assertEqual('moving', self.h1.state(self.instance))
        self.assert_held_by(self.h2)

    def test_other_records(self) -> None:
        """A12a: one record that cannot be written keeps no other waiting."""
        others = [str(uuid.UUID(int=number)) for number in (1, 2)]
        for instance in others:
            self.create(self.h1, instance)
            del self.h1.libvirt.domains[instance]
            self.h1.client.call('forget', instance=instance)
        genuine = files.append
        with mock.patch.object(
            files,
            'append',
            side_effect=[OSError(28, 'No space left on device'), None],
        ) as append:
            self.h1.settle()
        self.assertEqual(2, append.call_count)
        self.assertEqual(
            ['forgotten', 'none'], [self.h1.state(one) for one in others]
        )
        self.assertIs(genuine, files.append)
        self.h1.settle()
        self.assertEqual('none', self.h1.state(others[0]))

    def test_vault(self) -> None:
        """What this host sees of one server is noted for the next, too."""
        migration = self.moving()
        self.stream(self.h1, self.h2)
        self.h1.client.call(
            'stream_completed', instance=self.instance, migration=migration
        )
        with mock.patch.object(
            files, 'remove', side_effect=OSError(30, 'Read-only file system')
        ):
            self.h1.settle()
        self.assertEqual('moving', self.h1.state(self.instance))
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))

    def test_receipt(self) -> None:
        """A12, A12b: a torn line is cut off; the next receipt is whole."""
        self.completed()
        with self.full():
            self.h1.settle()
        self.h1.settle()
        newest = self.h1.agent.journal.newest(self.instance)
        assert newest is not None
        self.assertTrue(newest.receipt)
        self.h1.restart_agent()
        self.assertEqual(newest, self.h1.agent.journal.newest(self.instance))
