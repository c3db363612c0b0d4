# SPDX-License-Identifier: Apache-2.0
"""Progress on the terminal: what is being done, and how long it took."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

_START = time.monotonic()
_LOCK = threading.Lock()
_REMINDER = 10.0


class LabError(Exception):
    """Something the person at the terminal has to know; no traceback."""


def say(text: str) -> None:
    """Print one line with the seconds since the program started."""
    with _LOCK:
        print(f"{time.monotonic() - _START:7.1f}s  {text}", flush=True)


def note(text: str) -> None:
    """Print one line without a time."""
    with _LOCK:
        print(text, flush=True)


def fail(text: str) -> None:
    with _LOCK:
        print("error: " + text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Announce `what`, then say how long it took or that it failed."""
    began = time.monotonic()
    say("... " + what)
    try:
        yield
    except BaseException:
        say(f"!!! {what}: failed after {time.monotonic() - began:.1f} s")
        raise
    say(f"ok  {what} ({time.monotonic() - began:.1f} s)")


def wait(
    what: str,
    ready: Callable[[], bool],
    timeout: float,
    interval: float = 0.1,
    alive: Callable[[], str | None] = lambda: None,
) -> None:
    """Poll `ready` until true; remind every 10 s what is waited for.

    `alive` returns a sentence when waiting has become pointless.
    Raises LabError on that sentence or after `timeout` seconds.
    """
    began = time.monotonic()
    remind = began + _REMINDER
    while not ready():
        if dead := alive():
            raise LabError(f"{what}: {dead}")
        now = time.monotonic()
        if now - began > timeout:
            raise LabError(f"{what}: not ready after {timeout:.0f} s")
        if now > remind:
            say(f"... still waiting for {what} ({now - began:.0f} s)")
            remind = now + _REMINDER
        time.sleep(interval)


def require_root() -> None:
    """Raise LabError unless this process may make namespaces."""
    if os.geteuid() != 0:
        raise LabError(
            "the lab makes network namespaces and runs libvirtd, so it has "
            "to be started as root (try: sudo {})".format(" ".join(sys.argv))
        )
