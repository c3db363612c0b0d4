# SPDX-License-Identifier: Apache-2.0
"""One service, two hosts, one database; each a process that may die."""

from __future__ import annotations

import hashlib
import multiprocessing
import pathlib
import pickle
import struct
import threading
from collections.abc import Callable
from multiprocessing import connection as mp
from typing import Any

import fixtures
import sqlalchemy as sa
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import TPM2_CAP, TPM2_CC, TPM2_ST

from korora_nova.attester.socket_client import AgentClient
from korora_nova.cmd import anchor
from tests.faults import children, copies, kept, wire
from tests.support import custodian, hosts, swtpm

#: Seconds for a process to start, and for what it is told to do.
PATIENCE = 60.0
#: Seconds for one operation of an agent, as nova-compute waits for it.
CALL = 30

_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(['tests.faults.children'])


class Gone(Exception):
    """The process is not there, or does not answer."""


def flush(esapi: ESAPI, handle: int) -> None:
    """TPM2_FlushContext of what another connection has loaded.

    :raises RuntimeError: the TPM refuses.
    """
    command = struct.pack(
        '>HIII', TPM2_ST.NO_SESSIONS, 14, TPM2_CC.FlushContext, handle
    )
    esapi.tcti.transmit(command)
    code = int.from_bytes(esapi.tcti.receive()[6:10], 'big')
    if code:
        raise RuntimeError(f'TPM2_FlushContext({handle:#x}): {code:#x}')


class Actor:
    """A process of the system under test.

    :param on_fault: called, from another thread, with what it met; whether
        it is dead now.
    """

    def __init__(
        self,
        name: str,
        run: Callable[..., None],
        given: Any,
        on_fault: Callable[[Actor, str, str], bool],
    ) -> None:
        self.name = name
        self._run = run
        self._given = given
        self._on_fault = on_fault
        self._process: Any = None
        self._commands: mp.Connection
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def process(self) -> Any:
        """Its incarnation, a multiprocessing.Process."""
        return self._process

    def start(self) -> None:
        self._commands, theirs = _context.Pipe()
        faults, asking = _context.Pipe()
        self._process = _context.Process(
            target=self._run,
            args=(self._given, theirs, asking),
            name=self.name,
            daemon=True,
        )
        self._process.start()
        theirs.close()
        asking.close()
        threading.Thread(
            target=self._listen, args=(faults,), daemon=True
        ).start()
        if not self._commands.poll(PATIENCE):
            raise Gone(f'{self.name} does not start')
        try:
            self._commands.recv()
        except EOFError:
            raise Gone(f'{self.name} cannot start') from None

    def _listen(self, faults: mp.Connection) -> None:
        while True:
            try:
                _, name, moment = faults.recv()
            except (EOFError, OSError):
                return
            if self._on_fault(self, name, moment):
                return
            try:
                faults.send(None)
            except OSError:
                return

    def tell(self, name: str, *args: Any) -> Any:
        """Let it do something, and return what comes of it.

        :raises Gone: it is not there, or died meanwhile.
        :raises RuntimeError: what it did failed.
        """
        with self._lock:
            try:
                self._commands.send((name, args))
                if not self._commands.poll(PATIENCE):
                    raise Gone(f'{self.name} hangs in {name}')
                good, answer = self._commands.recv()
            except (EOFError, OSError):
                raise Gone(f'{self.name} is down') from None
        if not good:
            raise RuntimeError(f'{self.name} {name}: {answer}')
        return answer

    def kill(self) -> None:
        """As SIGKILL, a crash or the loss of power end it."""
        if self._process is not None:
            self._process.kill()
            self._process.join()


class Korora(hosts.LiveKorora):
    """The service as a process of its own.

    :param place: its port is where it serves.
    """

    def __init__(
        self,
        connection: str,
        place: children.Place,
        on_fault: Callable[[Actor, str, str], bool],
        **settings: Any,
    ) -> None:
        super().__init__(connection, **settings)
        self.place = place
        self._on_fault = on_fault
        self.actor: Actor | None = None

    def _setUp(self) -> None:
        super()._setUp()
        kept.keep(self.nova, self.place.directory / 'nova')
        self.engine = sa.create_engine(str(self._connection))
        self.addCleanup(self.engine.dispose)

    def restart(self) -> None:
        """Power it on; an earlier one ends."""
        if self.actor is None:
            given = children.Korora(
                self.place,
                self.directory,
                str(self._connection),
                self._settings,
            )
            self.actor = Actor(
                'v', children.run_service, given, self._on_fault
            )
            self.addCleanup(self.actor.kill)
        self.actor.kill()
        self.actor.start()
        self.transport = wire.Forward(self.place.port)  # type: ignore

    @property
    def process(self) -> Actor:
        assert self.actor is not None
        return self.actor

    # Its anchor and its backups

    def lose_anchor(self) -> None:
        for path in pathlib.Path(self.directory).glob('anchor.db*'):
            path.unlink()

    def make_anchor(self) -> None:
        """``korora-manage anchor create``."""
        anchor.create(self.conf)

    def copies(self) -> list[pathlib.Path]:
        return copies.taken(self.place.directory / 'copies')

    def restore(self, copy: pathlib.Path) -> None:
        """As an operator, or a replica that was behind, would."""
        copies.restore(self.engine, pickle.loads(copy.read_bytes()))


