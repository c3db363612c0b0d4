# SPDX-License-Identifier: Apache-2.0
"""Hosts with software TPMs and agents, and the real service they trust.

Only libvirt, Keystone, Nova and the network are stand-ins.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pathlib
import tempfile
import threading
import time
import uuid
from typing import Any

import testtools
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG
from tpm2_pytss.types import TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.attester import libvirt_secret
from korora_nova.attester.agent import Agent
from korora_nova.attester.rpc import Endpoint
from korora_nova.attester.socket_client import AgentClient
from korora_nova.custody.moves import Move, way_back
from korora_nova.rats import eventlog
from korora_nova.secret import Secret
from tests.support import custodian, service, simulator, swtpm

VECTOR = 'direct-kernel'
ADDRESS = {'h1': '192.0.2.1', 'h2': '192.0.2.2', 'h3': '192.0.2.3'}
EK = {'h1': 'A', 'h2': 'B', 'h3': 'C'}


class FakeLibvirt:
    """Secrets by instance; domains, and their jobs, a test says there are."""

    def __init__(self) -> None:
        self.secrets: dict[str, tuple[str, bytes]] = {}
        self.domains: dict[str, str] = {}
        self.jobs: set[str] = set()
        self.aborted: list[str] = []
        self.down = False

    def _reach(self) -> None:
        if self.down:
            raise errors.Unavailable(errors.Reason.LIBVIRT_UNAVAILABLE)

    def define(self, uuid: str, instance: str, value: Secret) -> None:
        self._reach()
        self.secrets[instance] = (uuid, value.reveal())

    def undefine(self, uuid: str, instance: str) -> None:
        self._reach()
        with contextlib.suppress(KeyError):
            del self.secrets[instance]  # unread, where it is another's memory

    def domain_state(self, instance: str) -> str:
        self._reach()
        return self.domains.get(instance, libvirt_secret.NONE)

    def has_job(self, instance: str) -> bool:
        self._reach()
        return instance in self.jobs

    def abort(self, instance: str) -> bool:
        self._reach()
        if instance not in self.jobs:
            return False
        self.jobs.discard(instance)
        self.domains[instance] = libvirt_secret.RUNNING
        self.aborted.append(instance)
        return True

    def qemu(self) -> libvirt_secret.Qemu:
        self._reach()
        return libvirt_secret.Qemu(os.getuid(), 7002022)


class LiveKorora(service.KororaFixture):
    """The service on the clock of this machine; knows swtpm's makers."""

    def _setUp(self) -> None:
        super()._setUp()
        for number, pem in enumerate(swtpm.factory().roots()):
            path = pathlib.Path(self.directory) / f'swtpm-{number}.pem'
            path.write_bytes(pem)
        self.bus = uuid.uuid4().hex
        self.clock = time.time
        self.restart()


