# SPDX-License-Identifier: Apache-2.0
"""Bare systems that systemd has booted, in one network.

``with Network(where) as net, Machine(net, 'h1', '127.0.79.11') as host:``.
All machines share a network namespace: each has an address of its own on its
loopback interface, slirp4netns is the way out, and nobody outside gets in. A
machine is an overlay on :mod:`.base` in a container. What is run here dies
with this program, and its mounts with it; only files can be left over, below
the directory, and the next run removes them.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Mapping

from korora_tools import ui
from korora_tools.deploy import base
from korora_tools.fresh import root, sources

CACHE = '/root/.cache/pip'
STARTUP = 120.0
LAYERED = '127.0.79.8'
GROUPS = (
    '/sys/fs/cgroup/systemd',
    '/sys/fs/cgroup/unified',
    '/sys/fs/cgroup',
)
_HOLD = 'ip link set lo up; echo ready; exec sleep infinity'
# A kernel's own systemd, if any, is neither seen nor told.
_BOOT = """\
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mount -t overlay overlay \\
    -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
shift 2
exec "$@"
"""


class Network:
    """The namespace, and its way out."""

    def __init__(self, where: pathlib.Path) -> None:
        self.where = where
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Network:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *what: object) -> None:
        self.close()

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._processes.clear()

    @property
    def pid(self) -> int:
        """Of a process in it."""
        return self._processes[0].pid

    def into(self) -> list[str]:
        """The command prefix that runs something in it."""
        return ['nsenter', f'--net=/proc/{self.pid}/ns/net', '--']

    def _start(self) -> None:
        holder = self._spawn(
            'unshare', '--net', 'sh', '-ec', _HOLD, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        if holder.stdout.readline() != b'ready\n':
            raise ui.Problem('there is no network namespace to be had')
        read, write = os.pipe()
        with os.fdopen(read, 'rb') as ready:
            try:
                self._spawn(
                    'slirp4netns',
                    '--configure',
                    '--mtu=1500',
                    '--disable-host-loopback',
                    f'--ready-fd={write}',
                    str(holder.pid),
                    'tap0',
                    pass_fds=(write,),
                )
            finally:
                os.close(write)
            if ready.read(1) != b'1':
                raise ui.Problem(
                    f'slirp4netns gives no network; see {self.where}/net.log'
                )

    def _spawn(
        self,
        *argv: str,
        stdout: int | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> subprocess.Popen[bytes]:
        with (self.where / 'net.log').open('ab') as log:
            process = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'KILL', *argv],
                stdin=subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        self._processes.append(process)
        return process


class Machine:
    """One system; use it as a context manager.

    :param layers: names of what was made by :func:`layer`, the upper first.
    """

    def __init__(
        self,
        net: Network,
        name: str,
        address: str,
        layers: tuple[str, ...] = (),
    ) -> None:
        self.net, self.name, self.address = net, name, address
        self.layers = layers
        self.where = net.where / 'machines' / name
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Machine:
        try:
            self._lay_out()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *what: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything in it and remove its files."""
        self.halt()
        root.remove(self.where)

    def halt(self) -> None:
        """End everything in it; the files stay."""
        if self._leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
        self._leader = 0
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait()
            self._process = None
        for group in self._groups():
            _remove_group(group)

    def _lay_out(self) -> None:
        root.remove(self.where)
        for name in ('upper/etc', 'work', 'root'):
            (self.where / name).mkdir(parents=True)
        etc = self.where / 'upper/etc'
        (etc / 'hostname').write_text(self.name + '\n')
        (etc / 'hosts').write_text(
            f'127.0.0.1 localhost\n{self.address} {self.name}\n'
        )

    def _start(self) -> None:
        lower = [
            *(_layers(self.net) / name for name in self.layers),
            base.ensure(self.net.where),
        ]
        cache = self.net.where / 'pip'
        cache.mkdir(exist_ok=True)
        with (self.net.where / f'{self.name}.log').open('wb') as log:
            self._process = subprocess.Popen(
                [
                    *self.net.into(),
                    *root.MORTAL,
                    'sh',
                    '-ec',
                    _BOOT,
                    'sh',
                    ':'.join(map(str, lower)),
                    str(self.where),
                    *self._nspawn(cache),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self._own_group,
            )
        ui.wait(
            f'systemd of {self.name}', self._booted, STARTUP, alive=self._dead
        )

    def _nspawn(self, cache: pathlib.Path) -> list[str]:
        binds = [f'--bind-ro={path}' for path in sources.binds(os.environ)]
        return [
            'env',
            '-i',
            f'PATH={root.PATH}',
            'SYSTEMD_NSPAWN_USE_CGNS=1',
            'SYSTEMD_NSPAWN_API_VFS_WRITABLE=network',
            'SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1',
            'systemd-nspawn',
            '--quiet',
            f'--directory={self.where}/root',
            '--boot',
            '--register=no',
            '--keep-unit',
            f'--machine=korora-{self.name}',
            f'--hostname={self.name}',
            '--network-namespace-path=/proc/self/ns/net',
            '--resolv-conf=off',
            '--timezone=off',
            '--link-journal=no',
            '--capability=all',
            '--system-call-filter=bpf @keyring mlock mlockall',
            '--console=pipe',
            f'--bind={cache}:{CACHE}',
            *binds,
        ]

    def _groups(self) -> list[pathlib.Path]:
        return [
            pathlib.Path(top, f'korora-{self.name}')
            for top in GROUPS
            if os.path.exists(f'{top}/cgroup.procs')
        ]

    def _own_group(self) -> None:
        """Machines that share one would manage each other's services."""
        for path in self._groups():
            path.mkdir(exist_ok=True)
            (path / 'cgroup.procs').write_text(str(os.getpid()))

    def _dead(self) -> str | None:
        assert self._process is not None
        if self._process.poll() is None:
            return None
        return f'it has ended; see {self.net.where}/{self.name}.log'

    def _booted(self) -> bool:
        assert self._process is not None
        if not self._leader:
            with contextlib.suppress(OSError, ValueError, ui.Problem):
                self._leader = root.init_of(self._process.pid)
        if not self._leader:
            return False
        _, said = self.run('systemctl is-system-running')
        return said.strip() in ('running', 'degraded')

    # -- inside -----------------------------------------------------------

    def into(self) -> list[str]:
        """The command prefix that runs something inside, as root."""
        environment = {
            'PATH': root.PATH,
            'HOME': '/root',
            'LANG': 'C.UTF-8',
            'TERM': 'dumb',
            'DEBIAN_FRONTEND': 'noninteractive',
            **sources.variables(os.environ),
        }
        return [
            'nsenter',
            '--target',
            str(self._leader),
            '--mount',
            '--uts',
            '--ipc',
            '--net',
            '--pid',
            '--cgroup',
            '--root',
            '--wdns=/root',
            '--',
            'env',
            '-i',
            *(f'{k}={v}' for k, v in environment.items()),
        ]

    def run(self, command: str, stdin: bytes = b'') -> tuple[int, str]:
        """Run a line of shell; its exit code and output."""
        done = subprocess.run(
            [*self.into(), 'bash', '-o', 'pipefail', '-c', command],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.returncode, done.stdout.decode(errors='replace')

    def must(self, command: str, stdin: bytes = b'') -> str:
        """Run what has to work; its output.

        :raises Problem: it did not.
        """
        code, said = self.run(command, stdin)
        if code:
            tail = '\n  '.join(said.splitlines()[-15:])
            raise ui.Problem(
                f'{self.name}: {command[:200]} ended with {code}:\n  {tail}'
            )
        return said

    def read(self, path: str) -> bytes:
        """A file of it."""
        return subprocess.run(
            [*self.into(), 'cat', path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout

    def write(
        self, path: str, content: str | bytes, mode: int = 0o644
    ) -> None:
        """A file, new or replaced."""
        if isinstance(content, str):
            content = content.encode()
        self.must(
            f'mkdir -p "$(dirname {path})" && cat > {path} && '
            f'chmod {mode:o} {path}',
            content,
        )

    def copy(self, files: Mapping[str, pathlib.Path]) -> None:
        """Files of this machine, by the path that they get inside."""
        for path, source in files.items():
            self.write(path, source.read_bytes())

    def installs(self, *names: str) -> None:
        """Debian packages, from its mirror or its own files.

        :raises Problem: apt-get failed.
        """
        with ui.step(f'{self.name}: install {" ".join(names)[:60]}'):
            self.must(
                'apt-get -q update && apt-get -q install ' + ' '.join(names)
            )


def layer(net: Network, name: str, script: str) -> str:
    """What a script installs on a bare system, kept for a week.

    :returns: the name, for :class:`Machine`.
    :raises Problem: it failed.
    """
    made, stamp = _layers(net) / name, _layers(net) / f'{name}.by'
    base.ensure(net.where)
    with contextlib.suppress(FileNotFoundError):
        age = time.time() - stamp.stat().st_mtime
        if stamp.read_text() == script and 0 <= age < root.WEEK:
            return name
    stamp.unlink(missing_ok=True)
    root.remove(made)
    with ui.step(f'the layer {name} (minutes)'):
        with Machine(net, name, LAYERED) as machine:
            machine.must(script)
            machine.must('apt-get clean; sync')
            machine.halt()
            made.parent.mkdir(exist_ok=True)
            (machine.where / 'upper').rename(made)
        stamp.write_text(script)
    return name


def _layers(net: Network) -> pathlib.Path:
    return net.where / 'layers'


def _remove_group(path: pathlib.Path) -> None:
    """Remove an empty tree of groups; what is not empty stays."""
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
