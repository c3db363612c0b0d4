# SPDX-License-Identifier: Apache-2.0
"""What an attack on the lab works with, and what is seen of it."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from korora_nova import errors
from korora_tools import ui
from korora_tools.demo import canary, migration
from korora_tools.lab import bootstrap, hostconfig, onboard, paths, processes
from korora_tools.prove.life.stage import TROUBLES, Stage

Json = dict[str, Any]

MOVE = 'os-migrateLive'
HARD = {'type': 'HARD'}
#: A program that no reference value has.
_UNKNOWN = (
    'cp /bin/true /var/lib/libvirt/unknown && '
    'date +%s%N >>/var/lib/libvirt/unknown && /var/lib/libvirt/unknown'
)
#: What nova-compute logs once it has looked at its servers.
_SERVES = b'Creating RPC server for service'
#: Seconds for a nova-compute to start.
_STARTED = 120.0
_STREAM = 'tcp portrange 49152-49215'


@dataclasses.dataclass(frozen=True)
class Seen:
    """What was observed of an attack."""

    succeeded: bool
    evidence: str


@dataclasses.dataclass
class Ground(Stage):
    """One cloud with a protected server, or what stock Nova has for one.

    :param figures: what was counted on the way.
    """

    figures: Json = dataclasses.field(default_factory=dict)

    def runs_on(self, host: str, server: str = '') -> bool:
        """Whether the guest runs there, as that host's libvirt sees it."""
        return (server or self.server) in self.world.virsh(
            host, 'list', '--uuid'
        )

    def places(self) -> list[str]:
        return [host for host in paths.HOSTS if self.runs_on(host)]

    def compromise(self, host: str, how: str = 'boot') -> None:
        """Change what runs on a host.

        The hosts of stock Nova measure nothing: a program runs there that
        nobody has approved.
        """
        if self.stock:
            processes.run(self.lab, ['sh', '-c', _UNKNOWN], host)
        else:
            self.world.lab_command('tamper', host, '--' + how)

    def cure(self, host: str) -> None:
        """The host is as it was; its guests are gone."""
        if self.stock:
            return
        self.world.lab_command('reboot', host)
        if self.server and self.world.host(self.server) == host:
            self.discard()
        self.calm()

    def move(self, host: str, **how: object) -> str:
        """A live migration, to its end; if refused, why."""
        marks = {
            log: log.stat().st_size for log in self.lab.log.glob('nova-*.log')
        }
        seen = self.act(
            MOVE,
            {'host': host, 'block_migration': 'auto', **how},
            microversion='2.67' if 'force' in how else None,
        )
        why = migration.logged_reason(self.server, marks)
        return f'{seen}, {why}' if why and why not in seen else seen

    def attest(self, host: str) -> str:
        """Let the service know what a host is now."""
        return '' if self.stock else onboard.attest(self.lab, host)

    @contextlib.contextmanager
    def configured(self, host: str, **options: str) -> Iterator[None]:
        """nova-compute of a host runs with these options of ``[libvirt]``.

        ``compute_driver`` is one of ``[DEFAULT]``.
        """
        path = hostconfig.nova_file(self.lab, host)
        before = path.read_text()
        lines = [
            line
            for line in before.splitlines()
            if line.partition(' =')[0] not in options
        ]
        for name, value in options.items():
            section = 'DEFAULT' if name == 'compute_driver' else 'libvirt'
            at = lines.index(f'[{section}]') + 1
            lines.insert(at, f'{name} = {value}')
        path.write_text('\n'.join(lines) + '\n')
        try:
            self.restart_compute(host)
            yield
        finally:
            path.write_text(before)
            self.restart_compute(host)
            self.calm()

    @contextlib.contextmanager
    def attester(self, host: str, **options: str) -> Iterator[None]:
        """The agent of a host runs with these options of ``[attester]``."""
        path = self.lab.host(host) / 'etc/korora/agent.conf'
        before = path.read_text()
        lines = before.splitlines()
        at = lines.index('[attester]') + 1
        lines[at:at] = [f'{name} = {value}' for name, value in options.items()]
        path.write_text('\n'.join(lines) + '\n')
        try:
            processes.stop(self.lab, [f'{host}/korora-agent'])
            self.world.start_agent(host)
            yield
        finally:
            path.write_text(before)
            processes.stop(self.lab, [f'{host}/korora-agent'])
            self.world.start_agent(host)

    def restart_compute(self, host: str) -> None:
        """Until nova-compute has started: it ends migrations that it finds.

        The old one may still be known as a consumer of its queue.
        """
        name = f'{host}/nova-compute'
        log = self.lab.log / f'nova-{host}.log'
        processes.stop(self.lab, [name])
        mark = log.stat().st_size
        processes.restart(self.lab, name)

        def started() -> bool:
            with log.open('rb') as lines:
                lines.seek(mark)
                return _SERVES in lines.read()

        ui.wait(f'nova-compute of {host}', started, _STARTED, 0.5)
        bootstrap.consumers('compute.' + host)

    @contextlib.contextmanager
    def tapped(self, host: str) -> Iterator[canary.Capture]:
        """All that a host sends to its peers meanwhile."""
        with canary.Capture(
            self.lab.data / 'wire', paths.netns(host), _STREAM
        ) as tap:
            yield tap

    def libvirt_secret(self, host: str, server: str = '') -> tuple[str, str]:
        """The UUID and value of a vTPM's secret, for root of a host.

        The value is empty if libvirt does not give it.
        """
        for line in self.world.virsh(host, 'secret-list').splitlines():
            if (server or self.server) not in line:
                continue
            uuid = line.split()[0]
            try:
                return uuid, self.world.virsh(
                    host, 'secret-get-value', uuid
                ).strip()
            except ui.Problem:
                return uuid, ''
        return '', ''

    @property
    def word(self) -> str:
        """What its guest sealed at its first start."""
        return self.words.sealed or ''

    def unseals(self, timeout: float = 150.0) -> bool:
        """Whether the guest's vTPM gives the word that it sealed first."""
        with contextlib.suppress(*TROUBLES):
            return self.secret() == 'kept'
        return False

    def agent_opens(self, host: str) -> str:
        """Let root of a host use its agent: what came of it."""
        try:
            self.world.agent(host, 'open', instance=self.server)
        except errors.KororaError as exc:
            return str(exc.reason)
        return 'opened'


