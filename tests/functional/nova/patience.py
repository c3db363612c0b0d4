# SPDX-License-Identifier: Apache-2.0
"""Waits of Nova's fixtures, until it comes true.

They look ten times, half a second apart, and then the test has failed: a busy
machine takes longer, an idle one a tenth of it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

#: Seconds after which what is waited for will not come.
PATIENCE = 90.0
#: Seconds between two looks.
LOOK = 0.1


class Time:
    """Nova's module ``time``, as far as its waits need it."""

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, LOOK))


def patient(wait: Callable[..., Any]) -> Callable[..., Any]:
    """The same wait, which gives up after PATIENCE."""

    @functools.wraps(wait)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return wait(*args, **kwargs)
            except AssertionError:
                if time.monotonic() > end:
                    raise

    return waiting


@patient
def until(condition: Callable[[], object], message: str) -> None:
    """Wait for a condition.

    :raises AssertionError: it did not come true.
    """
    if not condition():
        time.sleep(LOOK)
        raise AssertionError(message)
