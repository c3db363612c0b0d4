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
        return os.access(os.path.join(self._directory, instance), os.F_OK)

    def add(self, instance: str) -> None:
        """:raises OSError, ValueError: it cannot be kept."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        name = os.path.join(self._directory, str(uuid.UUID(instance)))
        with open(name, 'ab') as stream:
            os.fsync(stream.fileno())

    def discard(self, instance: str) -> None:
        """:raises OSError: it is still there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._directory, instance))

    def list(self) -> list[str]:
        """All of them."""
        try:
            return sorted(os.listdir(self._directory))
        except OSError:
            return []
