# SPDX-License-Identifier: Apache-2.0
"""T11: an older state of a vTPM comes back, and a server is started with it.

The states are real swtpm's, the servers' domains a stand-in's.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from unittest import mock

from korora_nova import errors, faultpoints
from korora_nova.attester import boot, stops, vtpm_state
from korora_nova.cmd import accept
from tests.support import hosts

CHANGED = errors.Reason.VTPM_STATE_CHANGED


class _Crash(Exception):
    """The agent is no more."""


class StateCase(hosts.HostsTestCase):
    def setUp(self) -> None:
        super().setUp()
        for machine in self.machines.values():
            machine.VTPM_CHECK = stops.REFUSE
            machine.restart_agent()
            machine.agent.attestation.step()
        self.create(self.h1)
        self.run_tpm(self.h1)
        self.h1.client.close(self.instance)

    # What libvirt does

    @contextlib.contextmanager
    def swtpm(self, machine: hosts.Machine) -> Iterator[None]:
        """The server's vTPM, as long as the guest runs."""
        directory = self.state(machine)
        directory.mkdir(parents=True, exist_ok=True)
        # A short path, for its socket.
        with tempfile.TemporaryDirectory(prefix='korora-') as scratch:
            process = subprocess.Popen(
                [
                    'swtpm',
                    'socket',
                    '--tpm2',
                    *('--tpmstate', f'dir={directory}'),
                    *('--server', f'type=unixio,path={scratch}/socket'),
                    *('--ctrl', f'type=unixio,path={scratch}/control'),
                    *('--flags', 'not-need-init,startup-clear'),
                ]
            )
            try:
                control = pathlib.Path(scratch, 'control')
                while not (
                    control.exists() and (directory / '.lock').exists()
                ):
                    time.sleep(0.02)
                # What TPM2_Startup writes, and with it its reset counter.
                with self._settled(directory / 'tpm2-00.permall'):
                    yield
            finally:
                process.terminate()
                process.wait()

    @contextlib.contextmanager
    def _settled(self, path: pathlib.Path) -> Iterator[None]:
        before = None
        while before is None or before != path.read_bytes():
            time.sleep(0.05)
            before = path.read_bytes() if path.exists() else None
        yield

    def state(self, machine: hosts.Machine) -> pathlib.Path:
        return machine.swtpm / self.instance / 'tpm2'

    def run_tpm(self, machine: hosts.Machine) -> None:
        with self.swtpm(machine):
            pass

    # What Nova does

    def start_server(self, machine: hosts.Machine) -> None:
        try:
            machine.client.open(self.instance)
            machine.client.launch(self.instance)
            self.run_tpm(machine)
            machine.libvirt.domains[self.instance] = 'running'
        finally:
            machine.client.close(self.instance)

    def stop_server(self, machine: hosts.Machine) -> None:
        self.seen(machine)
        machine.libvirt.domains.pop(self.instance, None)
        self.seen(machine)

    def seen(self, machine: hosts.Machine, seconds: float = 60.0) -> None:
        """What the agent sees meanwhile."""
        for now in (boot.now(), boot.now() + seconds):
            with mock.patch.object(boot, 'now', return_value=now):
                machine.agent.stops.look()

    def noted(self, machine: hosts.Machine) -> str:
        record = machine.agent.vault.current(self.instance)
        assert record is not None
        return record.vtpm_hash

    def backup(self, machine: hosts.Machine) -> pathlib.Path:
        return pathlib.Path(
            shutil.copytree(
                self.state(machine),
                self.directory / 'backup' / str(time.time()),
            )
        )

    def restore(self, machine: hosts.Machine, backup: pathlib.Path) -> None:
        shutil.rmtree(self.state(machine))
        shutil.copytree(backup, self.state(machine))

    def assert_refused(self, machine: hosts.Machine) -> None:
        self.refused(CHANGED, self.start_server, machine)
        self.assertEqual({}, machine.libvirt.secrets)
        self.assertEqual({}, machine.libvirt.domains)