class Machine:
    """One compute host: TPM, logs, agent, and a client of its socket."""

    #: ``[attester] vtpm_state_check``
    VTPM_CHECK = 'off'

    def __init__(
        self,
        name: str,
        korora: LiveKorora,
        directory: pathlib.Path,
        *,
        tls: bool = False,
    ) -> None:
        self.name = name
        self.tls = tls
        self.korora = korora
        self.directory = directory / name
        self.directory.mkdir()
        self.hardware = swtpm.SwTpm(EK[name])
        self.hardware.start()
        self.libvirt = FakeLibvirt()
        self.door = custodian.Door(self.door_path, lambda: self.libvirt)
        self.boot()
        self.agent: Agent
        self.power_agent()

    # Hardware and firmware

    def boot(self) -> None:
        """Measure as recorded firmware did, and start IMA's list."""
        log = simulator.recorded_log(VECTOR)
        (self.directory / 'uefi').write_bytes(log)
        (self.directory / 'ima').write_bytes(b'')
        with ESAPI(self.hardware.tcti) as esapi:
            for event in eventlog.parse(log).events:
                if event.extends:
                    extend(esapi, event.pcr, event.digests['sha256'])
        recorded = simulator.recorded_pcrs(VECTOR)
        aggregate = hashlib.sha256(
            b''.join(recorded[index] for index in range(10))
        ).digest()
        self.run_file('boot_aggregate', aggregate)
        self.run_file('/usr/bin/swtpm')

    def run_file(self, path: str, digest: bytes | None = None) -> None:
        """IMA measures a file before it runs."""
        entry, extension = simulator.ima_entry(path, digest)
        with (self.directory / 'ima').open('ab') as log:
            log.write(entry)
        self.hardware.extend_digest(10, extension)

    def reboot(self) -> None:
        """Power-cycle host and agent; the guests are gone."""
        self.stop_agent()
        self.hardware.reboot()
        self.libvirt = FakeLibvirt()
        self.boot()
        self.power_agent()

    # The agent

    def power_agent(self) -> None:
        """Start the agent without its periodic threads."""
        self.agent = Agent(
            self._conf(),
            self.korora.client_as('attester'),
            self.libvirt,
            custodian.shared(),
        )
        self.agent.stops._directory = self.swtpm
        self.agent.server.start()
        assert self.agent.bus is not None
        # The fake bus's would empty the queues of all agents of the process
        self.agent.bus._transport.cleanup = lambda: None
        self.agent.bus.start(
            Endpoint(self.agent.source.wrap, self.agent.destination.prepare)
        )
        self.client = AgentClient(self.socket, 30)
        self.enforce()

    def enforce(self, drift: str = '') -> None:
        """nova-compute's driver speaks, as it does all the time."""
        self.client.enforces('tests.Driver', '1', drift)

    def stop_agent(self) -> None:
        self.agent.server.stop()
        self.agent.watches.stop()
        assert self.agent.bus is not None
        self.agent.bus.stop()

    def restart_agent(self) -> None:
        """A crash: nothing but the disk survives."""
        self.stop_agent()
        self.power_agent()

    @property
    def socket(self) -> str:
        return str(self.directory / 'agent.sock')

    @property
    def door_path(self) -> str:
        """Of what custodians have for libvirt."""
        return str(self.directory / 'libvirt')

    @property
    def swtpm(self) -> pathlib.Path:
        """Where libvirt would have the states of vTPMs."""
        return self.directory / 'swtpm'

    @property
    def state_dir(self) -> pathlib.Path:
        return self.directory / 'state'

    def record_path(
        self, instance: str, epoch: int | None = None
    ) -> pathlib.Path:
        """The file of a server's only record, or of the one of an epoch."""
        directory = self.state_dir / 'vault'
        if epoch is not None:
            return directory / f'{instance}.{epoch}.json'
        (path,) = directory.glob(f'{instance}.*.json')
        return path

    def _conf(self) -> Any:
        # The fake bus is one per process but for the exchange, and an agent
        # of the test before may still be listening
        file = self.directory / 'agent.conf'
        file.write_text(f'[DEFAULT]\ncontrol_exchange = {self.korora.bus}\n')
        conf = options.parse([], [str(file)])
        options.register_attester_opts(conf)
        group = options.ATTESTER
        for name, value in {
            'host': self.name,
            'socket': self.socket,
            'allowed_users': [str(os.getuid())],
            'tcti': self.hardware.tcti,
            'uefi_log': str(self.directory / 'uefi'),
            'ima_log': str(self.directory / 'ima'),
            'systemd_log': str(self.directory / 'systemd'),
            'state_dir': str(self.state_dir),
            'trusted_keys': self.korora.keys_file,
            'interval': 60,
            'address': ADDRESS.get(self.name),
            'migration_tls_dir': str(self.directory / 'pki' / 'korora')
            if self.tls
            else None,
            'vtpm_state_check': self.VTPM_CHECK,
            'libvirt_uri': custodian.uri(self.door_path),
            # What a developer's machine allows is not what they are about
            'lock_memory': False,
        }.items():
            conf.set_override(name, value, group)
        conf.set_override(
            'transport_url',
            'fake://',
            options.HANDOVER,
        )
        conf.set_override('rpc_timeout', 10, options.HANDOVER)
        return conf

    def join(self, admin: Any) -> None:
        """Enrol, be approved, and attest."""
        self.agent.attestation.step()
        certificate = self.agent.attester.identity.ek_cert
        admin.approve_host(self.name, hashlib.sha256(certificate).hexdigest())
        self.agent.attestation.step()

    def settle(self) -> None:
        """What the workers do, now."""
        self.agent.stops.look()
        self.agent.settler._retries.clear()
        self.agent.settler.sweep()

    def state(self, instance: str) -> str:
        """The agent's own word for where a key stands."""
        record = self.agent.vault.current(instance)
        return 'none' if record is None else str(record.state)

    def scrap(self) -> None:
        self.agent.server.stop()
        self.agent.watches.stop()
        self.door.close()
        # the bus ends by itself: waiting for it is half a second per host
        assert self.agent.bus is not None
        threading.Thread(target=self.agent.bus.stop, daemon=True).start()
        self.hardware.stop()


def extend(esapi: ESAPI, pcr: int, digest: bytes) -> None:
    """Extend one SHA-256 digest."""
    value = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=digest))
    esapi.pcr_extend(
        pcr_handle=getattr(ESYS_TR, f'PCR{pcr}'),
        digests=TPML_DIGEST_VALUES([value]),
    )


