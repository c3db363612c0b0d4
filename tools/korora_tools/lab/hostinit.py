# SPDX-License-Identifier: Apache-2.0
"""PID 1 of one compute host, inside its own namespaces.

``python3 hostinit.py NAME DIRECTORY BIND...`` where BIND is SOURCE:TARGET.
Gives the host its own files in the usual places, then collects orphans at
once: a QEMU that nobody reaps costs a live migration 1.5 s.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys


def mount(*arguments: str) -> None:
    subprocess.run(['mount', *arguments], check=True)


def reap() -> None:
    """Wait for children for ever; they may come at any time."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigtimedwait({signal.SIGCHLD}, 1)


def main() -> None:
    name, directory, *binds = sys.argv[1:]
    socket.sethostname(name)
    mount('--make-rprivate', '/')
    mount('-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run')
    for name in ('lock', 'libvirt', 'hwtpm', 'securityfs', 'korora', 'sshd'):
        os.makedirs('/run/' + name)
    # A sysfs that shows this host's network devices only.
    mount('-t', 'sysfs', 'sysfs', '/sys')
    for bind in binds:
        source, _, target = bind.partition(':')
        mount('--bind', source, target)
    mount(
        '-t',
        'devpts',
        '-o',
        'newinstance,ptmxmode=0666,gid=5,mode=620',
        'devpts',
        '/dev/pts',
    )
    mount('--bind', '/dev/pts/ptmx', '/dev/ptmx')
    pathlib.Path(directory, 'ready').touch()
    reap()


if __name__ == '__main__':
    main()
