# SPDX-License-Identifier: Apache-2.0
"""What is killed or cut on the lab, and how it comes back."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from korora_tools import ui
from korora_tools.lab import bootstrap, database, host, paths, processes

#: Seconds for what was killed to answer again.
PATIENCE = 90.0

#: Queues of Nova's that a restarted RabbitMQ has lost.
QUEUES = (
    'conductor',
    'scheduler',
    *(f'compute.{name}' for name in ('h1', 'h2', 'h3')),
)

Back = Callable[[], None]


@dataclass(frozen=True)
class Victim:
    """Something of the lab that ends without warning.

    :param hit: end it on a host, for a server; returns what brings it back.
    :param end: ``source``, ``dest`` or ``control``.
    :param guest: it takes the guest along.
    """

    name: str
    end: str
    hit: Callable[[paths.Lab, str, str], Back]
    guest: bool = False


def _kill(lab: paths.Lab, name: str) -> dict[str, Any]:
    """SIGKILL a service's whole session."""
    record = processes.load(lab, name)
    if record is None or not processes.alive(record):
        raise ui.Problem(f'{name} does not run')
    os.killpg(record['pid'], signal.SIGKILL)
    end = time.monotonic() + 10
    while processes.alive(record) and time.monotonic() < end:
        time.sleep(0.01)
        processes.reap([record])
    return record


def _service(name: str) -> Callable[[paths.Lab, str, str], Back]:
    """A service inside a host."""

    def hit(lab: paths.Lab, where: str, server: str) -> Back:
        _kill(lab, f'{where}/{name}')

        def back() -> None:
            if name == 'libvirtd':
                host.start_libvirt(lab, where)
            else:
                processes.restart(lab, f'{where}/{name}')
            if name == 'nova-compute':
                bootstrap.consumers('compute.' + where)

        return back

    return hit


def _control(name: str) -> Callable[[paths.Lab, str, str], Back]:
    """A service of the control plane."""

    def hit(lab: paths.Lab, where: str, server: str) -> Back:
        _kill(lab, name)

        def back() -> None:
            processes.restart(lab, name)
            processes.wait_for(lab, name, _ready(lab, name), PATIENCE)
            if name == 'rabbitmq':
                # What is sent to a queue that nobody has made is lost
                bootstrap.consumers(*QUEUES)

        return back

    return hit


def _ready(lab: paths.Lab, name: str) -> Callable[[], bool]:
    if name == 'korora':
        return processes.answering(paths.url('korora', '/'))
    if name == 'rabbitmq':
        return processes.listening(lab, 'rabbitmq')

    def answers() -> bool:
        try:
            database.query(lab, 'SELECT 1')
        except ui.Problem:
            return False
        return True

    return answers


def _link(lab: paths.Lab, where: str, server: str) -> Back:
    """Cut a host's only cable."""

    def turn(to: str) -> None:
        processes.run(
            lab, ['ip', 'link', 'set', 'p-' + where, to], 'ctl', log=None
        )

    turn('down')
    return lambda: turn('up')


def _guest(program: str) -> Callable[[paths.Lab, str, str], Back]:
    """A process of the guest, if the host has it at that moment."""

    def hit(lab: paths.Lab, where: str, server: str) -> Back:
        for pid in processes_of(lab, where, program, server):
            os.kill(pid, signal.SIGKILL)
        return lambda: None

    return hit


def processes_of(
    lab: paths.Lab, where: str, program: str, server: str
) -> list[int]:
    """Processes of a host that run a program for a server."""
    init = processes.load(lab, where + '/init')
    if init is None:
        return []
    own = os.readlink(f'/proc/{init["inner"]}/ns/pid')
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            line = (path / 'cmdline').read_bytes().decode(errors='replace')
            space = os.readlink(path / 'ns/pid')
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        argv = line.split('\0')
        if space == own and program in argv[0] and server in line:
            found.append(int(path.name))
    return found


VICTIMS = (
    *(
        Victim(f'{name} of {end}', end, _service(name))
        for name in ('nova-compute', 'korora-agent', 'libvirtd')
        for end in ('source', 'dest')
    ),
    Victim('link of source', 'source', _link),
    Victim('link of dest', 'dest', _link),
    Victim('service', 'control', _control('korora')),
    Victim('MariaDB', 'control', _control('mariadb')),
    Victim('RabbitMQ', 'control', _control('rabbitmq')),
    *(
        Victim(f'{name} of {end}', end, _guest(program), guest=True)
        for name, program in (('QEMU', 'qemu-system'), ('swtpm', 'swtpm'))
        for end in ('source', 'dest')
    ),
)