class Machine(hosts.Machine):
    """A host whose agent is a process of its own."""

    def __init__(
        self,
        name: str,
        korora: Korora,
        directory: pathlib.Path,
        on_fault: Callable[[Actor, str, str], bool],
    ) -> None:
        self.name = name
        self.korora = korora
        self.directory = directory / name
        self.directory.mkdir()
        self.hardware = swtpm.SwTpm(hosts.EK[name])
        self.hardware.start()
        self.libvirt = korora.place.libvirt(name)
        self.door = custodian.Door(self.door_path, lambda: self.libvirt)
        self.boot()
        self.actor = Actor(
            name,
            children.run_agent,
            children.Host(
                korora.place,
                name,
                self.directory,
                self.hardware.tcti,
                korora.keys_file,
            ),
            on_fault,
        )
        self.client = AgentClient(self.socket, CALL)
        self.boots = 0
        self.power_agent()

    def power_agent(self) -> None:
        self.actor.start()

    def stop_agent(self) -> None:
        self.actor.kill()
        self._flush()

    def _flush(self) -> None:
        """What the kernel's resource manager does for who has died."""
        with ESAPI(self.hardware.tcti) as esapi:
            for first in (0x80000000, 0x02000000, 0x03000000):
                _more, data = esapi.get_capability(
                    capability=TPM2_CAP.HANDLES, prop=first, property_count=32
                )
                for handle in list(data.data.handles):
                    flush(esapi, int(handle))

    def power_off(self) -> None:
        """The agent, the guests and the TPM's volatile memory are gone."""
        self.boots += 1
        self.actor.kill()
        self.libvirt.secrets.clear()
        self.libvirt.domains.clear()

    def power_on(self) -> None:
        self.hardware.reboot()
        self.boot()
        self.power_agent()

    def measure_much(self) -> None:
        """IMA's list gets longer than evidence may be; none was sent."""
        while (self.directory / 'ima').stat().st_size < 3 * children.PART:
            self.run_file('/usr/bin/swtpm')
        self.actor.tell('send whole list')

    def settle(self) -> None:
        self.actor.tell('settle')

    def step(self) -> None:
        self.actor.tell('step')

    def state(self, instance: str) -> str:
        return str(self.actor.tell('state', instance))

    def join(self, admin: Any) -> None:
        self.step()
        certificate = self.actor.tell('identity')
        admin.approve_host(self.name, hashlib.sha256(certificate).hexdigest())
        self.step()

    def scrap(self) -> None:
        self.actor.kill()
        self.door.close()
        self.hardware.stop()


class World(fixtures.Fixture):
    """A service, h1 and h2, as long as they can be used.

    :param connection: SQLAlchemy URL of an empty database.
    :ivar on_fault: what is done when an actor meets its armed point.
    """

    HOSTS = ('h1', 'h2')

    def __init__(self, connection: str, **settings: Any) -> None:
        super().__init__()
        self._connection = connection
        self._settings = settings
        self.on_fault: Callable[[Actor, str, str], bool] = lambda *_: False

    def _setUp(self) -> None:
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (self.directory / 'bus').mkdir()
        self.place = children.Place(self.directory, wire.free_port())
        self.korora = self.useFixture(
            Korora(self._connection, self.place, self._meet, **self._settings)
        )
        self.admin = self.korora.client_as('admin')
        self.machines = {name: self._machine(name) for name in self.HOSTS}
        self.admin.create_reference('golden', self.HOSTS[0])
        for machine in self.machines.values():
            machine.step()

    def _machine(self, name: str) -> Machine:
        made = Machine(name, self.korora, self.directory, self._meet)
        self.addCleanup(made.scrap)
        made.join(self.admin)
        return made

    def _meet(self, actor: Actor, name: str, moment: str) -> bool:
        return self.on_fault(actor, name, moment)

    @property
    def v(self) -> Actor:
        return self.korora.process

    def actor(self, name: str) -> Actor:
        return self.v if name == 'v' else self.machines[name].actor

    # Time

    def pass_time(self, seconds: float) -> None:
        """Time passes, everywhere."""
        clock = self.place.seconds('passed')
        clock.set(clock.get() + seconds)

    def mislead(self, actor: str, seconds: float) -> None:
        """An actor's clock is wrong by this."""
        self.place.seconds(actor).set(seconds)

    # Points that were passed

    def points(self, since: int = 0) -> list[tuple[str, str, str]]:
        """(actor, point, moment) of all that was passed."""
        try:
            lines = self.place.points.read_text().splitlines()
        except FileNotFoundError:
            return []
        passed = []
        for line in lines[since:]:
            actor, name, moment = line.split()
            passed.append((actor, name, moment))
        return passed

    def logs(self, lines: int = 30) -> str:
        """The last lines of each process's log."""
        told = []
        for actor in ('v', *self.HOSTS):
            path = self.place.log(actor)
            if path.exists():
                tail = path.read_text(errors='replace').splitlines()[-lines:]
                told += [f'-- {actor}', *tail]
        return '\n'.join(told)
