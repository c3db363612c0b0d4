# SPDX-License-Identifier: Apache-2.0
"""Sets of servers that outlive nova-compute: one empty file per server."""

from __future__ import annotations

import contextlib
import os
import uuid


class Names:
    """A set of servers below Nova's ``state_path``.

    :param name: of the set.
    """

    def __init__(self, state_path: str, name: str) -> None:
        self._directory = os.path.join(state_path, 'korora', name)

    def __contains__(self, instance: str) -> bool:
        try:
            return os.access(self._path(instance), os.F_OK)
        except ValueError:
            return False

    def add(self, instance: str) -> None:
        """:raises OSError, ValueError: it cannot be kept."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        with open(self._path(instance), 'ab') as stream:
            os.fsync(stream.fileno())

    def discard(self, instance: str) -> None:
        """:raises OSError, ValueError: it is still there, or no server."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(instance))

    def list(self) -> list[str]:
        """All of them."""
        try:
            found = sorted(os.listdir(self._directory))
        except OSError:
            return []
        return [name for name in found if name in self]

    def _path(self, instance: str) -> str:
        """Its file, whatever came over the bus as its UUID.

        :raises ValueError: it is not a UUID.
        """
        return os.path.join(self._directory, str(uuid.UUID(instance)))
