# SPDX-License-Identifier: Apache-2.0
"""One agent per state directory: two would settle each other's records."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from korora_nova import errors

#: In the state directory; holds the process id of the agent.
NAME = 'lock'
_PID_BYTES = 32


@contextlib.contextmanager
def held(directory: pathlib.Path) -> Iterator[None]:
    """Keep other agents off a state directory, which is made if need be.

    The kernel drops the lock when the process ends, however it ends.

    :raises Conflict: STATE_DIR_IN_USE.
    :raises OSError: the directory cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, directory)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f'{os.getpid()}\n'.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: pathlib.Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, _PID_BYTES, 0).decode('ascii', 'replace')
        owner = text.strip() or 'unknown'
        raise errors.Conflict(
            errors.Reason.STATE_DIR_IN_USE,
            f'Another korora-agent (process {owner}) uses the state '
            f'directory {directory}.',
            details={'state_dir': str(directory), 'pid': owner},
        ) from None
