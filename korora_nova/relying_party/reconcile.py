# SPDX-License-Identifier: Apache-2.0
"""What this host's vault, Nova and libvirt say of the same servers.

Compared again and again, a few servers each time. Two things are mended. The
key of a server that Nova says is deleted is forgotten, which a delete while
agent or host were down has left. And a cold migration of which nobody said how
it ended is over when Nova has the server here, and does nothing with it. All
else is told once and left to those who can decide it. Nova that does not
answer changes nothing, and neither does what it does not know: a host sees
one cell of it only.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from nova.compute import vm_states
from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.custody import answers
from korora_nova.custody.words import VaultState
from korora_nova.relying_party import facts, gate
from korora_nova.relying_party.servers import Servers

LOG = logging.getLogger(__name__)

#: Seconds to the first round, when the start of nova-compute is over, and to
#: the next one after one that failed.
FIRST = 30.0
RETRY = 60.0

# The other states are of hand-overs that are not decided yet.
_SETTLED = (
    VaultState.HELD,
    VaultState.RELINQUISHED,
    VaultState.FORGOTTEN,
)
_HAS_RUN = (
    vm_states.ACTIVE,
    vm_states.PAUSED,
    vm_states.RESCUED,
    vm_states.STOPPED,
    vm_states.SUSPENDED,
    vm_states.ERROR,
)

ABSENT = (
    'This host has the key of server %(server)s, which Nova does not know '
    'here; nothing is done. If the server is gone for good: openstack '
    'attestation server release'
)
ELSEWHERE = (
    'This host has the key of server %(server)s, which Nova has on host '
    '%(what)s, with no migration under way; nothing is done. The attestation '
    'service knows who may open it: openstack attestation server show'
)
KEYLESS = (
    'Server %(server)s is here and its key is not: it does not start here. '
    'The ledger says that host %(what)s holds it. If that host does not give '
    'it back: openstack attestation server reissue'
)
NOBODYS = (
    'Nobody holds the key of server %(server)s, which is here: its next '
    "start reads the tenant's secret, and must carry a token of the server's "
    'own project'
)

REFUSED = 'Server %(server)s was not compared: %(what)s'


class Nova(Protocol):
    """What is needed of the module ``nova_calls``."""

    def servers_of(self, host: str) -> Iterable[Any]: ...

    def look_up(self, uuid: str) -> Any | None: ...

    def is_moving(self, instance: Any) -> bool: ...


class Hypervisor(Protocol):
    """What is needed of ``hypervisor.Hypervisor``."""

    def is_off(self, instance: Any) -> bool: ...

    def stock_secret(self, instance: Any) -> tuple[str, bytes] | None: ...


class Reconciler:
    """Compares, in a thread of its own.

    :param host: returns this host's name in Nova.
    """

    def __init__(
        self,
        the_gate: gate.Gate,
        servers: Servers,
        hypervisor: Hypervisor,
        conf: cfg.ConfigOpts,
        nova: Nova,
        host: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate = the_gate
        self._servers = servers
        self._hypervisor = hypervisor
        self._conf = conf
        self._nova = nova
        self._host = host
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        #: When each server was looked at; what was told of it.
        self._looked: dict[str, float] = {}
        self._told: dict[str, str] = {}
        self._failure = ''

    def start(self) -> None:
        """Begin, unless it is turned off; a second call changes nothing."""
        if self._thread is None and self._conf.korora.reconcile_interval:
            self._thread = threading.Thread(
                target=self._run, name='korora-reconciler', daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Begin no other round; one under way is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        interval = self._conf.korora.reconcile_interval
        wait = min(interval, FIRST)
        while not self._stop.wait(wait):
            wait = interval if self.step() else min(interval, RETRY)

    def step(self) -> bool:
        """One round; whether it came to its end. Never fails."""
        try:
            self._round()
        except Exception as exc:  # noqa: BLE001 boundary: the loop goes on
            failure = f'{type(exc).__name__}: {exc}'
            if failure != self._failure:
                LOG.info(
                    'Keys and servers of this host are not compared now, '
                    'and again later: %s',
                    failure,
                )
            self._failure = failure
            return False
        self._failure = ''
        return True

    def _round(self) -> None:
        """Look at the servers that were not looked at for the longest time.

        :raises Unavailable: agent or service do not answer.
        :raises Exception: whatever Nova fails with.
        """
        checks = self._checks()
        for known in (self._looked, self._told):
            for server in known.keys() - checks.keys():
                del known[server]
        oldest = sorted(
            checks, key=lambda one: self._looked.get(one, -math.inf)
        )
        for server in oldest[: self._conf.korora.reconcile_batch]:
            if self._stop.is_set():
                return
            # Before: one that fails must not keep the others waiting.
            self._looked[server] = self._clock()
            try:
                checks[server]()
            except errors.Unavailable:
                raise
            except errors.KororaError as exc:
                self._tell(server, REFUSED, str(exc))

    def _checks(self) -> dict[str, Callable[[], None]]:
        """What is to be looked at, by server."""
        keys = self._gate.agent(gate.QUICK).status().keys
        checks: dict[str, Callable[[], None]] = {
            server: functools.partial(self._check_key, server)
            for server in _settled(keys)
        }
        for key in keys:
            check = _UNDER_WAY.get(key.state)
            if check is not None:
                checks[key.instance] = functools.partial(check, self, key)
        known = {key.instance for key in keys}
        for instance in self._nova.servers_of(self._host()):
            if instance.uuid not in known and self._needs_key(instance):
                checks[instance.uuid] = functools.partial(
                    self._check_server, instance
                )
        return checks

    def _check_key(self, server: str) -> None:
        """A key that is at rest here."""
        instance = self._nova.look_up(server)
        if instance is None:
            self._tell(server, ABSENT)
        elif instance.deleted:
            # Nova itself ends a guest that it finds, and then its key goes.
            if self._hypervisor.is_off(instance):
                self._gate.agent().forget(server)
                self._servers.gone(instance)
                LOG.info(
                    'Forgot the key of a server that Nova has deleted',
                    instance=instance,
                )
        elif instance.host != self._host() and not self._is_busy(instance):
            self._tell(server, ELSEWHERE, instance.host)

    def _check_leaving(self, key: answers.HeldKey) -> None:
        """A key that is handed over, and maybe nobody goes on with it."""
        instance = self._nova.look_up(key.instance)
        if instance is not None and (
            self._hypervisor.is_off(instance)
            if instance.deleted
            else self._is_idle_here(instance)
        ):
            self._end(self._gate.agent().stays, key)

    def _check_arriving(self, key: answers.HeldKey) -> None:
        """A key that has come, and maybe nobody said that the server did."""
        instance = self._nova.look_up(key.instance)
        if instance is not None and self._is_idle_here(instance):
            self._end(self._gate.agent().activated, key)

    def _is_idle_here(self, instance: Any) -> bool:
        return (
            not instance.deleted
            and instance.host == self._host()
            and instance.task_state is None
        )

    def _end(
        self, tell: Callable[[str, str], object], key: answers.HeldKey
    ) -> None:
        """Tell how a cold migration ended."""
        try:
            tell(key.instance, key.migration)
        except errors.Forbidden:
            pass  # a stream: the agent sees by itself how it ends

    def _is_busy(self, instance: Any) -> bool:
        return instance.task_state is not None or self._nova.is_moving(
            instance
        )

    def _needs_key(self, instance: Any) -> bool:
        """Whether Nova says that its key has to be in custody here."""
        if instance.task_state is not None:
            return False
        if instance.vm_state not in _HAS_RUN:
            return False
        try:
            server = facts.of_instance(
                instance, self._conf.korora.protect_vtpm
            )
        except errors.KororaError:
            return False  # its onboarding tells
        return server.requirement.custody

    def _check_server(self, instance: Any) -> None:
        """A protected server without key."""
        if self._hypervisor.stock_secret(instance) is not None:
            return  # its onboarding takes it, or tells why not
        standing = self._servers.standing(instance, ledger=True)
        if standing.before:
            self._tell(instance.uuid, NOBODYS)
        elif standing.state == 'none' and standing.known:
            self._tell(instance.uuid, KEYLESS, standing.holder)

    def _tell(self, server: str, text: str, what: str | None = None) -> None:
        """Tell the operator, once.

        :param text: one of those above.
        :param what: a host, or a cause.
        """
        said = f'{text} {what}'
        if self._told.get(server) != said:
            self._told[server] = said
            LOG.warning(text, {'server': server, 'what': what})


def _settled(keys: Iterable[answers.HeldKey]) -> list[str]:
    """Servers of which a key is at rest, and no hand-over is under way."""
    states: dict[str, set[str]] = {}
    for key in keys:
        states.setdefault(key.instance, set()).add(key.state)
    return [
        server
        for server, found in states.items()
        if VaultState.HELD in found and found <= set(_SETTLED)
    ]


#: State of a key -> what is looked at then.
_UNDER_WAY: dict[str, Callable[[Reconciler, answers.HeldKey], None]] = {
    VaultState.OUTGOING: Reconciler._check_leaving,
    VaultState.STARTING: Reconciler._check_leaving,
    VaultState.MOVING: Reconciler._check_leaving,
    VaultState.INCOMING: Reconciler._check_arriving,
}
