# SPDX-License-Identifier: Apache-2.0
"""A bare Debian, and a container to run commands in it.

The system is what debootstrap calls minbase: no Python, no git, no init.
systemd-nspawn gives it its own /proc, /sys, /dev, network, process ids, name
and IPC; slirp4netns gives the network a way out. All processes are in a PID
namespace whose first process dies with this program, and all mounts are in
its mount namespace, so that only files can ever be left over; they lie below
one directory and are removed by the next run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from korora_tools import setup, ui
from korora_tools.fresh import sources

PACKAGES = ('debootstrap', 'slirp4netns', 'systemd-container', 'git')
RESOLVER = '10.0.2.3'
"""slirp4netns's own."""
WEEK = 7 * 86400.0
STARTUP = 60.0
PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

# Whatever is run by this dies, with its mounts, when this program does.
MORTAL = (
    'setpriv',
    '--pdeathsig',
    'KILL',
    'unshare',
    '--mount',
    '--propagation',
    'private',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
)
# The host's systemd, if any, is neither seen nor told.
_OUTER = 'mkdir -p /run/systemd; mount -t tmpfs tmpfs /run/systemd; exec "$@"'
_INNER = 'echo ready; exec sleep infinity'


def directory() -> pathlib.Path:
    return pathlib.Path(
        os.environ.get('KORORA_FRESH_DIR', '/var/tmp/korora-fresh')
    ).absolute()


@contextlib.contextmanager
def exclusive(where: pathlib.Path) -> Iterator[None]:
    """One run at a time in a directory."""
    where.mkdir(parents=True, exist_ok=True)
    with (where / 'lock').open('w') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ui.Problem(
                f'another run uses {where}; wait for it, or name another '
                'directory (--dir)'
            ) from None
        yield