Try = Callable[[Ground], 'Seen | dict[str, Seen]']


@dataclasses.dataclass(frozen=True)
class OnLab:
    """An attack that is tried on both clouds.

    :param ids: of the catalogue.
    :param stock: stock Nova has what is attacked.
    :param apart: it needs no server that runs.
    """

    ids: tuple[str, ...]
    run: Try
    stock: bool
    apart: bool


ALL: list[OnLab] = []


def on_lab(
    *ids: str, stock: bool = True, apart: bool = False
) -> Callable[[Try], Try]:
    """The function tries what its rows of the catalogue say."""

    def add(run: Try) -> Try:
        ALL.append(OnLab(ids, run, stock, apart))
        return run

    return add


class First(threading.Thread):
    """Looks for something while a block runs, again and again.

    :param look: returns None until it is there.
    :ivar value: what it returned first; None if it never came.
    """

    def __init__(self, look: Callable[[], float | None]) -> None:
        super().__init__(daemon=True)
        self._look = look
        self._stop_it = threading.Event()
        self.value: float | None = None

    def run(self) -> None:
        while self.value is None and not self._stop_it.wait(0.05):
            with contextlib.suppress(*TROUBLES):
                self.value = self._look()

    def __enter__(self) -> First:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_it.set()
        self.join()


def until(ready: Callable[[], bool], timeout: float) -> bool:
    """Wait for something that may never come."""
    end = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