class RollBackTest(StateCase):
    def test_state_of_a_backup(self) -> None:
        old = self.backup(self.h1)
        self.stop_server(self.h1)
        self.start_server(self.h1)
        self.stop_server(self.h1)
        last = self.backup(self.h1)
        self.restore(self.h1, old)
        self.assert_refused(self.h1)
        self.assert_refused(self.h1)
        self.h1.restart_agent()
        self.assert_refused(self.h1)
        self.restore(self.h1, last)
        self.start_server(self.h1)

    def test_accepted_by_an_operator(self) -> None:
        """With the command on the host."""
        old = self.backup(self.h1)
        self.stop_server(self.h1)
        self.start_server(self.h1)
        self.stop_server(self.h1)
        self.restore(self.h1, old)
        self.assert_refused(self.h1)
        config = self.h1.directory / 'accept.conf'
        config.write_text(f'[attester]\nstate_dir = {self.h1.state_dir}\n')
        with mock.patch.object(vtpm_state, 'DIRECTORY', self.h1.swtpm):
            code = accept.main(['--config-file', str(config), self.instance])
        self.assertEqual(0, code)
        self.start_server(self.h1)
        self.stop_server(self.h1)
        self.restore(self.h1, old)
        self.assert_refused(self.h1)

    def test_moved_by_an_operator(self) -> None:
        """A cold migration takes what there is."""
        old = self.backup(self.h1)
        self.stop_server(self.h1)
        self.start_server(self.h1)
        self.stop_server(self.h1)
        self.restore(self.h1, old)
        handover = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, handover)
        shutil.copytree(self.h1.swtpm, self.h2.swtpm)
        self.said(self.h2, 'activated', handover)
        self.start_server(self.h2)

    def test_replaced_host(self) -> None:
        """Vault and state of a machine that is no more: no approval."""
        old, vault = self.backup(self.h1), self.directory / 'vault'
        self.stop_server(self.h1)
        shutil.copytree(self.h1.state_dir / 'vault', vault)
        self.start_server(self.h1)
        self.stop_server(self.h1)
        self.migrate_off()
        shutil.rmtree(self.h1.state_dir / 'vault')
        shutil.copytree(vault, self.h1.state_dir / 'vault')
        self.state(self.h1).mkdir(parents=True, exist_ok=True)
        self.restore(self.h1, old)
        error = self.assertRaises(
            errors.KororaError, self.start_server, self.h1
        )
        self.assertIn(
            error.reason,
            (errors.Reason.NOT_HOLDER, errors.Reason.VAULT_MISSING),
        )

    def migrate_off(self) -> None:
        self.start_server(self.h1)
        migration = self.migrate(self.h1, self.h2)
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))
        self.assertEqual(
            'committed', self.admin.get_migration(migration)['status']
        )

    def test_swtpm_still_runs(self) -> None:
        self.seen(self.h1)
        with self.swtpm(self.h1):
            self.h1.libvirt.domains.clear()
            self.seen(self.h1)
            self.assertEqual('', self.noted(self.h1))
        self.seen(self.h1)
        self.assertNotEqual('', self.noted(self.h1))

    def test_loss_of_power(self) -> None:
        """A guest that ran has no hash; one that was off has its own."""
        self.stop_server(self.h1)
        off = self.noted(self.h1)
        self.h1.reboot()
        self.h1.agent.attestation.step()
        self.assertEqual(off, self.noted(self.h1))
        self.start_server(self.h1)
        self.run_tpm(self.h1)
        self.h1.reboot()
        self.h1.agent.attestation.step()
        self.seen(self.h1)
        self.assertEqual('', self.noted(self.h1))
        self.start_server(self.h1)

    def test_agent_ends_at_each_step(self) -> None:
        """The server starts in the end, and its next stop is noted."""
        for moment in (faultpoints.BEFORE, faultpoints.AFTER):
            for step in (self.stop_server, self.start_server):
                with self.subTest(moment=moment, step=step.__name__):
                    if step == self.start_server:
                        self.stop_server(self.h1)

                    def hook(name: str, when: str, at: str = moment) -> object:
                        if (name, when) == ('host.vtpm', at):
                            raise _Crash
                        return False

                    with mock.patch.object(faultpoints, 'hook', hook):
                        with contextlib.suppress(_Crash, errors.KororaError):
                            step(self.h1)
                    self.h1.restart_agent()
                    self.h1.agent.attestation.step()
                    self.start_server(self.h1)
        self.stop_server(self.h1)
        self.assertNotEqual('', self.noted(self.h1))

    def test_live_migration(self) -> None:
        """The other host's record says nothing of what was here."""
        self.stop_server(self.h1)
        self.migrate_off()
        self.run_tpm(self.h2)
        self.assertEqual('', self.noted(self.h2))
        self.stop_server(self.h2)
        self.assertNotEqual('', self.noted(self.h2))
        self.start_server(self.h2)

    def test_cold_migration(self) -> None:
        """Failed, the state is compared; on the other host, it is not."""
        old = self.backup(self.h1)
        self.stop_server(self.h1)
        self.start_server(self.h1)
        self.stop_server(self.h1)
        noted = self.noted(self.h1)
        handover = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, handover)
        self.seen(self.h1)
        self.h1.client.stays(self.instance, handover)
        for machine in (self.h1, self.h2, self.h1, self.h2):
            machine.settle()
        self.assertEqual('held', self.h1.state(self.instance))
        self.assertEqual(noted, self.noted(self.h1))
        last = self.backup(self.h1)
        self.restore(self.h1, old)
        self.assert_refused(self.h1)
        self.restore(self.h1, last)
        again = self.nova_moves(self.h1, self.h2)
        self.prepare(self.h1, self.h2, again)
        shutil.copytree(self.h1.swtpm, self.h2.swtpm)
        self.said(self.h2, 'activated', again)
        self.start_server(self.h2)
        self.h1.settle()
        self.assertEqual('none', self.h1.state(self.instance))
        self.stop_server(self.h2)
        self.assertNotEqual('', self.noted(self.h2))

    def test_turned_off(self) -> None:
        self.stop_server(self.h1)
        self.h1.VTPM_CHECK = stops.OFF
        self.h1.restart_agent()
        self.h1.agent.attestation.step()
        self.h1.agent.stops._run()
        self.assertNotIn(
            'vtpm_hash', self.h1.record_path(self.instance).read_text()
        )
