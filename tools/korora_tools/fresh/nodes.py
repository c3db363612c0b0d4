# SPDX-License-Identifier: Apache-2.0
"""The two nodes that follow the guide, each a bare Debian of its own.

``controller`` is in the network of the lab's control plane, ``compute`` in
the namespaces of the lab's host h1; both see of the lab what a node sees of
its cloud: addresses, Nova's environment and nova.conf, and on the host
libvirt's socket, a TPM and the kernel's logs. The lab's networks have no way
out, so what fetches packages runs in the machine's.
"""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping

from korora_tools import checkout, ui
from korora_tools.fresh import units
from korora_tools.lab import hostconfig, paths, processes

HOST = 'h1'
FETCHES = re.compile(r'(apt-get|git|\S*/pip) ')
PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
NOTIFY = '/var/lib/fresh-notify'
REPOSITORY = '/srv/korora-nova.git'
STARTUP = 90.0


class Node:
    """A bare system at `root`, entered by the prefix `into`."""

    def __init__(
        self,
        name: str,
        root: pathlib.Path,
        into: list[str],
        outside: list[str],
        log: pathlib.Path,
    ) -> None:
        self.name = name
        self.root = root
        self.log = log
        self._into = into
        self._outside = outside
        self._services: dict[str, subprocess.Popen[bytes]] = {}

    # -- making it --------------------------------------------------------

    def mount(self, *words: str) -> None:
        """Mount as the node sees it; the last word is below its root."""
        target = str(self.root) + words[-1]
        call([*self._into, 'mount', *words[:-1], target])

    def bind(self, source: str | pathlib.Path, target: str) -> None:
        """Show a file or directory of the lab in the node."""
        place = self.root / target.lstrip('/')
        if os.path.isdir(source):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        self.mount('--rbind', str(source), target)

    def shell(self, text: str) -> None:
        """Do a thing of the cloud's, not of the guide's.

        :raises Problem: it failed.
        """
        code, output = self.run(text)
        if code:
            raise ui.Problem(f'{self.name}: {text}\n{output}')

    # -- following the guide ----------------------------------------------

    def run(
        self, text: str, env: Mapping[str, str] | None = None, stdin: str = ''
    ) -> tuple[int, str]:
        """Run a line of shell; its exit code and output."""
        into = self._outside if FETCHES.match(text) else self._into
        done = subprocess.run(
            [
                *into,
                'chroot',
                str(self.root),
                *environment(env),
                'bash',
                '-o',
                'pipefail',
                '-ec',
                'cd /root; ' + text,
            ],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
        )
        return done.returncode, done.stdout

    def read(self, path: str) -> str:
        code, output = self.run(f'cat {path}')
        if code:
            raise ui.Problem(f'{self.name}: {output.strip()}')
        return output

    def write(self, path: str, text: str) -> None:
        """New contents for a file; who may read it stays as it is."""
        code, output = self.run(f'cat > {path}', stdin=text)
        if code:
            raise ui.Problem(f'{self.name}: {output.strip()}')

    # -- services ---------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a unit as systemd would.

        :raises Problem: it does not start.
        :raises UnitError: its file uses what :mod:`units` does not know.
        """
        unit = units.read(self.read(f'/etc/systemd/system/{name}.service'))
        env, ready = {'PATH': PATH, 'LANG': 'C.UTF-8'}, None
        if unit.notify:
            ready = self._notified()
            env['NOTIFY_SOCKET'] = NOTIFY
        with self.log.open('ab') as log:
            process = subprocess.Popen(
                [
                    *self._into,
                    'unshare',
                    '--mount',
                    '--propagation',
                    'private',
                    'chroot',
                    str(self.root),
                    *_bare(env),
                    'sh',
                    '-c',
                    unit.script,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._services[name] = process
        if ready is not None:
            _await(ready, process, f'{self.name}: {name}')
        if unit.after is not None:
            code, output = self.run(f'timeout {STARTUP:.0f} {unit.after}')
            if code:
                raise ui.Problem(f'ExecStartPost ended with {code}: ' + output)
        self.check()

    def _notified(self) -> socket.socket:
        path = self.root / NOTIFY.lstrip('/')
        path.unlink(missing_ok=True)
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(str(path))
        path.chmod(0o666)
        return ready

    def check(self) -> None:
        """A service that has ended is an error of the guide."""
        for name, process in self._services.items():
            if process.poll() is not None:
                raise ui.Problem(
                    f'{self.name}: {name} has ended with '
                    f'{process.returncode}; {self.tail()}'
                )

    def tail(self, count: int = 12) -> str:
        """The end of what its services said."""
        if not self.log.exists():
            return 'no log'
        lines = self.log.read_text(errors='replace').splitlines()
        return 'its log ends with:\n  ' + '\n  '.join(lines[-count:])


def _await(
    ready: socket.socket, process: subprocess.Popen[bytes], name: str
) -> None:
    """Wait for READY=1 (sd_notify(3)).

    :raises Problem: it ended or took too long.
    """
    end = time.monotonic() + STARTUP
    with ready:
        ready.settimeout(1)
        while process.poll() is None and time.monotonic() < end:
            try:
                if 'READY=1' in ready.recv(4096).decode().splitlines():
                    return
            except TimeoutError:
                continue
    raise ui.Problem(f'{name} does not say that it is ready')


def environment(env: Mapping[str, str] | None) -> list[str]:
    """A login's environment, as a command prefix."""
    return _bare(
        {
            'PATH': PATH,
            'HOME': '/root',
            'LANG': 'C.UTF-8',
            'TERM': 'dumb',
            'DEBIAN_FRONTEND': 'noninteractive',
            **{k: v for k, v in os.environ.items() if k.startswith('PIP_')},
            **(env or {}),
        }
    )


