# SPDX-License-Identifier: Apache-2.0
"""The end of a server: its key goes too, at once or later."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from nova.compute import task_states, vm_states
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party import gate
from korora_nova.relying_party.servers import Servers, tell
from korora_nova.relying_party.tombstone import Tombstones

LOG = logging.getLogger(__name__)

#: Seconds to wait until another host may claim the key of a server whose
#: creation failed here.
FORGET_WAIT = 10


class Deletes:
    """Tells the agent which servers are gone; never fails.

    :param host: returns this host's name in Nova.
    """

    def __init__(
        self,
        the_gate: gate.Gate,
        servers: Servers,
        tombstones: Tombstones,
        host: Callable[[], str],
    ) -> None:
        self._gate = the_gate
        self._servers = servers
        self._tombstones = tombstones
        self._host = host

    @contextlib.contextmanager
    def destroying(self, instance: Any, *, whole: bool) -> Iterator[None]:
        """Nova destroys a guest; if the server is deleted, its key goes, too.

        What Nova calls then is not always a delete: a destination's rollback,
        or what an evacuation left here, may belong to a server that another
        host is about to delete.

        :param whole: with its disks and secrets. Otherwise it is about to be
            made again: a hard reboot, or the restore of a soft-deleted server.
        """
        # As Nova sent it: to destroy it may load what a build has saved.
        deleted = whole and self._is_deleted(instance)
        built = _sent(instance, 'vm_state') != vm_states.BUILDING
        yield
        if deleted:
            self._bury(instance)
        if deleted or not built:
            self._servers.gone(instance)

    def _bury(self, instance: Any) -> None:
        try:
            standing = self._servers.standing(instance)
        except errors.KororaError as exc:
            LOG.warning(
                'Deleted without the agent; it is told later: %s',
                exc,
                instance=instance,
            )
            self._tombstones.add(instance.uuid)
            return
        if standing.state not in ('none', 'unknown'):
            self._forget(instance)
            self.settle()

    def never_ran(self, instance: Any) -> None:
        """Its creation failed: what another host builds takes a new key."""
        self._forget(instance, wait=FORGET_WAIT)

    def _forget(self, instance: Any, **wait: float) -> None:
        if not tell(self._gate.agent().forget, instance, **wait):
            self._tombstones.add(instance.uuid)

    def settle(self) -> None:
        """Tell the agent of deletes that it missed, once it answers."""
        self._tombstones.settle(self._forget_again)

    def _forget_again(self, instance: str) -> bool:
        try:
            self._gate.agent(gate.QUICK).forget(instance)
        except errors.Unavailable:
            return False
        except errors.KororaError as exc:
            LOG.warning(
                'The agent does not forget server %(server)s: %(error)s',
                {'server': instance, 'error': exc},
            )
        return True

    def _is_deleted(self, instance: Any) -> bool:
        if _sent(instance, 'deleted'):
            return True
        return _sent(instance, 'host') == self._host() and (
            _sent(instance, 'vm_state')
            in (vm_states.DELETED, vm_states.SOFT_DELETED)
            or _sent(instance, 'task_state') == task_states.DELETING
        )


def _sent(instance: Any, name: str) -> Any:
    """What Nova sent along; nothing is loaded for it."""
    known = instance.obj_attr_is_set(name)
    return getattr(instance, name) if known else None
