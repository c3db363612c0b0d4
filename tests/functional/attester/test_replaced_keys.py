# SPDX-License-Identifier: Apache-2.0
"""Keys of the service are replaced, with real agents and real TPMs."""

from __future__ import annotations

import contextlib
import io
import pathlib
import shutil
from typing import Any
from unittest import mock

from tpm2_pytss import ESAPI, ESYS_TR

from korora_nova import errors
from korora_nova.attester import sealing, trust
from korora_nova.attester.vault import Record
from korora_nova.cmd import manage
from korora_nova.custody import approval
from korora_nova.rats.signed import keys
from korora_nova.rats.signed.keys import State
from tests.support import hosts

_R = errors.Reason


class ReplacedCase(hosts.HostsTestCase):
    """No process is started again: service and agents run throughout."""

    def setUp(self) -> None:
        super().setUp()
        self.config = self.directory / 'korora.conf'
        self.config.write_text(
            f'[verifier]\nkeys_dir = {self.korora.directory}\n'
            f'trusted_keys = {self.korora.keys_file}\n'
            '[database]\n'
            f'connection = {self.korora.conf.database.connection}\n'
        )
        self.create(self.h1)

    @property
    def ring(self) -> keys.KeyRing:
        return keys.KeyRing.load(self.korora.keys_file)

    def keys(self, *args: str, code: int = 0) -> str:
        """Run a command as an operator."""
        said = io.StringIO()
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            found = manage.main(
                ['--config-file', str(self.config), 'keys', *args]
            )
        self.assertEqual(code, found, said.getvalue())
        return said.getvalue()

    def added(self, use: str = 'approval') -> tuple[str, str]:
        """Ids of the active key, and of one that only verifies yet."""
        old = self.ring.active(use).kid
        known = set(getattr(self.ring, use))
        self.keys('create', use)
        (new,) = set(getattr(self.ring, use)) - known
        return old, new

    def replaced(self, use: str = 'approval') -> tuple[str, str]:
        old, new = self.added(use)
        self.keys('activate', new)
        return old, new

    def reported(self, *machines: hosts.Machine) -> None:
        """A round of attestation, the worker, and another round."""
        for machine in machines or (self.h1, self.h2):
            machine.client.call('attest')
            machine.settle()
            machine.client.call('attest')

    def record(self, machine: hosts.Machine) -> Record:
        record = machine.agent.vault.current(self.instance)
        assert record is not None
        return record

    def late(self, machine: hosts.Machine) -> None:
        """From now on this host has another copy of keys.json."""
        path = self.directory / f'{machine.name}.json'
        shutil.copy(self.korora.keys_file, path)
        machine.agent.attester.trusted = trust.TrustedKeys(str(path))

    def in_time(self, machine: hosts.Machine) -> None:
        machine.agent.attester.trusted = trust.TrustedKeys(
            self.korora.keys_file
        )


