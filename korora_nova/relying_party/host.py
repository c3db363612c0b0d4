# SPDX-License-Identifier: Apache-2.0
"""One compute host: everything that stands beside Nova's driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester.socket_client import AgentClient
from korora_nova.relying_party import gate, keys, moves, retries
from korora_nova.relying_party.arrival import Arrival
from korora_nova.relying_party.boot import Boot
from korora_nova.relying_party.deletes import Deletes
from korora_nova.relying_party.incoming import Incoming
from korora_nova.relying_party.names import Names
from korora_nova.relying_party.onboarding import Onboarding
from korora_nova.relying_party.outgoing import Outgoing
from korora_nova.relying_party.presence import Presence
from korora_nova.relying_party.reconcile import Reconciler
from korora_nova.relying_party.servers import Servers
from korora_nova.relying_party.starts import Starts
from korora_nova.relying_party.tombstone import Tombstones

LOG = logging.getLogger(__name__)


class Hypervisor(keys.Hypervisor, moves.Hypervisor, Protocol):
    """What is needed of ``hypervisor.Hypervisor``."""

    def has_tpm(self, instance: Any) -> bool: ...

    def is_alive(self, instance: Any) -> bool: ...

    def is_off(self, instance: Any) -> bool: ...

    def names_disks(self) -> bool: ...


class Nova(retries.Nova, moves.Nova, Protocol):
    """What is needed of the module ``nova_calls``."""

    def servers_of(self, host: str) -> Iterable[Any]: ...

    def look_up(self, uuid: str) -> Any | None: ...

    def is_moving(self, instance: Any) -> bool: ...

    def live_migrations(
        self, context: Any, instance: Any
    ) -> Iterable[Any]: ...

    def is_name(self, text: str) -> bool: ...

    def report_ended(
        self, context: Any, instance: Any, exc: Exception
    ) -> None: ...


class Host:
    """Puts the parts together, and examines the host when Nova starts.

    :param agent: makes a client of the local agent that waits so many
        seconds for an answer.
    :param driver: name of the compute driver's class.
    :param uri: what Nova connects to for a host's name or address.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        agent: Callable[[float], AgentClient],
        hypervisor: Hypervisor,
        nova: Nova,
        escrow: keys.Escrow,
        driver: str,
        uri: Callable[[str], str],
    ) -> None:
        #: In Nova; the start of nova-compute says it again.
        self.name: str = conf.host
        self._nova = nova
        # One wait for the first evidence, and one for an answer.
        self.boot = Boot(
            agent, conf.korora.boot_wait + conf.korora.agent_timeout
        )
        self.gate = gate.Gate(
            self.boot.agent,
            timeout=conf.korora.agent_timeout,
            boot_wait=conf.korora.boot_wait,
        )
        self.servers = Servers(
            self.gate,
            conf,
            hypervisor.has_tpm,
            Names(conf.state_path, 'protected'),
        )
        self.tombstones = Tombstones(conf.state_path)
        self.deletes = Deletes(
            self.gate, self.servers, self.tombstones, lambda: self.name
        )
        self.keys = keys.Keys(self.gate, hypervisor, escrow)
        self.starts = Starts(
            self.gate, self.servers, self.keys, self.deletes, conf
        )
        self.retries = retries.Retries(
            self.boot,
            self.gate,
            conf,
            nova,
            lambda: self.name,
            hypervisor.is_alive,
        )
        self.onboarding = Onboarding(
            self.servers, self.starts, self.keys, conf
        )
        self.moves = moves.Moves(
            self.gate,
            self.servers,
            self.onboarding,
            self.starts,
            conf,
            hypervisor,
            nova,
            lambda: self.name,
        )
        self.outgoing = Outgoing(
            self.gate,
            self.servers,
            self.onboarding,
            conf,
            nova.is_name,
            uri,
            hypervisor.names_disks,
            nova.report_ended,
        )
        self.incoming = Incoming(
            self.gate,
            self.servers,
            conf,
            lambda: self.name,
            nova.live_migrations,
        )
        self.arrival = Arrival(self._arrive)
        self.presence = Presence(self.gate, driver, self.deletes.settle)
        self.reconciler = Reconciler(
            self.gate,
            self.servers,
            hypervisor,
            conf,
            nova,
            lambda: self.name,
        )

    def begin(self, name: str) -> None:
        """nova-compute starts, under this name."""
        self.name = name
        self.boot.begin()
        self.gate.boot()

    def end(self) -> None:
        """nova-compute ends."""
        self.arrival.stop()
        self.retries.stop()
        self.reconciler.stop()
        self.presence.stop()

    def examine(
        self, obstacle: Callable[[], errors.KororaError | None]
    ) -> None:
        """Find out what is wrong here; never fails.

        :param obstacle: returns why protected servers are refused, if so.
        """
        try:
            self.gate.obstacle = obstacle()
            if self.gate.obstacle is not None:
                LOG.error(
                    'Servers with a requirement are refused here: %s',
                    self.gate.obstacle,
                )
            self.arrival.start()
            self.reconciler.start()
            self.presence.start()
        except Exception:  # noqa: BLE001 boundary: nova-compute must start
            LOG.exception(
                'Cannot examine this host; servers with a '
                'requirement are refused'
            )
            self.gate.obstacle = errors.Unavailable(errors.Reason.INTERNAL)

    def _arrive(self) -> bool:
        """Compare this host with its agent; whether all is as it should be.

        :raises KororaError: the agent does not answer (yet).
        """
        status = self.gate.agent(gate.QUICK).status()
        self.incoming.compare_address()
        self.deletes.settle()
        known = {key.instance for key in status.keys}
        self.servers.remember(known)
        return self.onboarding.take_all(
            instance
            for instance in self._nova.servers_of(self.name)
            if instance.uuid not in known
        )
