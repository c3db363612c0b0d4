# SPDX-License-Identifier: Apache-2.0
"""What keeps the memory of a process to itself, and ends it in time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal

# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
# mlockall(2): MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT, from <bits/mman.h>
_MCL = 7
_MCL_ELSEWHERE = 0xE000
_ELSEWHERE = ('ppc', 'sparc', 'alpha')

_libc = ctypes.CDLL(None, use_errno=True)


def conceal() -> None:
    """No core dump, and no debugger but root's; children inherit it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def name(text: str) -> None:
    """What ``ps`` shows, 15 bytes of it."""
    _libc.prctl(_PR_SET_NAME, text.encode()[:15], 0, 0, 0)


def die_with(parent: int) -> None:
    """End when the parent ends, whatever this process is doing then.

    :param parent: id of the process, with one thread, that forked this one.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def lock_memory() -> bool:
    """Keep all that is written to memory from now on out of swap.

    What was there before the fork is locked where it is: a copy of it all,
    as without MCL_ONFAULT, would take longer than the rest of an operation.

    :returns: whether the limits of the process allow it.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    machine = os.uname().machine
    flags = _MCL_ELSEWHERE if machine.startswith(_ELSEWHERE) else _MCL
    return bool(_libc.mlockall(flags) == 0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