class ApprovalKeyTest(ReplacedCase):
    def test_while_everything_runs(self) -> None:
        old, new = self.replaced()
        self.open(self.h1)
        self.assertEqual(old, self.record(self.h1).kid)
        self.h1.client.call('attest')
        self.assertIn('1 key on h1', self.keys('retire', old, code=1))
        self.reported()
        self.assertEqual(new, self.record(self.h1).kid)
        self.open(self.h1)
        self.keys('retire', old)
        pathlib.Path(self.korora.directory, f'approval-{old}.pem').unlink()
        self.h1.restart_agent()
        self.open(self.h1)
        self.migrate(self.h1, self.h2)
        self.open(self.h2)

    def test_during_a_hand_over(self) -> None:
        """D's copy is sealed as the permit says, and anew when it is held."""
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        old, new = self.replaced()
        self.reported()
        self.assertEqual(
            [old, old],
            [self.record(one).kid for one in (self.h1, self.h2)],
        )
        self.assertIn(migration, self.keys('retire', old, code=1))
        self.start(self.h1, self.h2, migration)
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.said(self.h2, 'activated', migration)
        self.reported()
        self.assertEqual(new, self.record(self.h2).kid)
        self.keys('retire', old)
        self.open(self.h2)

    def test_between_permit_and_seal(self) -> None:
        """A10: D seals as the permit says, which S sent it with."""
        old = self.ring.active('approval').kid
        genuine = self.h2.agent.destination._ask

        def ask(*args: Any) -> Any:
            transfer = genuine(*args)
            self.replaced()
            return transfer

        self.h2.agent.destination._ask = ask
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.assertEqual(old, self.record(self.h2).kid)
        self.h2.agent.destination._ask = genuine
        self.start(self.h1, self.h2, migration)
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.said(self.h2, 'activated', migration)
        self.open(self.h2)

    def test_taken_back(self) -> None:
        """The new one was activated too early: both count."""
        old, new = self.replaced()
        self.reported(self.h1)
        self.keys('activate', old)
        self.open(self.h1)
        self.reported(self.h1)
        self.assertEqual(old, self.record(self.h1).kid)
        self.keys('retire', new)
        self.open(self.h1)

    def test_host_that_is_late(self) -> None:
        """It keeps its keys as they are, and is waited for."""
        old, new = self.added()
        self.late(self.h1)
        self.keys('activate', new)
        self.reported()
        self.assertEqual(old, self.record(self.h1).kid)
        self.open(self.h1)
        self.assertIn('on h1', self.keys('retire', old, code=1))
        self.in_time(self.h1)
        self.reported()
        self.keys('retire', old)
        self.open(self.h1)

    def test_late_host_with_a_new_server(self) -> None:
        """What is granted under the new key never goes back to the old."""
        old, new = self.added()
        self.late(self.h2)
        self.keys('activate', new)
        self.h2.client.call('attest')
        self.migrate(self.h1, self.h2)
        self.reported()
        self.assertEqual(new, self.record(self.h2).kid)
        self.keys('retire', old)
        self.reported()
        self.open(self.h2)

    def test_service_that_is_late(self) -> None:
        """One of its nodes has the old keys.json."""
        old, new = self.added()
        text = pathlib.Path(self.korora.keys_file).read_text()
        self.keys('activate', new)
        self.reported()
        self.late(self.h1)
        pathlib.Path(self.korora.keys_file).write_text(text)
        self.reported(self.h1)
        self.assertEqual(new, self.record(self.h1).kid)
        self.open(self.h1)

    def test_crash_before_the_new_copy_is_on_disk(self) -> None:
        old, new = self.replaced()
        self.h1.client.call('attest')
        with mock.patch.object(
            self.h1.agent.vault, 'replace', side_effect=OSError(28, 'full')
        ):
            self.h1.settle()
        self.h1.restart_agent()
        self.assertEqual(old, self.record(self.h1).kid)
        self.open(self.h1)
        self.reported()
        self.assertEqual(new, self.record(self.h1).kid)

    def test_crash_before_it_was_reported(self) -> None:
        """The host says under which key its copy rests when it opens it."""
        old, new = self.replaced()
        self.h1.client.call('attest')
        self.h1.settle()
        self.h1.restart_agent()
        self.assertEqual(new, self.record(self.h1).kid)
        self.open(self.h1)
        self.assertIn('on h1', self.keys('retire', old, code=1))
        self.reported()
        self.keys('retire', old)

    def test_private_half_is_gone_too_early(self) -> None:
        old, _ = self.replaced()
        path = pathlib.Path(self.korora.directory, f'approval-{old}.pem')
        path.rename(f'{path}.away')
        self.refused(
            _R.KEYS_INVALID,
            self.h1.client.call,
            'open',
            instance=self.instance,
        )
        pathlib.Path(f'{path}.away').rename(path)
        self.open(self.h1)

    def test_forced(self) -> None:
        """The server needs its escrow; another one is not concerned."""
        old, _ = self.replaced()
        self.keys('revoke', '--force', old)
        self.refused(
            _R.APPROVAL_INVALID,
            self.h1.client.call,
            'open',
            instance=self.instance,
        )


