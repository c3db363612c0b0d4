# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: one for the control plane, one per compute host.

korora-ctl holds a bridge with 10.77.0.1; korora-hN hangs on it with its own
address. Nothing of the lab listens in the machine's own namespace.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterator

from korora_tools import ui
from korora_tools.lab import paths


def _ip(*arguments: str) -> None:
    done = subprocess.run(['ip', *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ui.Problem(
            'ip {}: {}'.format(' '.join(arguments), done.stderr.strip())
        )


def all_names() -> list[str]:
    return [paths.CTL, *(paths.netns(h) for h in paths.HOSTS)]


def exists(name: str) -> bool:
    return pathlib.Path('/run/netns', name).exists()


def pids(name: str) -> list[int]:
    """Processes in one of the lab's own namespaces."""
    done = subprocess.run(
        ['ip', 'netns', 'pids', name], capture_output=True, text=True
    )
    return [int(word) for word in done.stdout.split()]


def create() -> None:
    """Make the bridge and one veth pair per host.

    :raises Problem: ip(8) failed.
    """
    _ip('netns', 'add', paths.CTL)
    _ip('-n', paths.CTL, 'link', 'set', 'lo', 'up')
    _ip('-n', paths.CTL, 'link', 'add', 'br0', 'type', 'bridge')
    _ip('-n', paths.CTL, 'addr', 'add', paths.CTL_IP + '/24', 'dev', 'br0')
    _ip('-n', paths.CTL, 'link', 'set', 'br0', 'up')
    for host, address in paths.HOSTS.items():
        name = paths.netns(host)
        _ip('netns', 'add', name)
        _ip(
            'link',
            'add',
            'eth0',
            'netns',
            name,
            'type',
            'veth',
            'peer',
            'name',
            'p-' + host,
            'netns',
            paths.CTL,
        )
        _ip('-n', paths.CTL, 'link', 'set', 'p-' + host, 'master', 'br0')
        _ip('-n', paths.CTL, 'link', 'set', 'p-' + host, 'up')
        _ip('-n', name, 'addr', 'add', address + '/24', 'dev', 'eth0')
        _ip('-n', name, 'link', 'set', 'eth0', 'up')
        _ip('-n', name, 'link', 'set', 'lo', 'up')


def delete() -> None:
    """End whatever is left inside the namespaces, then remove them."""
    for name in reversed(all_names()):
        if not exists(name):
            continue
        end = time.monotonic() + 5
        while (left := pids(name)) and time.monotonic() < end:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)
        _ip('netns', 'del', name)


@contextlib.contextmanager
def slow(host: str) -> Iterator[None]:
    """Make a host's network so slow that a stream can be caught."""
    qdisc = ['netns', 'exec', paths.netns(host), 'tc', 'qdisc']
    shape = 'tbf rate 24mbit burst 64kb latency 400ms'.split()
    _ip(*qdisc, 'add', 'dev', 'eth0', 'root', *shape)
    try:
        yield
    finally:
        _ip(*qdisc, 'del', 'dev', 'eth0', 'root')
