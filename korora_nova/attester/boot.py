# SPDX-License-Identifier: Apache-2.0
"""Which boot this is, and a clock that counts through suspends."""

from __future__ import annotations

import functools
import pathlib
import time

_BOOT_ID = pathlib.Path('/proc/sys/kernel/random/boot_id')


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot."""
    return _BOOT_ID.read_text(encoding='ascii').strip()


def now() -> float:
    """Seconds since boot, suspended time included (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