class HostsTestCase(testtools.TestCase):
    """A service and hosts that it trusts; servers as a driver would."""

    HOSTS: tuple[str, ...] = ('h1', 'h2')
    SETTINGS: dict[str, Any] = {}
    #: Hosts that want certificates for streams.
    STREAMING: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.korora = self.useFixture(LiveKorora(**self.SETTINGS))
        self.admin = self.korora.client_as('admin')
        scratch = tempfile.TemporaryDirectory(prefix='korora-hosts-')
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.machines = {name: self.machine(name) for name in self.HOSTS}
        first = self.machines[self.HOSTS[0]]
        self.admin.create_reference('golden', first.name)
        for machine in self.machines.values():
            machine.agent.attestation.step()
        self.instance = str(uuid.uuid4())
        self.secret_uuid = str(uuid.uuid4())
        self.passphrase = os.urandom(384).hex()[:512].encode()

    def machine(self, name: str) -> Machine:
        made = Machine(
            name, self.korora, self.directory, tls=name in self.STREAMING
        )
        self.addCleanup(made.scrap)
        made.join(self.admin)
        return made

    @property
    def h1(self) -> Machine:
        return self.machines['h1']

    @property
    def h2(self) -> Machine:
        return self.machines['h2']

    def refused(self, reason: str, call: Any, *args: Any, **kw: Any) -> Any:
        """The call must fail with this very reason."""
        error = self.assertRaises(errors.KororaError, call, *args, **kw)
        self.assertEqual(reason, error.reason, f'{error} {error.details}')
        return error

    # What a driver does

    def create(self, host: Machine, instance: str | None = None) -> None:
        """First boot on a host: the server runs there."""
        instance = instance or self.instance
        host.client.call(
            'seal',
            instance=instance,
            secret_uuid=self.secret_uuid,
            passphrase=base64.b64encode(self.passphrase).decode(),
        )
        self.open(host, instance)

    def open(self, host: Machine, instance: str | None = None) -> None:
        """Start the server: exactly its passphrase gets to libvirt."""
        instance = instance or self.instance
        host.client.call('open', instance=instance)
        self.assertEqual(
            (self.secret_uuid, self.passphrase),
            host.libvirt.secrets[instance],
        )
        host.libvirt.domains[instance] = libvirt_secret.RUNNING

    def nova_migrates(
        self,
        source: Machine,
        dest: Machine,
        instance: str | None = None,
        *,
        announce: bool = True,
    ) -> str:
        """Nova has a new migration, and S's driver has checked it."""
        instance = instance or self.instance
        migration = str(uuid.uuid4())
        self.korora.nova.migrations.add(
            (migration, instance, source.name, dest.name)
        )
        if announce:
            source.client.call('announce', instance=instance)
        return migration

    def receive(
        self,
        source: Machine,
        dest: Machine,
        migration: str,
        instance: str | None = None,
    ) -> dict[str, Any]:
        """D's pre_live_migration."""
        instance = instance or self.instance
        answer = dest.client.call(
            'receive',
            instance=instance,
            migration=migration,
            source=source.name,
            address=ADDRESS[dest.name],
            tls_name=dest.name,
        )
        dest.libvirt.domains[instance] = libvirt_secret.INCOMING
        return answer

    def start(
        self, source: Machine, to: Machine, migration: str, **changed: Any
    ) -> dict[str, Any]:
        """S's live_migration, before the stream."""
        return source.client.call(
            'start',
            **{
                'instance': self.instance,
                'migration': migration,
                'dest': to.name,
                'address': ADDRESS[to.name],
                'tls_name': to.name,
                **changed,
            },
        )

    def nova_moves(
        self, source: Machine, dest: Machine, migration: str | None = None
    ) -> str:
        """Nova has a cold migration, or reverts one; the hand-over's id."""
        if migration is None:
            handover, kind = str(uuid.uuid4()), Move.COLD
        else:
            handover, kind = way_back(migration), Move.REVERT
        self.korora.nova.migrations.add(
            (handover, self.instance, source.name, dest.name, kind)
        )
        return handover

    def prepare(
        self, source: Machine, dest: Machine, handover: str, kind: str = 'cold'
    ) -> None:
        """S's driver, before it powers the server off."""
        source.client.prepare(
            self.instance, handover, dest=dest.name, kind=kind
        )

    def stream(self, source: Machine, dest: Machine) -> None:
        """QEMU moves the guest."""
        source.libvirt.domains.pop(self.instance, None)
        dest.libvirt.domains[self.instance] = libvirt_secret.RUNNING

    def said(
        self, host: Machine, statement: str, migration: str
    ) -> dict[str, Any]:
        """A driver's hook, then the worker that follows it."""
        answer = host.client.call(
            statement, instance=self.instance, migration=migration
        )
        host.settle()
        return answer

    def migrate(self, source: Machine, dest: Machine) -> str:
        """A whole live migration that goes well."""
        migration = self.nova_migrates(source, dest)
        self.receive(source, dest, migration)
        self.start(source, dest, migration)
        self.stream(source, dest)
        self.said(source, 'stream_completed', migration)
        self.said(dest, 'activated', migration)
        return migration

    def ledger(self) -> dict[str, Any]:
        return self.admin.get_server(self.instance)
