# SPDX-License-Identifier: Apache-2.0
"""Signals that end a command cleanly, whoever started it."""

from __future__ import annotations

import signal

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def take_over() -> None:
    """Have the signals that end a program raise KeyboardInterrupt.

    SIGINT, too: a script's background jobs, and so all their children, would
    ignore it, which makes Ctrl-C and time limits do nothing. Children that
    are started afterwards have it as usual. SIGHUP stays ignored under nohup.
    """
    for number in ENDING:
        if (
            number == signal.SIGHUP
            and signal.getsignal(number) == signal.SIG_IGN
        ):
            continue
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    # A second signal must not stop the cleaning up.
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
