# SPDX-License-Identifier: Apache-2.0
"""Processes on the loopback address, with what they wrote and used."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from korora_tools import checkout, ui

LOCAL = '127.0.0.1'
#: Seconds until something that was asked to end is killed, and until
#: something that was started answers.
GRACE = 20.0
PATIENCE = 300.0
_TICK = os.sysconf('SC_CLK_TCK')
_LINES = 15
_FIRST, _PORTS = 20000, 12000

Ready = Callable[[], bool]


class Scratch:
    """A directory that is removed, and the processes that live in it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.path = pathlib.Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix='korora-fleet-',
                    # MariaDB has an account of its own, and TMPDIR may be
                    # somebody's alone.
                    dir='/var/tmp',
                    ignore_cleanup_errors=True,
                )
            )
        )
        self.path.chmod(0o711)
        self.log = self.path / 'log'
        self.log.mkdir()
        self._stack = stack
        self._ports: set[int] = set()

    def port(self) -> int:
        """A port that nobody listens at, below those of outgoing calls."""
        # Another run of this may be looking, too.
        for step in range(_PORTS):
            number = _FIRST + (os.getpid() * 64 + step) % _PORTS
            if number in self._ports:
                continue
            with socket.socket() as one:
                try:
                    one.bind((LOCAL, number))
                except OSError:
                    continue
            self._ports.add(number)
            return number
        raise ui.Problem('no port of the loopback address is free')

    def environment(self, **more: str) -> dict[str, str]:
        """A clean one: this checkout, its virtual environment, no proxies."""
        return {
            'PATH': f'{checkout.BIN}:/usr/sbin:/usr/bin:/sbin:/bin',
            'HOME': str(self.path),
            'LANG': 'C.UTF-8',
            'PYTHONPATH': str(checkout.ROOT),
            'PYTHONWARNINGS': 'ignore',
            'PYTHONDONTWRITEBYTECODE': '1',
            **more,
        }

    def run(self, argv: Sequence[str], *, stdin: str = '', **env: str) -> str:
        """Run a command to its end; returns what it said.

        :raises Problem: it failed.
        """
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            errors='replace',
            env=self.environment(**env),
            cwd=self.path,
        )
        if done.returncode:
            tail = (done.stdout + done.stderr).splitlines()[-_LINES:]
            raise ui.Problem(
                f'{" ".join(argv[:4])} ended with {done.returncode}:\n  '
                + '\n  '.join(tail)
            )
        return done.stdout

    def process(
        self,
        name: str,
        argv: Sequence[str],
        ready: Ready,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start one; it ends with the stack."""
        made = Process(self, name, argv, ready, env or {})
        self._stack.callback(made.end)
        made.start()
        return made


class Process:
    """One process, with all that it starts, in a session of its own."""

    def __init__(
        self,
        scratch: Scratch,
        name: str,
        argv: Sequence[str],
        ready: Ready,
        env: Mapping[str, str],
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self._ready = ready
        self._env = scratch.environment(**env)
        self._log = scratch.log / f'{name}.out'
        self._cwd = scratch.path
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, *more: str) -> None:
        """Start it, unless it runs.

        :param more: arguments of this start only.
        """
        with self._lock:
            if self.alive:
                return
            with open(self._log, 'ab') as out:
                self._process = subprocess.Popen(
                    [*self.argv, *more],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                )

    def wait(self, patience: float = PATIENCE) -> None:
        """Until it answers.

        :raises Problem: it ended, or takes too long.
        """
        ui.wait(
            self.name,
            self._ready,
            patience,
            alive=lambda: None if self.alive else 'it has ended' + self.tail(),
        )

    def answers(self) -> bool:
        return self.alive and self._ready()

    @property
    def pid(self) -> int:
        """Of its first process, which is its session, too."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tail(self) -> str:
        """The last lines that it wrote."""
        lines = self._log.read_text(errors='replace').splitlines()[-_LINES:]
        return '; its last words:\n  ' + '\n  '.join(lines)

    def signal(self, number: int) -> None:
        """To all that belongs to it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()

    def end(self) -> None:
        """Ask it to end, then kill it."""
        if self._process is None:
            return
        # One that was stopped hears nothing else.
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        self.kill()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It holds its connections, and says nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def cpu(self) -> float:
        """Seconds of CPU, user and system, of all its processes so far."""
        ticks = 0
        for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
            try:
                # proc(5), after the name: state ppid pgrp session ...
                fields = stat.read_text().rpartition(')')[2].split()
            except OSError:
                continue
            if fields[3] == str(self.pid):
                ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICK


def listening(port: int) -> Ready:
    """Whether somebody accepts connections there."""

    def check() -> bool:
        try:
            socket.create_connection((LOCAL, port), 1).close()
        except OSError:
            return False
        return True

    return check


def settle(seconds: float) -> None:
    """Let what was just started or loaded come to rest."""
    time.sleep(seconds)
