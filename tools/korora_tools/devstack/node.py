# SPDX-License-Identifier: Apache-2.0
"""One node: a container with systemd, on an overlay of the bare Debian."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

from korora_tools import ui
from korora_tools.devstack import network, paths, root
from korora_tools.fresh import sources

CGROUPS = (
    '/sys/fs/cgroup/systemd',
    '/sys/fs/cgroup/unified',
    '/sys/fs/cgroup',
)
SIGRTMIN_POWEROFF = signal.SIGRTMIN + 4
DENIED = ('CAP_SYS_RESOURCE',)
SYSTEM_CALLS = (
    'bpf @keyring @clock mlock mlockall perf_event_open open_by_handle_at'
)


class Node:
    """A container, which may run or not."""

    def __init__(self, work: paths.Work, name: str) -> None:
        self.work, self.name = work, name
        self.address = paths.ADDRESSES[name]
        self.files = work.node(name) / 'merged'
        self._pid = work.run / f'{name}.nspawn'

    # -- power ------------------------------------------------------------

    def start(self) -> None:
        """Mount, boot and wait for systemd.

        :raises Problem: it does not come up.
        """
        if self.leader() is not None:
            return
        network.up(self.work, self.name)
        self._mount()
        (self.files / 'etc/hostname').write_text(self.name + '\n')
        (self.files / 'etc/hosts').write_text(
            ''.join(
                f'{address} {name}\n'
                for address, name in (
                    ('127.0.0.1', 'localhost'),
                    *((a, n) for n, a in paths.ADDRESSES.items()),
                )
            )
        )
        with (self.work.log / f'{self.name}.nspawn.log').open('w') as log:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment(),
                preexec_fn=self._own_cgroup,
            )
        self._pid.write_text(str(process.pid))
        ui.wait(
            f'systemd of {self.name}',
            self._booted,
            60,
            alive=lambda: (
                f'see {log.name}' if process.poll() is not None else None
            ),
        )

    def _mount(self) -> None:
        base = self.work.node(self.name)
        for part in ('upper', 'overlay', 'merged'):
            (base / part).mkdir(parents=True, exist_ok=True)
        if not os.path.ismount(self.files):
            subprocess.run(
                [
                    'mount',
                    '-t',
                    'overlay',
                    'overlay',
                    '-o',
                    f'lowerdir={root.ensure(self.work)},'
                    f'upperdir={base}/upper,workdir={base}/overlay',
                    str(self.files),
                ],
                check=True,
            )

    def _command(self) -> list[str]:
        devices = [
            d for d in ('/dev/net/tun', '/dev/kvm') if os.path.exists(d)
        ]
        return [
            'systemd-nspawn',
            '-D',
            str(self.files),
            '--boot',
            '--register=no',
            '--keep-unit',
            f'--machine=ds-{self.name}',
            f'--hostname={self.name}',
            '--network-namespace-path='
            f'/run/netns/{network.namespace(self.name)}',
            '--resolv-conf=off',
            '--timezone=off',
            '--link-journal=no',
            '--capability=all',
            '--drop-capability=' + ','.join(DENIED),
            f'--system-call-filter={SYSTEM_CALLS}',
            '--console=pipe',
            f'--bind-ro={self.work.git}:{paths.GIT}',
            *(f'--bind-ro={path}' for path in sources.binds(os.environ)),
            *(f'--bind={path}' for path in devices),
        ]

    @staticmethod
    def _environment() -> dict[str, str]:
        """Nothing of this session's goes in."""
        return {
            'PATH': os.environ['PATH'],
            'SYSTEMD_NSPAWN_USE_CGNS': '1',
            'SYSTEMD_NSPAWN_API_VFS_WRITABLE': 'network',
            'SYSTEMD_NSPAWN_UNIFIED_HIERARCHY': '1',
        }

    def _cgroups(self) -> list[pathlib.Path]:
        return [
            pathlib.Path(top, f'korora-ds-{self.name}')
            for top in CGROUPS
            if os.path.exists(f'{top}/cgroup.procs')
        ]

    def _own_cgroup(self) -> None:
        """Containers that share one would manage each other's services."""
        for path in self._cgroups():
            path.mkdir(exist_ok=True)
            (path / 'cgroup.procs').write_text(str(os.getpid()))

    def leader(self) -> int | None:
        """The pid of the container's PID 1, if it runs."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(self._pid.read_text())
            command = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
            if f'--machine=ds-{self.name}'.encode() in command.split(b'\0'):
                children = pathlib.Path(f'/proc/{pid}/task/{pid}/children')
                return int(children.read_text().split()[0])
        return None

    def _booted(self) -> bool:
        if self.leader() is None:
            return False
        state = self.output('systemctl is-system-running || true')
        return state.strip() in ('running', 'degraded')

    def stop(self) -> None:
        """Shut down, by force after a minute."""
        leader = self.leader()
        if leader is not None:
            os.kill(leader, SIGRTMIN_POWEROFF)
            end = time.monotonic() + 60
            while self.leader() is not None and time.monotonic() < end:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(int(self._pid.read_text()), os.WNOHANG)
                time.sleep(0.2)
            if (leader := self.leader()) is not None:
                os.kill(leader, signal.SIGKILL)
                time.sleep(1)
        self._pid.unlink(missing_ok=True)
        for path in self._cgroups():
            _remove_cgroup(path)

    def remove(self) -> None:
        """Stop, and forget all that it has written."""
        self.stop()
        network.down(self.work, self.name)
        if os.path.ismount(self.files):
            subprocess.run(['umount', '-l', str(self.files)], check=True)
        shutil.rmtree(self.work.node(self.name), ignore_errors=True)

    # -- inside -----------------------------------------------------------

    def _into(self, user: str) -> list[str]:
        leader = self.leader()
        if leader is None:
            raise ui.Problem(f'the node {self.name} does not run')
        shell = (
            ['bash', '-c']
            if user == 'root'
            else ['runuser', '-l', user, '-s', '/bin/bash', '-c']
        )
        return [
            'nsenter',
            '-t',
            str(leader),
            '-m',
            '-u',
            '-i',
            '-n',
            '-p',
            '-C',
            '-r',
            '-w',
            '--',
            'env',
            '-i',
            'HOME=/root',
            'LANG=C.UTF-8',
            'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:'
            '/bin',
            'TERM=dumb',
            *shell,
        ]

    def run(
        self,
        command: str,
        log: str,
        user: str = 'stack',
        timeout: float = 5400,
    ) -> int:
        """Run a shell command, its output in a log; the exit code."""
        with (self.work.log / log).open('a') as out:
            out.write(f'\n+ {self.name}: {command}\n')
            out.flush()
            return _wait(
                subprocess.Popen(
                    [*self._into(user), command],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                ),
                timeout,
            )

    def output(
        self, command: str, user: str = 'root', timeout: float = 300
    ) -> str:
        """What a shell command prints.

        :raises Problem: it failed.
        """
        done = subprocess.run(
            [*self._into(user), command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise ui.Problem(
                f'{self.name}: {command}: ended with {done.returncode}: '
                + (done.stderr or done.stdout).strip()[-600:]
            )
        return done.stdout

    def interactive(self, argv: Sequence[str]) -> int:
        """A person's command, on their terminal."""
        return subprocess.call([*self._into('root'), ' '.join(argv)])

    def put(self, text: str, path: str, user: str = 'stack') -> None:
        """Write a file inside."""
        subprocess.run(
            [*self._into(user), f'cat > {path}'],
            input=text,
            text=True,
            check=True,
        )

    def copy_to(self, path: str, other: Node) -> None:
        """Replace a directory on another node by this node's, as root."""
        here = subprocess.Popen(
            [*self._into('root'), f'tar -C {path} -c .'],
            stdout=subprocess.PIPE,
        )
        there = subprocess.run(
            [
                *other._into('root'),
                f'rm -rf {path} && install -d -o stack '
                f'-g stack $(dirname {path}) {path} && tar -C {path} -x',
            ],
            stdin=here.stdout,
            capture_output=True,
            text=True,
        )
        if here.wait() or there.returncode:
            raise ui.Problem(
                f'cannot copy {path} from {self.name} to {other.name}: '
                + there.stderr
            )


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return 124
    except BaseException:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise


def _remove_cgroup(path: pathlib.Path) -> None:
    """Remove an empty tree of groups; what is not empty stays."""
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
