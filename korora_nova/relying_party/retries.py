# SPDX-License-Identifier: Apache-2.0
"""Servers that were refused while nova-compute started.

Nova does not survive one if it finishes an interrupted reboot: it is spared
that one. The server gets a fault and is in ERROR, as after a refused reboot at
any other time. Once this host is trusted, Nova is asked to reboot it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from nova import exception
from nova.compute import vm_states
from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party.arrival import Arrival
from korora_nova.relying_party.boot import Boot
from korora_nova.relying_party.gate import Gate

LOG = logging.getLogger(__name__)

#: Reboots asked for; who is refused by a trusted host is not to be started.
TRIES = 3


class Nova(Protocol):
    """What is needed of the module ``nova_calls``."""

    def find(self, uuid: str) -> Any | None: ...

    def add_fault(self, instance: Any, exc: Exception) -> None: ...

    def set_error(self, instance: Any) -> None: ...

    def reboot(self, instance: Any) -> None: ...


@dataclasses.dataclass
class _Refused:
    """A server that was refused.

    :param until: when to give up, by the clock.
    :param settled: its state in Nova was seen to be right.
    """

    uuid: str
    until: float
    tries: int = TRIES
    settled: bool = False


class Retries:
    """Tries again until a server runs, is gone, or somebody else acted.

    :param host: returns this host's name in Nova.
    :param is_alive: whether a server's guest runs, or is paused.
    """

    def __init__(
        self,
        boot: Boot,
        gate: Gate,
        conf: cfg.ConfigOpts,
        nova: Nova,
        host: Callable[[], str],
        is_alive: Callable[[Any], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._boot = boot
        self._gate = gate
        self._conf = conf
        self._nova = nova
        self._host = host
        self._is_alive = is_alive
        self._clock = clock
        #: Guards the two below, across no call.
        self._lock = threading.Lock()
        self._refused: dict[str, _Refused] = {}
        self._loop: Arrival | None = None

    @contextlib.contextmanager
    def noted(self, instance: Any, *, spare: bool) -> Iterator[None]:
        """Note a refusal while nova-compute starts.

        :param spare: Nova would not survive it: swallow it.
        """
        try:
            yield
        except exception.NovaException as exc:
            if not self._boot.here or not _is_refusal(exc):
                raise
            self._note(instance, exc)
            if not spare:
                raise

    def _note(self, instance: Any, exc: Exception) -> None:
        try:
            self._nova.add_fault(instance, exc)
        except Exception:  # noqa: BLE001 boundary: nova-compute must start
            LOG.exception('Cannot record the fault', instance=instance)
        until = self._clock() + self._conf.korora.boot_retry
        with self._lock:
            self._refused[instance.uuid] = _Refused(instance.uuid, until)
            if self._loop is None:
                self._loop = Arrival(self.attempt, 'korora-retries')
                self._loop.start()

    def stop(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._refused.clear()
            if self._loop is not None:
                self._loop.stop()

    def attempt(self) -> bool:
        """Do what can be done now; whether nobody is left."""
        with self._lock:
            if not self._refused:
                self._loop = None
                return True
            waiting = list(self._refused.values())
        ready = [
            (refused, instance)
            for refused in waiting
            if (instance := self._look_at(refused)) is not None
        ]
        if ready and self._is_trusted():
            for refused, instance in ready:
                self._start(refused, instance)
        return False

    def _look_at(self, refused: _Refused) -> Any | None:
        """The server, if it waits for its start; else maybe forget it."""
        instance = self._nova.find(refused.uuid)
        if instance is not None and not self._is_over(refused, instance):
            return instance if instance.task_state is None else None
        with self._lock:
            self._refused.pop(refused.uuid, None)
        return None

    def _is_over(self, refused: _Refused, instance: Any) -> bool:
        """Whether it runs, somebody else acted, or it was tried enough."""
        if instance.host != self._host() or self._is_alive(instance):
            return True
        if instance.task_state is not None:
            return False
        if not refused.settled and instance.vm_state in (
            vm_states.ACTIVE,
            vm_states.RESCUED,
        ):
            # Nova knows nothing of a refusal that it was spared.
            self._nova.set_error(instance)
        refused.settled = True
        if instance.vm_state != vm_states.ERROR:
            return True
        if refused.tries and self._clock() < refused.until:
            return False
        LOG.warning(
            'Not started since the boot of this host, and not tried again: '
            'reboot it hard when the cause has been removed',
            instance=instance,
        )
        return True

    def _is_trusted(self) -> bool:
        try:
            self._gate.check_obstacle()
            self._gate.agent().attest()
            return True
        except errors.KororaError as exc:
            LOG.debug('Servers refused at the boot still wait: %s', exc)
            return False

    def _start(self, refused: _Refused, instance: Any) -> None:
        refused.tries -= 1
        LOG.info('The host is trusted: to be started', instance=instance)
        try:
            self._nova.reboot(instance)
        except exception.NovaException as exc:
            # Who was faster is seen next time.
            LOG.info('Nova does not start it: %s', exc, instance=instance)


def _is_refusal(exc: Exception) -> bool:
    """Whether it is how Nova was told of one."""
    return isinstance(exc.__cause__, errors.KororaError)
