# SPDX-License-Identifier: Apache-2.0
"""Files that are either the old or the new ones after a crash."""

from __future__ import annotations

import contextlib
import os
import pathlib


def write(path: pathlib.Path, content: bytes) -> None:
    """Replace a file, mode 0600; on disk when this returns."""
    temporary = path.with_name(f'.{path.name}.new')
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(temporary, flags, 0o600), 'wb') as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def append(path: pathlib.Path, content: bytes) -> None:
    """Append to a file, mode 0600; on disk when this returns."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with os.fdopen(os.open(path, flags, 0o600), 'ab') as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    sync_directory(path.parent)


def truncate(path: pathlib.Path, size: int) -> None:
    """Cut what is in a file after ``size`` bytes; it may not exist."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > size:
            os.truncate(path, size)


def remove(path: pathlib.Path) -> None:
    """Remove a file that may not exist; gone when this returns."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: pathlib.Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
