# SPDX-License-Identifier: Apache-2.0
"""One directory that several hosts mount: GlusterFS with a single brick.

A file system that the kernel of this machine need not know, and that libvirt
takes for shared: it refuses to migrate servers whose disks are on a local one.
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Sequence

from korora_tools import ui
from korora_tools.lab import paths, processes

PACKAGES = ('glusterfs-client',)
SERVICE = 'gluster'
PORT = 24010
_SERVER = """\
volume posix
  type storage/posix
  option directory {brick}
end-volume
volume servers
  type features/locks
  subvolumes posix
end-volume
volume server
  type protocol/server
  option transport-type tcp
  option transport.socket.bind-address {address}
  option transport.socket.listen-port {port}
  option auth.addr.servers.allow *
  subvolumes servers
end-volume
"""
_CLIENT = """\
volume servers
  type protocol/client
  option transport-type tcp
  option remote-host {address}
  option remote-port {port}
  option remote-subvolume servers
end-volume
"""


def start(lab: paths.Lab, hosts: Sequence[str]) -> None:
    """Serve the directory, and mount it in these hosts."""
    for path in (lab.brick, lab.shared):
        path.mkdir(exist_ok=True)
    place = {'address': paths.CTL_IP, 'port': PORT, 'brick': lab.brick}
    _spawn(lab, SERVICE, 'ctl', 'glusterfsd', _SERVER.format(**place))
    for host in hosts:
        name = f'{host}/{SERVICE}'
        text = _CLIENT.format(**place)
        _spawn(lab, name, host, 'glusterfs', text, str(lab.shared))
    for host in hosts:
        there = functools.partial(_mounted, lab, host)
        ui.wait(f'{lab.shared} in {host}', there, 30)


def stop(lab: paths.Lab, hosts: Sequence[str]) -> None:
    """The hosts first: they unmount it."""
    processes.stop(lab, [f'{host}/{SERVICE}' for host in hosts])
    processes.stop(lab, [SERVICE])


def _spawn(
    lab: paths.Lab,
    name: str,
    place: str,
    program: str,
    volume: str,
    *mount: str,
) -> None:
    stem = name.replace('/', '-')
    path = lab.etc / f'{stem}.vol'
    path.write_text(volume)
    log = lab.log / f'{stem}.log'
    # It would make a directory of one that is not there.
    log.touch()
    processes.spawn(
        lab,
        name,
        [program, '-N', '-f', str(path), '-l', str(log), *mount],
        place,
    )


def _mounted(lab: paths.Lab, host: str) -> bool:
    record = processes.load(lab, host + '/init')
    if record is None:
        return False
    mounts = pathlib.Path(f'/proc/{record["inner"]}/mounts').read_text()
    return any(
        line.split()[1:3] == [os.fspath(lab.shared), 'fuse.glusterfs']
        for line in mounts.splitlines()
    )
