# SPDX-License-Identifier: Apache-2.0
"""The compute driver: Nova's libvirt driver, gated and keeping no keys.

::

    [DEFAULT]
    compute_driver = korora.KororaLibvirtDriver

What Nova calls is overridden here. What is done then is done by the parts
of :class:`korora_nova.relying_party.host.Host`:

==============  ======================================================
``starts``      the gate of every start
``keys``        the vTPM's key, for as long as a start needs it
``onboarding``  keys of servers that stock Nova started
``moves``       cold migration and resize, on both
``outgoing``    live migration, on the source (S)
``incoming``    live migration, on the destination (D)
``deletes``     the end of a server
``servers``     what is known of a server
``arrival``     what the start of nova-compute leaves to do
``boot``        what that start may wait for
``retries``     servers refused while nova-compute started
``reconciler``  compares keys with servers, again and again
``presence``    tells the agent that this driver is there
==============  ======================================================

How Nova ends an operation that is refused depends on the class of the
exception: ``refusal`` lists the operations. Arguments are passed on as they
come, for Nova 33 and 34 alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import nova.conf
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest

from korora_nova import conf, errors, spans
from korora_nova.attester.socket_client import AgentClient
from korora_nova.relying_party import drift, escrow, nova_calls, refusal
from korora_nova.relying_party.host import Host
from korora_nova.relying_party.hypervisor import Hypervisor
from korora_nova.relying_party.outgoing import Stream
from korora_nova.relying_party.stream import StreamDomain, WatchedGuest

CONF = nova.conf.CONF

conf.register_korora_opts(CONF)


class KororaLibvirtDriver(libvirt_driver.LibvirtDriver):  # type: ignore[misc]
    """LibvirtDriver whose protected servers run on trusted hosts only."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        spans.start(CONF.korora.spans, 'nova-compute')
        self._hypervisor = Hypervisor(lambda: self._host)
        self._korora = Host(
            CONF,
            self._make_agent,
            self._hypervisor,
            nova_calls,
            escrow,
            f'{type(self).__module__}.{type(self).__qualname__}',
            self._live_migration_uri,
        )

    def _make_agent(self, timeout: float) -> AgentClient:
        return AgentClient(CONF.korora.agent_socket, timeout)

    # nova-compute

    def init_host(self, host: Any) -> None:
        """As stock; what is found wrong refuses protected servers only."""
        self._korora.begin(host)
        super().init_host(host)
        self._korora.examine(
            lambda: drift.obstacle(
                libvirt_driver.LibvirtDriver, self._host.has_min_version
            )
        )

    def cleanup_host(self, host: Any) -> None:
        self._korora.end()
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
        with self._korora.starts.gated(
            refusal.CREATE,
            context,
            instance,
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
        with refusal.told(refusal.REBUILD, instance):
            self._korora.starts.check_rebuild(instance, image_meta)
        super().rebuild(context, instance, image_meta, *args, **kwargs)

    def power_on(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Start, and restore of a soft-deleted server."""
        with self._korora.starts.gated(refusal.START, context, instance):
            super().power_on(context, instance, *args, **kwargs)

    def reboot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Reboot; a soft one launches the guest again by itself, too."""
        # Nova finishes an interrupted reboot when the host boots.
        self._korora.starts.await_boot(instance)
        with (
            self._korora.retries.noted(instance, spare=True),
            self._korora.starts.gated(refusal.REBOOT, context, instance),
        ):
            super().reboot(context, instance, *args, **kwargs)

    def resume(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Resume a suspended server."""
        with self._korora.starts.gated(refusal.RESUME, context, instance):
            super().resume(context, instance, *args, **kwargs)

    def rescue(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Rescue; Nova's API refuses it for servers with a vTPM."""
        with self._korora.starts.gated(refusal.RESCUE, context, instance):
            super().rescue(context, instance, *args, **kwargs)

    def power_off(self, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Stop, which may be the first half of a rescue or a move."""
        with refusal.told(refusal.POWER_OFF, instance):
            self._korora.starts.check_power_off(instance)
            self._korora.moves.check_power_off(instance)
        super().power_off(instance, *args, **kwargs)

    def unrescue(self, context: Any, instance: Any) -> None:
        """End of a rescue."""
        with self._korora.starts.gated(refusal.UNRESCUE, context, instance):
            super().unrescue(context, instance)

    def resume_state_on_host_boot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Host boot: inside init_host, maybe before the agent attested."""
        off = not self._hypervisor.is_alive(instance)
        if off:
            self._korora.starts.await_boot(instance)
        with (
            self._korora.retries.noted(instance, spare=False),
            self._korora.starts.gated(
                refusal.HOST_BOOT, context, instance, needed=off
            ),
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
            with refusal.told(refusal.SNAPSHOT, instance):
                self._korora.starts.check_suspend(instance)
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
        with self._korora.starts.gated(
            refusal.AFTER_SNAPSHOT,
            context,
            instance,
            needed=self._needs_suspend_resume_for_snapshot(
                live_snapshot, original_power_state
            ),
        ):
            self._korora.starts.launching(instance)
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
            refusal.told(refusal.GUEST, instance),
            self._korora.starts.starting(context, instance)
            if launch
            else self._korora.starts.defining(instance) as ticket,
        ):
            if launch and ticket.standing.custody:
                self._hypervisor.bring_back_vtpm(instance)
                self._korora.starts.launching(instance)
            return super()._create_guest(
                context, xml, instance, *args, **kwargs
            )

    def _get_or_create_secret_for_vtpm(
        self, context: Any, instance: Any
    ) -> tuple[Any, str | None]:
        """The open key of a protected server; stock for all others."""
        ticket = self._korora.starts.ticket(instance)
        if ticket.standing.custody:
            return self._korora.keys.supply(context, instance, ticket)
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
        with (
            refusal.told(refusal.MIGRATE, instance),
            self._korora.moves.leaving(context, instance, flavor),
        ):
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
        with (
            refusal.told(refusal.FINISH_MIGRATION, instance),
            self._korora.moves.finishing(
                context,
                instance,
                migration,
                launch=_given('power_on', 6, True, args, kwargs),
            ) as launch,
        ):
            args, kwargs = _replaced('power_on', 6, launch, args, kwargs)
            super().finish_migration(
                context, migration, instance, *args, **kwargs
            )

    def finish_revert_migration(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Revert, on S: a start unless it was off.

        nova-compute reverts by itself what was interrupted when it starts.
        """
        migration = _given('migration', 1, None, args, kwargs)
        if self._korora.moves.never_left(instance, migration):
            return
        with (
            self._korora.retries.noted(instance, spare=False),
            refusal.told(refusal.REVERT_MIGRATION, instance),
            self._korora.moves.reverting_crash(instance),
            self._korora.moves.finishing(
                context,
                instance,
                migration,
                reverts=True,
                launch=_given('power_on', 3, True, args, kwargs),
            ) as launch,
        ):
            args, kwargs = _replaced('power_on', 3, launch, args, kwargs)
            super().finish_revert_migration(context, instance, *args, **kwargs)

    # Live migration, in Nova's order

    def check_can_live_migrate_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """D: before stock, which leaves a file on shared storage."""
        with (
            refusal.told(refusal.RECEIVE, instance),
            spans.span('precheck', instance=instance.uuid),
        ):
            self._korora.incoming.check(instance)
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
        """S: gate, stock, announce, all of it in time."""
        with (
            refusal.told(refusal.SEND, instance),
            self._korora.outgoing.checking(),
        ):
            with spans.span('precheck', instance=instance.uuid):
                custody = self._korora.outgoing.check(
                    instance, dest_check_data
                )
            data = super().check_can_live_migrate_source(
                context, instance, dest_check_data, *args, **kwargs
            )
            if custody:
                self._korora.outgoing.check_disks(data)
                with spans.span('precheck', instance=instance.uuid):
                    self._korora.outgoing.announce(instance)
        return data

    def _add_vtpm_secret_to_live_migrate_data(
        self, instance: Any, dest_check_data: Any
    ) -> None:
        """S: set, but empty; Nova's rollback on D depends on its being set."""
        try:
            with spans.span('precheck', instance=instance.uuid):
                custody = self._korora.servers.standing(instance).custody
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
        with (
            refusal.told(refusal.RECEIVE, instance),
            spans.span('precheck', instance=instance.uuid),
        ):
            self._korora.incoming.learn(instance, migrate_data, migration)
        return super().check_source_migrate_data_at_dest(
            ctxt, instance, migrate_data, migration, *args, **kwargs
        )

    def pre_live_migration(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """D: gate, then stock, while the key is received."""
        sent = _given('migrate_data', 3, None, args, kwargs)
        with refusal.told(refusal.PREPARE, instance):
            with spans.span('handover', instance=instance.uuid):
                migration = self._korora.incoming.admit(
                    context, instance, sent
                )
            if migration is None:
                return super().pre_live_migration(
                    context, instance, *args, **kwargs
                )
            with self._korora.incoming.receiving(instance, migration) as ready:
                data = super().pre_live_migration(
                    context, instance, *args, **kwargs
                )
                with spans.span(
                    'handover', instance=instance.uuid, migration=migration
                ):
                    ready(data)
        return data

    def live_migration(self, *args: Any, **kwargs: Any) -> None:
        """S: permit, address, TLS, verdict on D; then stock."""
        self._korora.outgoing.send(super().live_migration, *args, **kwargs)

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
        with self._korora.outgoing.operation(instance) as stream:
            if stream is not None:
                guest = self._bound(guest, stream)
            super()._live_migration_operation(
                context,
                instance,
                dest,
                block_migration,
                migrate_data,
                guest,
                device_names,
            )

    def _live_migration_monitor(
        self,
        context: Any,
        instance: Any,
        guest: Any,
        dest: Any,
        post_method: Any,
        recover_method: Any,
        block_migration: Any,
        migrate_data: Any,
        future: Any,
        disk_paths: Any,
    ) -> None:
        """S: the end of a short protected stream is seen when it comes."""
        if self._korora.outgoing.watching:
            guest = WatchedGuest(guest, future)
        super()._live_migration_monitor(
            context,
            instance,
            guest,
            dest,
            post_method,
            recover_method,
            block_migration,
            migrate_data,
            future,
            disk_paths,
        )

    def _bound(self, guest: Any, stream: Stream) -> Any:
        """The guest, with what its stream must follow."""
        return libvirt_guest.Guest(
            StreamDomain(
                guest._domain,
                libvirt_driver.libvirt,
                stream.tls_name,
                self._migrate_uri(stream.address),
                converge=CONF.libvirt.live_migration_permit_auto_converge,
            )
        )

    def _is_post_copy_enabled(self, migration_flags: Any) -> bool:
        """S: a protected stream has none; Nova completes it by a pause."""
        enabled: bool = super()._is_post_copy_enabled(migration_flags)
        return enabled and not self._korora.outgoing.watching

    def post_live_migration(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """S: say that the stream completed."""
        with spans.span('post', instance=instance.uuid):
            self._korora.outgoing.completed(instance)
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
            with spans.span('post', instance=instance.uuid):
                self._korora.incoming.arrived(instance)

    def rollback_live_migration_at_source(
        self, context: Any, instance: Any, migrate_data: Any
    ) -> None:
        """S: say so if libvirt was never called."""
        self._korora.outgoing.rolled_back(instance, migrate_data)
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
            self._korora.incoming.rolled_back(
                instance, _given('migrate_data', 3, None, args, kwargs)
            )

    # The end

    def destroy(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Delete, and much else: if it is a delete, the key goes, too.

        If it is the first half of a revert, it goes back before.
        """
        whole = _given('destroy_disks', 2, True, args, kwargs) and _given(
            'destroy_secrets', 3, True, args, kwargs
        )
        with (
            refusal.told(refusal.REVERT, instance),
            self._korora.moves.going_back(context, instance),
            self._korora.deletes.destroying(instance, whole=whole),
        ):
            super().destroy(context, instance, *args, **kwargs)

    def _undefine_domain(
        self, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """The last of a destroy: after a revert, libvirt keeps nothing."""
        if self._korora.moves.is_returning(instance):
            super()._undefine_domain(instance)
        else:
            super()._undefine_domain(instance, *args, **kwargs)


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


def _replaced(
    name: str,
    position: int,
    value: object,
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> tuple[tuple[object, ...], dict[str, object]]:
    """The arguments with another value for one of them."""
    if len(args) > position:
        return (*args[:position], value, *args[position + 1 :]), {**kwargs}
    return tuple(args), {**kwargs, name: value}
