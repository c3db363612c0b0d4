# SPDX-License-Identifier: Apache-2.0
"""States of vTPMs that an operator lets servers start with, once each.

A file for each, in a directory that only root reads and writes: it is no word
of nova-compute's, and the agent need not run.
"""

from __future__ import annotations

import contextlib
import pathlib
import uuid
from collections.abc import Collection

from korora_nova.attester import files

#: In the place of a hash: there is no state, and a new one may be made.
NONE = 'none'


class Accepted:
    """What was accepted on this host.

    :param state_dir: ``[attester] state_dir``.
    """

    def __init__(self, state_dir: pathlib.Path) -> None:
        self._directory = state_dir / 'accepted'

    def accept(self, instance: str, measured: str) -> None:
        """Let a server start with this state, and no other.

        :param measured: of :func:`.vtpm_state.measure`.
        :raises ValueError: that is no server.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(self._path(instance), (measured or NONE).encode())

    def has(self, instance: str, measured: str) -> bool:
        """Whether this state was accepted."""
        try:
            accepted = self._path(instance).read_text('ascii')
        except (OSError, ValueError):
            return False
        return accepted == (measured or NONE)

    def drop(self, instance: str) -> None:
        """A server was started with it, or has another one now."""
        with contextlib.suppress(FileNotFoundError):
            files.remove(self._path(instance))

    def keep_only(self, instances: Collection[str]) -> None:
        """Others have no key here any more."""
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                if path.name not in instances:
                    path.unlink(missing_ok=True)

    def _path(self, instance: str) -> pathlib.Path:
        return self._directory / str(uuid.UUID(instance))
