# SPDX-License-Identifier: Apache-2.0
"""The compute driver: Nova's libvirt driver, gated and keeping no keys.

::

    [DEFAULT]
    compute_driver = korora.KororaLibvirtDriver

What Nova calls is overridden here; what is done then is elsewhere:

==============  ======================================================
``starts``      the gate of every start
``keys``        the vTPM's key, for as long as a start needs it
``onboarding``  keys of servers that stock Nova started
``outgoing``    live migration, on the source (S)
``incoming``    live migration, on the destination (D)
``deletes``     the end of a server
``arrival``     what the start of nova-compute leaves to do
==============  ======================================================

A refusal is raised as exactly the class with which Nova ends the operation
as it should. Arguments are passed on as they come, for Nova 33 and 34 alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import nova.conf
from nova import vtpm
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import utils as libvirt_utils
from oslo_log import log as logging

from korora_nova import conf, errors
from korora_nova.attester.socket_client import AgentClient
from korora_nova.relying_party import drift, gate, records, refusal
from korora_nova.relying_party.arrival import Arrival
from korora_nova.relying_party.deletes import Deletes
from korora_nova.relying_party.hypervisor import Hypervisor
from korora_nova.relying_party.incoming import Incoming
from korora_nova.relying_party.keys import Keys
from korora_nova.relying_party.onboarding import Onboarding
from korora_nova.relying_party.outgoing import Outgoing
from korora_nova.relying_party.servers import Servers
from korora_nova.relying_party.starts import Starts
from korora_nova.relying_party.stream import StreamDomain
from korora_nova.relying_party.tombstone import Tombstones

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

conf.register_korora_opts(CONF)


class KororaLibvirtDriver(libvirt_driver.LibvirtDriver):  # type: ignore[misc]
    """LibvirtDriver whose protected servers run on trusted hosts only."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        #: This host's name in Nova; init_host says it again.
        self._nova_host: str = CONF.host
        self._gate = gate.Gate(
            self._make_agent,
            timeout=CONF.korora.agent_timeout,
            boot_wait=CONF.korora.boot_wait,
        )
        self._hypervisor = Hypervisor(lambda: self._host)
        self._tombstones = Tombstones(CONF.state_path)
        servers = Servers(self._gate, CONF, self._hypervisor.has_tpm)
        self._deletes = Deletes(self._gate, servers, self._tombstones)
        self._keys = Keys(
            self._gate, self._hypervisor, vtpm.get_or_create_secret
        )
        self._starts = Starts(
            self._gate, servers, self._keys, self._deletes, CONF
        )
        self._onboarding = Onboarding(servers, self._starts, self._keys, CONF)
        self._outgoing = Outgoing(
            self._gate,
            servers,
            self._onboarding,
            CONF,
            libvirt_utils.is_valid_hostname,
        )
        self._incoming = Incoming(
            self._gate,
            servers,
            CONF,
            lambda: self._nova_host,
            records.live_migrations,
        )
        self._servers = servers
        self._arrival = Arrival(self._arrive)

    def _make_agent(self, timeout: float) -> AgentClient:
        return AgentClient(CONF.korora.agent_socket, timeout)

    # nova-compute

    def init_host(self, host: Any) -> None:
        """As stock; what is found wrong refuses protected servers only."""
        self._nova_host = host
        self._gate.boot()
        super().init_host(host)
        try:
            self._gate.obstacle = drift.obstacle(
                libvirt_driver.LibvirtDriver, self._host.has_min_version
            )
            if self._gate.obstacle is not None:
                LOG.error(
                    'Servers with a requirement are refused here: %s',
                    self._gate.obstacle,
                )
            self._arrival.start()
        except Exception:  # noqa: BLE001 boundary: nova-compute must start
            LOG.exception(
                'Cannot examine this host; servers with a '
                'requirement are refused'
            )
            self._gate.obstacle = errors.Unavailable(errors.Reason.INTERNAL)

    def _arrive(self) -> bool:
        """Compare this host with its agent; whether all is as it should be.

        :raises KororaError: the agent does not answer (yet).
        """
        status = self._gate.agent(gate.QUICK).status()
        self._incoming.compare_address()
        self._deletes.settle()
        known = {key.instance for key in status.keys}
        return self._onboarding.take_all(
            instance
            for instance in records.servers_of(self._nova_host)
            if instance.uuid not in known
        )

    def cleanup_host(self, host: Any) -> None:
        self._arrival.stop()
        super().cleanup_host(host)

    # Starts

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Create, unshelve, and the second half of rebuild and evacuate."""
        with self._starts.gated(
            'create the server',
            instance,
            refusal.spawn,
            image_meta=image_meta,
        ):
            super().spawn(context, instance, image_meta, *args, **kwargs)

    def rebuild(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Rebuild and evacuate: stock falls back to destroy and spawn.

        After a refusal on the server's own host the guest runs on, but Nova
        has dropped its allocation, as after every failed rebuild:
        ``nova-manage placement heal_allocations`` restores it.
        """
        with refusal.told(
            'rebuild the server',
            instance,
            refusal.rebuild,
        ):
            self._starts.check_rebuild(instance, image_meta)
        super().rebuild(context, instance, image_meta, *args, **kwargs)

    def power_on(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Start, and restore of a soft-deleted server."""
        with self._starts.gated('start the server', instance, refusal.plain):
            super().power_on(context, instance, *args, **kwargs)

    def reboot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Reboot; a soft one launches the guest again by itself, too."""
        # Nova finishes an interrupted reboot when the host boots.
        self._starts.await_boot(instance)
        with self._starts.gated('reboot the server', instance, refusal.plain):
            super().reboot(context, instance, *args, **kwargs)

    def resume(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Resume a suspended server."""
        with self._starts.gated(
            'resume the server', instance, refusal.rollback
        ):
            super().resume(context, instance, *args, **kwargs)

    def rescue(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Rescue; Nova's API refuses it for servers with a vTPM."""
        with self._starts.gated('rescue the server', instance, refusal.plain):
            super().rescue(context, instance, *args, **kwargs)

    def unrescue(self, context: Any, instance: Any) -> None:
        """End of a rescue."""
        with self._starts.gated(
            'unrescue the server', instance, refusal.plain
        ):
            super().unrescue(context, instance)

    def resume_state_on_host_boot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Host boot: inside init_host, maybe before the agent attested."""
        off = not self._hypervisor.is_alive(instance)
        if off:
            self._starts.await_boot(instance)
        with self._starts.gated(
            'start the server at host boot',
            instance,
            refusal.plain,
            needed=off,
        ):
            super().resume_state_on_host_boot(
                context, instance, *args, **kwargs
            )

    def _suspend_guest_for_snapshot(
        self,
        context: Any,
        live_snapshot: Any,
        current_power_state: Any,
        instance: Any,
    ) -> None:
        """Cold snapshot: it stops the guest, which must start again."""
        if self._needs_suspend_resume_for_snapshot(
            live_snapshot, current_power_state
        ):
            with refusal.told('take a cold snapshot', instance, refusal.plain):
                self._starts.check_suspend(instance)
        super()._suspend_guest_for_snapshot(
            context, live_snapshot, current_power_state, instance
        )

    def _resume_guest_after_snapshot(
        self,
        context: Any,
        live_snapshot: Any,
        original_power_state: Any,
        instance: Any,
        guest: Any,
    ) -> None:
        """Cold snapshot: it launches the guest directly, without its key."""
        with self._starts.gated(
            'resume after the snapshot',
            instance,
            refusal.plain,
            needed=self._needs_suspend_resume_for_snapshot(
                live_snapshot, original_power_state
            ),
        ):
            super()._resume_guest_after_snapshot(
                context, live_snapshot, original_power_state, instance, guest
            )

    def _create_guest(
        self, context: Any, xml: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Nova's one way to a guest: gated here if nowhere before."""
        launch = _given('power_on', 0, True, args, kwargs) or _given(
            'pause', 1, False, args, kwargs
        )
        with (
            refusal.told('start the guest', instance, refusal.plain),
            self._starts.starting(instance)
            if launch
            else self._starts.defining(instance),
        ):
            return super()._create_guest(
                context, xml, instance, *args, **kwargs
            )

    def _get_or_create_secret_for_vtpm(
        self, context: Any, instance: Any
    ) -> tuple[Any, str | None]:
        """The open key of a protected server; stock for all others."""
        ticket = self._starts.ticket(instance)
        if ticket.standing.custody:
            return self._keys.supply(context, instance, ticket)
        stock: tuple[Any, str | None] = super()._get_or_create_secret_for_vtpm(
            context, instance
        )
        return stock

    # Cold migration and resize

    def migrate_disk_and_power_off(
        self,
        context: Any,
        instance: Any,
        dest: Any,
        flavor: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Cold migration and resize, on S, before anything moves."""
        with refusal.told('migrate the server', instance, refusal.resize):
            self._starts.check_resize(
                # dest is an address; the host is in the migration.
                instance,
                flavor,
                lambda: records.destination(context, instance),
            )
        return super().migrate_disk_and_power_off(
            context, instance, dest, flavor, *args, **kwargs
        )

    def finish_migration(
        self,
        context: Any,
        migration: Any,
        instance: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Cold migration and resize, on D: a start unless it was off."""
        with self._starts.gated(
            'finish the migration',
            instance,
            refusal.plain,
            needed=_given('power_on', 6, True, args, kwargs),
        ):
            super().finish_migration(
                context, migration, instance, *args, **kwargs
            )

    def finish_revert_migration(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Revert, on S: a start unless it was off."""
        with self._starts.gated(
            'revert the migration',
            instance,
            refusal.plain,
            needed=_given('power_on', 3, True, args, kwargs),
        ):
            super().finish_revert_migration(context, instance, *args, **kwargs)

    # Live migration, in Nova's order

    def check_can_live_migrate_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """D: before stock, which leaves a file on shared storage."""
        with refusal.told('receive the server', instance, refusal.precheck):
            self._incoming.check(instance)
        return super().check_can_live_migrate_destination(
            context, instance, *args, **kwargs
        )

    def check_can_live_migrate_source(
        self,
        context: Any,
        instance: Any,
        dest_check_data: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """S: gate, stock, announce."""
        with refusal.told('send the server', instance, refusal.precheck):
            custody = self._outgoing.check(instance, dest_check_data)
            data = super().check_can_live_migrate_source(
                context, instance, dest_check_data, *args, **kwargs
            )
            if custody:
                self._outgoing.announce(instance)
        return data

    def _add_vtpm_secret_to_live_migrate_data(
        self, instance: Any, dest_check_data: Any
    ) -> None:
        """S: set, but empty; Nova's rollback on D depends on its being set."""
        try:
            custody = self._servers.standing(instance).custody
        except errors.KororaError as exc:
            raise refusal.precheck(exc, instance) from exc
        if custody:
            dest_check_data.vtpm_secret_uuid = None
            dest_check_data.vtpm_secret_value = None
        else:
            super()._add_vtpm_secret_to_live_migrate_data(
                instance, dest_check_data
            )

    def check_source_migrate_data_at_dest(
        self,
        ctxt: Any,
        instance: Any,
        migrate_data: Any,
        migration: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """D: no secret may have come along; learn the migration."""
        with refusal.told('receive the server', instance, refusal.precheck):
            self._incoming.learn(instance, migrate_data, migration.uuid)
        return super().check_source_migrate_data_at_dest(
            ctxt, instance, migrate_data, migration, *args, **kwargs
        )

    def pre_live_migration(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """D: gate, stock, receive the key."""
        told = _given('migrate_data', 3, None, args, kwargs)
        with refusal.told(
            'prepare the live migration', instance, refusal.precheck
        ):
            migration = self._incoming.admit(context, instance, told)
            data = super().pre_live_migration(
                context, instance, *args, **kwargs
            )
            if migration is not None:
                self._incoming.receive(instance, migration, data)
        return data

    def live_migration(self, *args: Any, **kwargs: Any) -> None:
        """S: permit, address, TLS, verdict on D; then stock."""
        self._outgoing.send(super().live_migration, *args, **kwargs)

    def _live_migration_operation(
        self,
        context: Any,
        instance: Any,
        dest: Any,
        block_migration: Any,
        migrate_data: Any,
        guest: Any,
        device_names: Any,
    ) -> None:
        """S: the call of libvirt; a protected stream goes as permitted."""
        stream = self._outgoing.begin(instance)
        if stream is not None:
            guest = libvirt_guest.Guest(
                StreamDomain(
                    guest._domain,
                    libvirt_driver.libvirt,
                    stream.tls_name,
                    self._migrate_uri(stream.address),
                )
            )
        super()._live_migration_operation(
            context,
            instance,
            dest,
            block_migration,
            migrate_data,
            guest,
            device_names,
        )

    def post_live_migration(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """S: say that the stream completed."""
        self._outgoing.completed(instance)
        super().post_live_migration(context, instance, *args, **kwargs)

    def post_live_migration_at_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """D: say that the guest runs."""
        try:
            super().post_live_migration_at_destination(
                context, instance, *args, **kwargs
            )
        finally:
            self._incoming.arrived(instance)

    def rollback_live_migration_at_source(
        self, context: Any, instance: Any, migrate_data: Any
    ) -> None:
        """S: say so if libvirt was never called."""
        self._outgoing.rolled_back(instance, migrate_data)
        super().rollback_live_migration_at_source(
            context, instance, migrate_data
        )

    def rollback_live_migration_at_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """D: say that there is no guest."""
        try:
            super().rollback_live_migration_at_destination(
                context, instance, *args, **kwargs
            )
        finally:
            self._incoming.rolled_back(
                instance, _given('migrate_data', 3, None, args, kwargs)
            )

    # The end

    def destroy(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Delete, and much else: if it is a delete, the key goes, too."""
        super().destroy(context, instance, *args, **kwargs)
        self._deletes.destroyed(instance)


def _given(
    name: str,
    position: int,
    default: object,
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> Any:
    """An argument that Nova passes by position or by name."""
    if len(args) > position:
        return args[position]
    return kwargs.get(name, default)