def _bare(env: Mapping[str, str]) -> list[str]:
    return ['env', '-i', *(f'{k}={v}' for k, v in env.items())]


def call(argv: list[str]) -> str:
    """Run what has to work.

    :raises Problem: it did not.
    """
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        errors='replace',
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise ui.Problem(
            f'{" ".join(argv)} ended with {done.returncode}: '
            + done.stderr.strip()
        )
    return done.stdout


# -- the two --------------------------------------------------------------


def controller(
    lab: paths.Lab, top: pathlib.Path, shown: Iterable[str]
) -> Node:
    """The node of the control plane, beside the lab's own services."""
    node = Node(
        'controller',
        top / 'controller',
        processes.into(lab, 'ctl'),
        [],
        top / 'controller.log',
    )
    _furnish(node, shown)
    node.mount('-t', 'tmpfs', 'tmpfs', '/run')
    node.bind(checkout.VENV, str(checkout.VENV))
    node.bind(lab.etc / 'nova/nova-scheduler/nova.conf', '/etc/nova/nova.conf')
    return node


def compute(lab: paths.Lab, top: pathlib.Path, shown: Iterable[str]) -> Node:
    """The host h1: its kernel, TPM and libvirt, its Nova's environment."""
    into = processes.into(lab, HOST)
    outside = [word for word in into if word != '--net']
    node = Node('compute', top / 'compute', into, outside, top / 'compute.log')
    _furnish(node, shown)
    node.bind('/run', '/run')
    logs = {
        'tpm0': 'binary_bios_measurements',
        'ima': 'binary_runtime_measurements',
    }
    node.mount('-t', 'tmpfs', 'tmpfs', '/sys/kernel/security')
    for name, log in logs.items():
        node.shell(
            f'mkdir /sys/kernel/security/{name}; ln -s '
            f'/run/securityfs/{log} /sys/kernel/security/{name}/'
        )
    # Nova's environment of this host is not that of the controller.
    layers = top / 'layers'
    for name in ('upper', 'work'):
        (layers / name).mkdir(parents=True, exist_ok=True)
    call(
        [
            *into,
            'mount',
            '-t',
            'overlay',
            'overlay',
            '-o',
            f'lowerdir={checkout.VENV},upperdir={layers}/upper,'
            f'workdir={layers}/work',
            str(checkout.VENV),
        ]
    )
    node.bind(checkout.VENV, str(checkout.VENV))
    node.bind(hostconfig.nova_file(lab, HOST), '/etc/nova/nova.conf')
    return node


def _furnish(node: Node, shown: Iterable[str]) -> None:
    """What every running machine has, and where packages come from."""
    for kind in ('proc', 'sys', 'dev'):
        node.mount('--rbind', '/' + kind, '/' + kind)
    for path in shown:
        node.bind(path, path)
    node.bind(REPOSITORY, REPOSITORY)
    (node.root / 'etc/hosts').write_text(
        f'127.0.0.1 localhost\n{paths.CTL_IP} controller\n'
    )
    (node.root / 'etc/apt/apt.conf.d/91answers').write_text(
        'APT::Get::Assume-Yes "true";\n'
    )
    node.shell('apt-get -q update')
    # Every machine was booted with it; the guide uses its small programs.
    node.shell('apt-get -q install --no-install-recommends systemd')