def remove(path: pathlib.Path) -> None:
    """Remove a tree, never what is mounted in it.

    :raises Problem: some of it cannot be removed.
    """
    done = subprocess.run(
        ['rm', '-rf', '--one-file-system', '--', str(path)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ui.Problem(f'cannot remove {path}: {done.stderr.strip()}')


class Sink(Protocol):
    """Where output goes, such as a file."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class Root:
    """One bare system; use it as a context manager.

    ``with Root(directory, 'trixie') as bare: bare.run(['ls', '/'])``. Files
    of the system are at ``bare.path``; from inside that is ``/``.
    """

    def __init__(self, where: pathlib.Path, release: str) -> None:
        self.where = where
        self.release = release
        self.path = where / 'root'
        self.mirror = sources.this_mirror()
        self._secure = self.mirror.archive.startswith('https:')
        self._processes: list[subprocess.Popen[bytes]] = []
        self._leader = 0

    def __enter__(self) -> Root:
        try:
            self._lay_out()
            self._start()
            if self._secure:
                self.must('update-ca-certificates')
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *what: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything inside and remove the files."""
        if self._leader:
            # With its first process all of the container ends, and then
            # what holds it, in order.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._processes[0].wait(10)
        self._leader = 0
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        if self.path.exists():
            with ui.step('remove the bare system'):
                remove(self.path)
        (self.where / '.#root.lck').unlink(missing_ok=True)

    # -- files ------------------------------------------------------------

    def _lay_out(self) -> None:
        if self.path.exists():
            with ui.step('remove what an earlier run has left'):
                remove(self.path)
        pristine = self._pristine()
        with ui.step(f'a bare {self.release}'):
            call('cp', '-a', '--reflink=auto', str(pristine), str(self.path))
        self._configure()

    def _pristine(self) -> pathlib.Path:
        """Made by debootstrap, and kept for a week."""
        made = self.where / f'pristine-{self.release}'
        stamp = self.where / f'pristine-{self.release}.from'
        with contextlib.suppress(FileNotFoundError):
            age = time.time() - stamp.stat().st_mtime
            if stamp.read_text() == self.mirror.archive and 0 <= age < WEEK:
                return made
        stamp.unlink(missing_ok=True)
        remove(made)
        include = ['--include=ca-certificates'] if self._secure else []
        with ui.step(f'debootstrap {self.release} (a minute or two)'):
            try:
                call(
                    'debootstrap',
                    '--variant=minbase',
                    *include,
                    self.release,
                    str(made),
                    self.mirror.archive,
                )
            except BaseException:
                remove(made)
                raise
        stamp.write_text(self.mirror.archive)
        return made

    def _configure(self) -> None:
        """Packages come from where this machine gets its own."""
        etc = self.path / 'etc'
        (etc / 'apt/sources.list').write_text(
            self.mirror.sources(self.release)
        )
        (etc / 'apt/apt.conf.d/90machine').write_text(
            sources.this_apt_settings()
        )
        if sources.CERTIFICATES.is_dir():
            shutil.copytree(
                sources.CERTIFICATES,
                self.path / str(sources.CERTIFICATES).lstrip('/'),
                dirs_exist_ok=True,
            )
        (etc / 'hostname').write_text('fresh\n')
        (etc / 'hosts').write_text('127.0.0.1 localhost\n127.0.1.1 fresh\n')
        (etc / 'resolv.conf').unlink(missing_ok=True)
        (etc / 'resolv.conf').write_text(f'nameserver {RESOLVER}\n')

    # -- processes --------------------------------------------------------

    def _start(self) -> None:
        with ui.step('its container'):
            outer = self._spawn(
                *MORTAL,
                'sh',
                '-ec',
                _OUTER,
                'sh',
                *self._nspawn(),
                stdout=subprocess.PIPE,
            )
            assert outer.stdout is not None
            if outer.stdout.readline() != b'ready\n':
                raise ui.Problem(
                    'the container does not start; ' + self._complaint()
                )
            self._leader = init_of(outer.pid)
            self._network()

    def _nspawn(self) -> list[str]:
        binds = [f'--bind-ro={path}' for path in sources.binds(os.environ)]
        return [
            'env',
            '-i',
            f'PATH={PATH}',
            'SYSTEMD_NSPAWN_API_VFS_WRITABLE=1',
            'systemd-nspawn',
            '--quiet',
            f'--directory={self.path}',
            '--as-pid2',
            '--register=no',
            '--keep-unit',
            '--machine=korora-fresh',
            '--hostname=fresh',
            '--private-network',
            '--resolv-conf=off',
            '--timezone=off',
            '--link-journal=no',
            '--capability=all',
            '--console=pipe',
            '--bind=/dev/net/tun',
            *binds,
            '/bin/sh',
            '-c',
            _INNER,
        ]

    def _network(self) -> None:
        read, write = os.pipe()
        with os.fdopen(read, 'rb') as ready:
            try:
                self._spawn(
                    'setpriv',
                    '--pdeathsig',
                    'KILL',
                    'slirp4netns',
                    '--configure',
                    '--mtu=1500',
                    '--disable-host-loopback',
                    f'--ready-fd={write}',
                    str(self._leader),
                    'tap0',
                    pass_fds=(write,),
                )
            finally:
                os.close(write)
            if ready.read(1) != b'1':
                raise ui.Problem(
                    'slirp4netns gives no network; ' + self._complaint()
                )

    def _spawn(
        self,
        *argv: str,
        stdout: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """A helper that is ended by `close`."""
        with (self.where / 'container.log').open('ab') as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        self._processes.append(process)
        return process

    def _complaint(self) -> str:
        log = self.where / 'container.log'
        lines = log.read_text(errors='replace').splitlines()[-5:]
        return f'{log} ends with:\n  ' + '\n  '.join(lines)

    # -- commands ---------------------------------------------------------

    def into(self, cwd: str = '/root') -> list[str]:
        """The command prefix that runs something inside, as root.

        Its environment is that of a login on such a machine, with proxies
        and pip's options if this machine has some in its own.
        """
        environment = {
            'PATH': PATH,
            'HOME': '/root',
            'USER': 'root',
            'SHELL': '/bin/bash',
            'TERM': 'dumb',
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
            f'--wdns={cwd}',
            '--',
            'env',
            '-i',
            *(f'{k}={v}' for k, v in environment.items()),
        ]

    def run(
        self, command: str, tell: Sink | None = None, cwd: str = '/root'
    ) -> tuple[int, list[str]]:
        """Run a line of shell to its end.

        :param tell: where its output goes as it comes.
        :returns: exit code and lines of output, errors among them.
        """
        process = subprocess.Popen(
            [*self.into(cwd), 'sh', '-c', command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,
        )
        lines = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip('\n'))
                if tell is not None:
                    tell.write(line)
                    tell.flush()
            return process.wait(), lines
        except BaseException:
            process.kill()
            process.wait()
            raise

    def must(self, command: str, cwd: str = '/root') -> str:
        """Run what has to work; returns its output.

        :raises Problem: it did not work.
        """
        code, lines = self.run(command, cwd=cwd)
        if code:
            raise ui.Problem(
                f'on the bare system, {command} ended with {code}:\n  '
                + '\n  '.join(lines[-12:])
            )
        return '\n'.join(lines)


def call(what: str, *argv: str) -> None:
    """Run `what`, to its end or this program's."""
    done = subprocess.run(
        [*MORTAL, what, *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-12:]
        raise ui.Problem(
            f'{what} ended with {done.returncode}:\n  ' + '\n  '.join(lines)
        )


def init_of(outer: int) -> int:
    """The container's first process, as this machine numbers it."""
    for _ in range(4):
        children = pathlib.Path(f'/proc/{outer}/task/{outer}/children')
        found = children.read_text().split()
        if not found:
            break
        outer = int(found[0])
        status = pathlib.Path(f'/proc/{outer}/status').read_text()
        numbers = next(
            line.split()[1:]
            for line in status.splitlines()
            if line.startswith('NSpid:')
        )
        if len(numbers) == 3 and numbers[-1] == '1':
            return outer
    raise ui.Problem('the container has ended')


def prepare() -> None:
    """Install what this needs of the machine.

    :raises Problem: no root, apt-get failed, or the kernel lacks TUN.
    """
    ui.require_root()
    setup.install(PACKAGES)
    if not pathlib.Path('/dev/net/tun').exists():
        raise ui.Problem(
            'there is no /dev/net/tun, which gives the bare '
            'system its network; try: modprobe tun'
        )
