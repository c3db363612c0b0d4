# SPDX-License-Identifier: Apache-2.0
"""Deleted servers that the agent could not be told about.

A dead agent must not block a delete, and must not keep a key forever
either: one empty file per server, until the agent takes the message.
"""

from __future__ import annotations

from collections.abc import Callable

from oslo_log import log as logging

from korora_nova.relying_party.names import Names

LOG = logging.getLogger(__name__)


class Tombstones:
    """Names of deleted servers below Nova's ``state_path``."""

    def __init__(self, state_path: str) -> None:
        self._names = Names(state_path, 'deleted')

    def add(self, instance: str) -> None:
        """Remember a server; a failure is logged only."""
        try:
            self._names.add(instance)
        except (OSError, ValueError) as exc:
            LOG.error(
                'Cannot remember that server %(server)s was deleted; '
                'the agent keeps its key: %(error)s',
                {'server': instance, 'error': exc},
            )

    def list(self) -> list[str]:
        """The servers remembered."""
        return self._names.list()

    def settle(self, forget: Callable[[str], bool]) -> None:
        """Offer each to ``forget``; drop those that it took."""
        for instance in self.list():
            if not forget(instance):
                return
            try:
                self._names.discard(instance)
            except OSError as exc:
                LOG.warning(
                    'Cannot drop the tombstone of %(server)s: %(error)s',
                    {'server': instance, 'error': exc},
                )
