# SPDX-License-Identifier: Apache-2.0
"""The file of a vTPM's state, where libvirt has swtpm keep it.

::

    /var/lib/libvirt/swtpm/SERVER/tpm2/tpm2-00.permall
                                 /tpm2/.lock
                                 /tpm1.2/tpm-00.permall

Whoever writes to that storage may put anything there: nothing is followed,
nothing is waited for, and no more than so much is read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import stat
import struct
from collections.abc import Iterator

from korora_nova import errors

#: As in ``nova.virt.libvirt.utils.VTPM_DIR``; may be a symbolic link.
DIRECTORY = pathlib.Path('/var/lib/libvirt/swtpm')
#: Bytes of a state that are read at most; libtpms' have some 10 KiB.
MAX_SIZE = 4 * 1024 * 1024

#: Directory of a version of the TPM, and swtpm's file in it.
_FILES = (('tpm2', 'tpm2-00.permall'), ('tpm1.2', 'tpm-00.permall'))
_LOCK = '.lock'
#: struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid
_FLOCK = struct.Struct('hhqqi4x')

_BASE_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DIRECTORY_FLAGS = _BASE_FLAGS | os.O_NOFOLLOW
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def measure(instance: str, base: pathlib.Path) -> str:
    """SHA-256, hex, of a server's vTPM state; '' if there is none.

    :param base: the directory of all servers' states.
    :raises Unavailable: VTPM_STATE_UNREADABLE, or it changes just now.
    """
    digest = hashlib.sha256()
    found = False
    try:
        with (
            _opened(base, _BASE_FLAGS) as top,
            _opened(instance, _DIRECTORY_FLAGS, top) as server,
        ):
            for version, name in _FILES:
                with contextlib.suppress(FileNotFoundError):
                    with _opened(
                        version, _DIRECTORY_FLAGS, server
                    ) as directory:
                        content = _read(directory, name)
                    found = True
                    digest.update(f'{version}/{name}\0'.encode())
                    digest.update(hashlib.sha256(content).digest())
    except FileNotFoundError:
        return ''
    except OSError as exc:
        raise _unreadable(os.strerror(exc.errno or errno.EIO)) from None
    return digest.hexdigest() if found else ''


@contextlib.contextmanager
def _opened(
    path: pathlib.Path | str, flags: int, below: int | None = None
) -> Iterator[int]:
    """A descriptor of a path, relative to the one of a directory."""
    descriptor = os.open(path, flags, dir_fd=below)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(directory: int, name: str) -> bytes:
    """A regular file's content, that nobody writes or replaces meanwhile.

    :raises OSError: whatever reading fails with.
    """
    with _opened(name, _FILE_FLAGS, directory) as descriptor:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise _unreadable('it is no regular file')
        if before.st_size > MAX_SIZE:
            raise _unreadable('it is too large')
        with os.fdopen(descriptor, 'rb', closefd=False) as file:
            content = file.read(MAX_SIZE + 1)
        after = os.fstat(descriptor)
    now = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if (
        not _version(before) == _version(after) == _version(now)
        or len(content) != after.st_size
    ):
        raise _unreadable('it changes just now')
    if _is_locked(directory):
        raise _unreadable('swtpm uses it')
    return content


def _version(status: os.stat_result) -> tuple[int, ...]:
    """What changes with a file's content, or with the file of a name."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_locked(directory: int) -> bool:
    """Whether a swtpm, here or on another host, uses a directory.

    It locks a file of it as long as it runs.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        with _opened(_LOCK, _FILE_FLAGS, directory) as descriptor:
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)
    except FileNotFoundError:
        return False
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _unreadable(why: str) -> errors.Unavailable:
    return errors.Unavailable(
        errors.Reason.VTPM_STATE_UNREADABLE, details={'why': why}
    )