class LeakedApprovalKeyTest(ReplacedCase):
    """Root of h1 has the old key, and a vault from before the resealing."""

    def setUp(self) -> None:
        super().setUp()
        self.backup = self.record(self.h1)
        kid = self.ring.active('approval').kid
        self.leaked = keys.SigningKey.load(
            pathlib.Path(self.korora.directory, f'approval-{kid}.pem')
        )
        self.late(self.h1)
        self.believes = self.h1.agent.attester.trusted
        self.in_time(self.h1)
        self.replaced()
        self.reported()
        self.keys('revoke', kid)

    def unsealed(self) -> bytes:
        """What root gets out of the TPM with an approval of his own."""
        host = self.h1.agent._parts
        genuine = sealing.approve(host, self.record(self.h1))
        forged = approval.sign_approval(
            instance=self.instance,
            epoch=self.backup.epoch,
            pcr_digest=genuine.pcr_digest,
            reset_restart=genuine.reset_restart,
            deadline=genuine.deadline,
            ref=genuine.ref,
            key=self.leaked,
        )
        self.h1.agent.attester.trusted = self.believes
        with host.custodians.begin() as custodian:
            sealing.unseal(host, self.backup, forged, custodian)
            host.define(self.backup, custodian)
        return self.h1.libvirt.secrets[self.instance][1]

    def test_it_opens_what_was_copied_before(self) -> None:
        """A limit that the guide tells of: a TPM knows no revocation."""
        self.assertEqual(self.passphrase, self.unsealed())

    def test_it_opens_nothing_of_a_cleared_tpm(self) -> None:
        """T35: what the guide says to do about it."""
        with ESAPI(self.h1.hardware.tcti) as esapi:
            esapi.clear(ESYS_TR.LOCKOUT)
        self.assertRaises(errors.KororaError, self.unsealed)

    def test_it_opens_nothing_on_another_host(self) -> None:
        host = self.h2.agent._parts
        forged = approval.sign_approval(
            instance=self.instance,
            epoch=self.backup.epoch,
            pcr_digest=bytes(32),
            reset_restart=bytes(8),
            deadline=1,
            ref=bytes(32),
            key=self.leaked,
        )
        with host.custodians.begin() as custodian:
            self.assertRaises(
                errors.KororaError,
                sealing.unseal,
                host,
                self.backup,
                forged,
                custodian,
            )

    def test_service_and_agents_refuse_it(self) -> None:
        host = self.h1.agent._parts
        error = self.assertRaises(
            errors.CustodyError, sealing.approve, host, self.backup
        )
        self.assertEqual('APPROVAL_INVALID', error.reason)
        self.open(self.h1)


class CustodyKeyTest(ReplacedCase):
    def test_next_hand_over_rests_on_the_new_one(self) -> None:
        """A key that leaked is revoked when no server's state rests on it."""
        old, _ = self.replaced('custody')
        self.open(self.h1)
        self.assertIn(self.instance, self.keys('revoke', old, code=1))
        self.migrate(self.h1, self.h2)
        self.keys('revoke', old)
        self.assertIs(State.REVOKED, self.ring.find(old).state)
        self.reported()
        self.open(self.h2)
        self.migrate(self.h2, self.h1)
        self.open(self.h1)

    def test_documents_outlive_it(self) -> None:
        old, _ = self.replaced('custody')
        self.migrate(self.h1, self.h2)
        self.assertIn('documents', self.keys('retire', old, code=1))
        pathlib.Path(self.korora.directory, f'custody-{old}.pem').unlink()
        self.reported()
        self.open(self.h2)

    def test_during_a_hand_over(self) -> None:
        migration = self.nova_migrates(self.h1, self.h2)
        self.receive(self.h1, self.h2, migration)
        self.replaced('custody')
        self.start(self.h1, self.h2, migration)
        self.stream(self.h1, self.h2)
        self.said(self.h1, 'stream_completed', migration)
        self.said(self.h2, 'activated', migration)
        self.open(self.h2)


class ResultKeyTest(ReplacedCase):
    def test_replaced(self) -> None:
        old, _ = self.replaced('result')
        self.assertIn('results of h1', self.keys('retire', old, code=1))
        self.reported()
        self.keys('retire', old)
        self.open(self.h1)
        self.migrate(self.h1, self.h2)
        self.open(self.h2)
