# SPDX-License-Identifier: Apache-2.0
"""Progress on the terminal: what is being done, and how long it took."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

_CLOCK = 'KORORA_STARTED'
_LOCK = threading.Lock()
_REMINDER = 15.0
_active: dict[str, float] = {}


def _started() -> float:
    """When the command was typed: its children go on with its clock."""
    now = time.monotonic()
    try:
        started = float(os.environ[_CLOCK])
    except (KeyError, ValueError):
        started = -1.0
    if not 0 <= started <= now:
        started = now
        os.environ[_CLOCK] = f'{now:.3f}'
    return started


_START = _started()


class Problem(Exception):
    """Something the person at the terminal has to know; no traceback."""


def say(text: str) -> None:
    """Print one line with the seconds since the command was typed."""
    with _LOCK:
        print(f'{time.monotonic() - _START:7.1f}s  {text}', flush=True)


def note(text: str) -> None:
    """Print one line without a time."""
    with _LOCK:
        print(text, flush=True)


def fail(text: str) -> None:
    with _LOCK:
        print('error: ' + text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _reminding(what: str) -> Iterator[None]:
    """Have `what` named every 15 s until it is done."""
    began = time.monotonic()
    _active[what] = began
    if not any(t.name == 'reminder' for t in threading.enumerate()):
        threading.Thread(target=_remind, name='reminder', daemon=True).start()
    try:
        yield
    finally:
        _active.pop(what, None)


def _remind() -> None:
    while True:
        time.sleep(_REMINDER)
        now = time.monotonic()
        late = [
            f'{what.partition(" (")[0]} ({now - began:.0f} s)'
            for what, began in list(_active.items())
            if now - began >= _REMINDER
        ]
        if late:
            say('... still at: ' + '; '.join(late))


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Announce `what`, then say how long it took or that it failed."""
    began = time.monotonic()
    say('... ' + what)
    try:
        with _reminding(what):
            yield
    except BaseException:
        say(f'!!! {what}: failed after {time.monotonic() - began:.1f} s')
        raise
    say(f'ok  {what} ({time.monotonic() - began:.1f} s)')


def wait(
    what: str,
    ready: Callable[[], bool],
    timeout: float,
    interval: float = 0.1,
    alive: Callable[[], str | None] = lambda: None,
) -> None:
    """Poll `ready` until true, with a reminder of what is waited for.

    `alive` returns a sentence when waiting has become pointless.

    :raises Problem: that sentence, or it took more than `timeout` seconds.
    """
    end = time.monotonic() + timeout
    with _reminding('waiting for ' + what):
        while not ready():
            if dead := alive():
                raise Problem(f'{what}: {dead}')
            if time.monotonic() > end:
                raise Problem(f'{what}: not ready after {timeout:.0f} s')
            time.sleep(interval)


def writable(path: pathlib.Path) -> None:
    """Raise Problem now rather than when the report is done."""
    try:
        path.open('a').close()
    except OSError as exc:
        raise Problem(
            f'cannot write the report to {path}: {exc.strerror}'
        ) from exc


def require_root() -> None:
    """Raise Problem unless this process may make namespaces."""
    if os.geteuid() != 0:
        raise Problem(
            'this makes network namespaces and starts services, so it needs '
            'to run as root (try: sudo {})'.format(' '.join(sys.argv))
        )
