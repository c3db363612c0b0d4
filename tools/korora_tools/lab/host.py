# SPDX-License-Identifier: Apache-2.0
"""One compute host: namespaces, libvirtd, nova-compute, korora-agent.

A host owns net, mount, uts, ipc and pid namespaces. Its files lie under
hosts/hN and are bind-mounted over the usual places, so that libvirt, swtpm,
Nova and the agent find their own /etc, /run and /var. Switching a host off
is one SIGKILL to its PID 1: the kernel ends everything inside.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import time
import uuid

from korora_tools import ui
from korora_tools.lab import hostconfig, paths, pki, processes, ssh

# Whoever runs swtpm: known only when its packages are installed.
SWTPM = 'swtpm'
# Directories of a host: path inside it -> owner and mode.
PRIVATE = {
    '/etc/libvirt': ('root', 0o755),
    '/etc/pki': ('root', 0o755),
    '/etc/ssh': ('root', 0o755),
    '/etc/korora': ('root', 0o755),
    '/var/lib/libvirt': ('root', 0o755),
    '/var/lib/korora': ('root', 0o755),
    '/var/lib/swtpm-localca': (SWTPM, 0o750),
    '/var/log/libvirt': ('root', 0o755),
    '/var/log/swtpm': (SWTPM, 0o755),
    '/var/cache/libvirt': ('root', 0o755),
}
FILES = ('/etc/hosts', '/etc/hostname', '/etc/machine-id')
SERVICES = (
    'virtlogd',
    'libvirtd',
    ssh.SERVICE,
    'nova-compute',
    'korora-agent',
)


def service(host: str, name: str) -> str:
    return f'{host}/{name}'


def run(lab: paths.Lab, host: str, *argv: str) -> str:
    """Run a command inside a host."""
    return processes.run(lab, argv, host)


# -- the host's own files -------------------------------------------------


def prepare(lab: paths.Lab, host: str, stock: bool) -> None:
    """Lay out everything a host keeps over a reboot."""
    root = lab.host(host)
    for path, (owner, mode) in PRIVATE.items():
        inside = root / path.lstrip('/')
        if path == '/etc/libvirt' and not inside.exists():
            _copy_libvirt(inside)
        inside.mkdir(parents=True, exist_ok=True)
        if owner == SWTPM:
            owner = hostconfig.swtpm_user()
        shutil.chown(inside, owner, owner)
        inside.chmod(mode)
    # libvirt's daemon and QEMU's user meet below these.
    for path in ('etc', 'var', 'var/lib', 'var/log', 'var/cache'):
        (root / path).chmod(0o755)
    root.chmod(0o755)
    for name in ('instances', 'nova', 'hwtpm', 'securityfs'):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(0o755)
    (root / 'etc/hostname').write_text(host + '\n')
    (root / 'etc/hosts').write_text(
        f'127.0.0.1 localhost\n{paths.CTL_IP} ctl\n'
        + ''.join(f'{a} {h}\n' for h, a in paths.HOSTS.items())
    )
    number = _uuid(root / 'host-uuid')
    (root / 'etc/machine-id').write_text(number.hex + '\n')
    ssh.prepare(lab, host)
    if not stock:
        pki.prepare(lab, host)
    hostconfig.libvirt(root, host, number, stock)
    hostconfig.nova_compute(lab, host, stock)


def _uuid(path: pathlib.Path) -> uuid.UUID:
    if not path.exists():
        path.write_text(str(uuid.uuid4()))
    return uuid.UUID(path.read_text())


def _copy_libvirt(target: pathlib.Path) -> None:
    """The distribution's configuration without any guest or network."""
    shutil.copytree(
        '/etc/libvirt',
        target,
        symlinks=True,
        ignore=shutil.ignore_patterns('autostart', 'secrets'),
    )
    for guest in target.glob('qemu/*.xml'):
        guest.unlink()


# -- power ----------------------------------------------------------------


def switch_on(lab: paths.Lab, host: str) -> None:
    """Start the namespaces and wait until the host's files are in place."""
    root = lab.host(host)
    (root / 'ready').unlink(missing_ok=True)
    record = processes.spawn(
        lab,
        service(host, 'init'),
        [
            'unshare',
            '--mount',
            '--uts',
            '--ipc',
            '--pid',
            '--fork',
            '--mount-proc',
            '--kill-child',
            '/usr/bin/python3',
            str(pathlib.Path(__file__).with_name('hostinit.py')),
            host,
            str(root),
            *_binds(lab, host),
        ],
        place=host + '-net',
    )
    processes.wait_for(lab, service(host, 'init'), (root / 'ready').exists, 20)
    record['inner'] = _child(record['pid'])
    processes.save(lab, service(host, 'init'), record)


def _binds(lab: paths.Lab, host: str) -> list[str]:
    root = lab.host(host)
    pairs = [(root / p.lstrip('/'), p) for p in (*PRIVATE, *FILES)]
    pairs += [
        (root / 'instances', str(lab.instances)),
        (root / 'hwtpm', '/run/hwtpm'),
        (root / 'securityfs', '/run/securityfs'),
    ]
    return ['{}:{}'.format(*pair) for pair in pairs]


def _child(pid: int) -> int:
    children = pathlib.Path(f'/proc/{pid}/task/{pid}/children')
    return int(children.read_text().split()[0])


def switch_off(lab: paths.Lab, host: str) -> None:
    """Pull the plug: guests and services die at once."""
    record = processes.load(lab, service(host, 'init'))
    if record and processes.alive(record):
        # unshare --kill-child takes PID 1 with it, and PID 1 everything.
        os.kill(record['pid'], signal.SIGKILL)
        end = time.monotonic() + 10
        while processes.alive(record) and time.monotonic() < end:
            time.sleep(0.02)
            processes.reap([record])
    processes.stop(lab, [service(host, name) for name in SERVICES], grace=5)


# -- services -------------------------------------------------------------


def start_libvirt(lab: paths.Lab, host: str) -> None:
    processes.spawn(
        lab,
        service(host, 'virtlogd'),
        ['virtlogd', '--pid-file', '/run/libvirt/virtlogd.pid'],
        host,
    )
    processes.spawn(
        lab,
        service(host, 'libvirtd'),
        ['libvirtd', '--listen', '--pid-file', '/run/libvirt/libvirtd.pid'],
        host,
    )

    def ready() -> bool:
        try:
            run(lab, host, 'virsh', '-c', 'qemu:///system', 'list')
        except ui.Problem:
            return False
        return True

    processes.wait_for(lab, service(host, 'libvirtd'), ready, 30)


def start_compute(lab: paths.Lab, host: str) -> None:
    """And sshd, by which Nova copies the disks of cold migrations."""
    ssh.start(lab, host)
    processes.spawn(
        lab,
        service(host, 'nova-compute'),
        [
            'nova-compute',
            '--config-file',
            str(hostconfig.nova_file(lab, host)),
        ],
        host,
    )


def start_agent(lab: paths.Lab, host: str) -> None:
    processes.spawn(
        lab,
        service(host, 'korora-agent'),
        ['korora-agent', '--config-file', '/etc/korora/agent.conf'],
        host,
    )
