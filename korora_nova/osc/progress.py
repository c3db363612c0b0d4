# SPDX-License-Identifier: Apache-2.0
"""What a command is at, on a terminal, once it takes longer than a moment.

It goes to standard error, so that what a command prints stays as it is; and
to a terminal only, so that logs of scripts stay as they are.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

#: Seconds until the first word, and from then on between two.
AFTER, EVERY = 2.0, 5.0


class _Reminder:
    """A thread that says how long it takes, until it is told to end."""

    def __init__(self) -> None:
        self.what = 'waiting for the attestation service'
        self.quiet = False
        self._began = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        pause = AFTER
        while not self._done.wait(pause):
            pause = EVERY
            if not self.quiet:
                passed = time.monotonic() - self._began
                sys.stderr.write(f'... {passed:.0f} s: {self.what}\n')
                sys.stderr.flush()


_active: list[_Reminder] = []


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """The block is a command's work."""
    if not sys.stderr.isatty():
        yield
        return
    reminder = _Reminder()
    _active.append(reminder)
    reminder.start()
    try:
        yield
    finally:
        reminder.end()
        _active.remove(reminder)


def at(what: str) -> None:
    """What the command is at now: '12 of 40 hosts'."""
    for one in _active:
        one.what = what


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """In the block a person is waited for, or lines are printed anyway."""
    for one in _active:
        one.quiet = True
    try:
        yield
    finally:
        for one in _active:
            one.quiet = False
