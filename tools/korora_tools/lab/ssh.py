# SPDX-License-Identifier: Apache-2.0
"""sshd of a compute host: Nova copies disks with it in a cold migration.

A host's files are bind-mounted over /etc/ssh inside it. All hosts share one
key pair, as Nova's guides say.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess

from korora_tools import ui
from korora_tools.lab import paths, processes

SERVICE = 'sshd'


def prepare(lab: paths.Lab, host: str) -> None:
    """Write a host's /etc/ssh."""
    etc = lab.host(host) / 'etc/ssh'
    etc.mkdir(parents=True, exist_ok=True)
    etc.chmod(0o755)
    shared = _key(lab)
    for name, mode in (('id', 0o600), ('id.pub', 0o644)):
        target = etc / name
        shutil.copy(shared.with_name(name), target)
        target.chmod(mode)
    shutil.copy(etc / 'id.pub', etc / 'authorized_keys')
    (etc / 'ssh_config').write_text(
        'Host *\n'
        '  IdentityFile /etc/ssh/id\n'
        '  StrictHostKeyChecking no\n'
        '  UserKnownHostsFile /dev/null\n'
        '  LogLevel ERROR\n'
    )
    (etc / 'sshd_config').write_text(
        f'ListenAddress {paths.HOSTS[host]}\n'
        'HostKey /etc/ssh/id\n'
        'PidFile none\n'
        'UsePAM no\n'
        'PasswordAuthentication no\n'
        'PermitRootLogin prohibit-password\n'
        'AuthorizedKeysFile /etc/ssh/authorized_keys\n'
        'StrictModes no\n'
        'MaxStartups 100\n'
        'Subsystem sftp internal-sftp\n'
    )


def _key(lab: paths.Lab) -> pathlib.Path:
    return lab.cache / 'ssh/id'


def make_key(lab: paths.Lab) -> None:
    """What all hosts will share, unless it is there.

    :raises Problem: ssh-keygen failed.
    """
    key = _key(lab)
    if key.exists():
        return
    key.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', str(key)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise ui.Problem(f'ssh-keygen: {done.stderr.strip()}')


def start(lab: paths.Lab, host: str) -> None:
    processes.spawn(
        lab,
        f'{host}/{SERVICE}',
        ['/usr/sbin/sshd', '-D', '-e', '-f', '/etc/ssh/sshd_config'],
        host,
    )
