# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive this program."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import IO, TypeVar

T = TypeVar('T')

PATIENCE = 90.0
"""Seconds that an interrupted child gets to clean up after itself."""
_running: set[subprocess.Popen[bytes]] = set()
_over = threading.Event()


class Over(Exception):
    """What was begun together has ended early: nothing more is begun."""


@contextlib.contextmanager
def child(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    timeout: float | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, ended on every way out.

    Ctrl-C reaches this program only, which then interrupts the child's whole
    process group and waits for it. After `timeout` seconds the child is
    interrupted, too.
    """
    process = subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    _running.add(process)
    timer = threading.Timer(timeout or 0, signal_group, [process])
    if timeout:
        timer.start()
    try:
        yield process
        process.wait()
    except BaseException:
        signal_group(process)
        raise
    finally:
        timer.cancel()
        _end(process)
        _running.discard(process)


def run(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> int:
    """Run to the end with this terminal's output; return the exit code."""
    with child(argv, env, cwd) as process:
        pass
    return process.returncode


def together(*works: Callable[[], T]) -> list[T]:
    """Do all at once; what each returns, in their order.

    An interrupt reaches the main thread alone. Then, and when one fails, the
    children of all are interrupted; :func:`proceed` ends their threads.
    """
    with futures.ThreadPoolExecutor(len(works)) as pool:
        begun = [pool.submit(work) for work in works]
        try:
            futures.wait(begun, return_when=futures.FIRST_EXCEPTION)
            # One of them is done, and has failed, or all are done
            for one in begun:
                if one.done():
                    one.result()
            return [one.result() for one in begun]
        except BaseException:
            _over.set()
            for process in list(_running):
                signal_group(process)
            futures.wait(begun)
            raise
        finally:
            _over.clear()


def proceed() -> None:
    """Before each step of what may run beside others.

    :raises Over: it is not wanted any more.
    """
    if _over.is_set():
        raise Over


@contextlib.contextmanager
def follow(path: pathlib.Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Pass on the whole lines that others write to a file meanwhile."""
    ended = threading.Event()
    began = time.time()

    def read() -> None:
        told = 0
        while not ended.wait(1):
            # What an earlier run left there is not news.
            if not path.exists() or path.stat().st_mtime < began:
                continue
            text = path.read_text(errors='replace')
            whole = text[: text.rfind('\n') + 1].splitlines()
            for line in whole[told:]:
                tell(line)
            told = len(whole)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def signal_group(
    process: subprocess.Popen[bytes], number: int = signal.SIGINT
) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    # Workers that lost their parent share its group.
    signal_group(process, signal.SIGKILL)
    process.wait()
