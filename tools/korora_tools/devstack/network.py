# SPDX-License-Identifier: Apache-2.0
"""Nodes' networks: a LAN of their own, and a way out that can be closed.

Each node is a network namespace with two interfaces: ``lan0`` on a bridge
that exists in a namespace of its own, and ``tap0``, user-mode networking by
slirp4netns, for packages. Nothing outside can open a connection to a node.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import time

from korora_tools import ui
from korora_tools.devstack import paths

LAN = 'korora-ds-lan'


def namespace(name: str) -> str:
    return f'korora-ds-{name}'


def _ip(*arguments: str, netns: str | None = None) -> None:
    where = ['-n', netns] if netns else []
    done = subprocess.run(
        ['ip', *where, *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise ui.Problem(f'ip {" ".join(arguments)}: {done.stderr.strip()}')


def exists(netns: str) -> bool:
    return pathlib.Path('/run/netns', netns).exists()


def up(work: paths.Work, name: str) -> None:
    """Make a node's namespace, connected to the LAN and to the outside."""
    if not exists(LAN):
        _ip('netns', 'add', LAN)
        _ip('link', 'add', 'br0', 'type', 'bridge', netns=LAN)
        _ip('link', 'set', 'br0', 'up', netns=LAN)
    netns = namespace(name)
    if not exists(netns):
        _ip('netns', 'add', netns)
        _ip('link', 'set', 'lo', 'up', netns=netns)
        _ip(
            'link',
            'add',
            'lan0',
            'type',
            'veth',
            'peer',
            'name',
            name,
            'netns',
            LAN,
            netns=netns,
        )
        _ip('link', 'set', name, 'master', 'br0', 'up', netns=LAN)
        _ip(
            'address',
            'add',
            f'{paths.ADDRESSES[name]}/{paths.LAN_PREFIX}',
            'dev',
            'lan0',
            netns=netns,
        )
        _ip('link', 'set', 'lan0', 'up', netns=netns)
    open_way_out(work, name)


def _pid_file(work: paths.Work, name: str) -> pathlib.Path:
    return work.run / f'{name}.slirp'


def open_way_out(work: paths.Work, name: str) -> None:
    """Start slirp4netns on a node's namespace, unless it runs."""
    if _alive(_pid_file(work, name)):
        return
    with (work.log / f'{name}.slirp.log').open('w') as log:
        process = subprocess.Popen(
            [
                'slirp4netns',
                '--configure',
                '--mtu=1500',
                '--disable-host-loopback',
                '--netns-type=path',
                f'/run/netns/{namespace(name)}',
                'tap0',
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _pid_file(work, name).write_text(str(process.pid))
    ui.wait(
        f"{name}'s way out",
        lambda: _has_tap(name),
        20,
        alive=lambda: 'slirp4netns ended' if process.poll() else None,
    )


def _has_tap(name: str) -> bool:
    out = subprocess.run(
        ['ip', '-n', namespace(name), '-o', 'route', 'show', 'default'],
        capture_output=True,
        text=True,
    ).stdout
    return 'tap0' in out


def close_way_out(work: paths.Work, name: str) -> None:
    """From here on the node reaches its LAN and nothing else."""
    path = _pid_file(work, name)
    if pid := _alive(path):
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 10
        while _alive(path) and time.monotonic() < end:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.1)
    path.unlink(missing_ok=True)


def _alive(path: pathlib.Path) -> int | None:
    """The pid in a file, if it still is a slirp4netns."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(path.read_text())
        command = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
        if command.startswith(b'slirp4netns'):
            return pid
    return None


def down(work: paths.Work, name: str) -> None:
    close_way_out(work, name)
    if exists(namespace(name)):
        _ip('netns', 'del', namespace(name))
    left = [n for n in paths.ADDRESSES if exists(namespace(n))]
    if not left and exists(LAN):
        _ip('netns', 'del', LAN)
