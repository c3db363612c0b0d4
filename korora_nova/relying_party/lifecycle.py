# SPDX-License-Identifier: Apache-2.0
"""Starts, stops and ends of servers on one host.

Each start is gated at the *top*: Nova destroys and undefines a guest long
before it makes the new one, and a refusal must leave what runs running.
How a refusal ends is Nova's to decide, by the class that is raised:

====================  ===============================  ==================
operation             raised                           the server
====================  ===============================  ==================
create                NovaException                    next host
create, service down  BuildAbortException              ERROR, with reason
rebuild, evacuate     InstanceFaultRollback            keeps its state
start, reboot         NovaException                    keeps its state
resume                InstanceFaultRollback            SUSPENDED
resize, cold migrate  InstanceFaultRollback            keeps its state
host boot             NovaException                    ERROR
delete                never                            deleted
====================  ===============================  ==================
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from nova import exception, objects
from nova.compute import power_state, task_states, vm_states
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party import base, facts, refusal, secret

LOG = logging.getLogger(__name__)

# A guest in one of these states is not started when the host boots.
_ALIVE = (
    power_state.RUNNING,
    power_state.SUSPENDED,
    power_state.NOSTATE,
    power_state.PAUSED,
)


class LifecycleDriver(secret.SecretDriver):
    """Gates every way in which a server starts without moving live."""

    @contextlib.contextmanager
    def _gated(
        self,
        what: str,
        instance: Any,
        refuse: Callable[[errors.KororaError], Exception],
        *,
        image_meta: Any = None,
    ) -> Iterator[None]:
        """Run a start; ``refuse`` makes Nova's exception of a refusal."""
        try:
            with self._starting(instance, image_meta=image_meta):
                yield
        except errors.KororaError as exc:
            refusal.log(exc, what, instance)
            raise refuse(exc) from exc

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        with self._gated(
            'create the server',
            instance,
            lambda exc: refusal.spawn(exc, instance),
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
        """Gate, then as stock: Nova falls back to destroy and spawn.

        After a refusal on the server's own host the guest runs on, but Nova
        has dropped its allocation, as after every failed rebuild:
        ``nova-manage placement heal_allocations`` restores it.
        """
        try:
            standing = self._standing(instance, image_meta=image_meta)
            if standing.custody:
                # Nova's API rejects it; it would destroy the vTPM.
                raise errors.CustodyError(errors.Reason.VAULT_STATE)
            self._gate.admit(standing)
        except errors.KororaError as exc:
            refusal.log(exc, 'rebuild the server', instance)
            raise refusal.rebuild(exc, instance) from exc
        super().rebuild(context, instance, image_meta, *args, **kwargs)

    def power_on(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        with self._gated('start the server', instance, refusal.plain):
            super().power_on(context, instance, network_info, *args, **kwargs)

    def reboot(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        reboot_type: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Soft reboot too: it launches the guest again by itself."""
        # Nova finishes an interrupted reboot when the host boots.
        self._await_boot(instance)
        with self._gated('reboot the server', instance, refusal.plain):
            super().reboot(
                context, instance, network_info, reboot_type, *args, **kwargs
            )

    def resume(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        with self._gated('resume the server', instance, refusal.rollback):
            super().resume(context, instance, network_info, *args, **kwargs)

    def rescue(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        with self._gated('rescue the server', instance, refusal.plain):
            super().rescue(context, instance, *args, **kwargs)

    def unrescue(self, context: Any, instance: Any) -> None:
        with self._gated('unrescue the server', instance, refusal.plain):
            super().unrescue(context, instance)

    def resume_state_on_host_boot(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Runs inside init_host, maybe before the agent has attested."""
        resume = super().resume_state_on_host_boot
        if self._is_alive(instance):
            resume(context, instance, *args, **kwargs)
            return
        self._await_boot(instance)
        with self._gated(
            'start the server at host boot', instance, refusal.plain
        ):
            resume(context, instance, *args, **kwargs)

    def _await_boot(self, instance: Any) -> None:
        """Soon after a boot, give the agent time for the first evidence."""
        if self._gate.booting and self._might_be_gated(instance):
            self._gate.wait_for_trust()

    def _is_alive(self, instance: Any) -> bool:
        try:
            guest = self._host.get_guest(instance)
            return guest.get_power_state(self._host) in _ALIVE
        except (exception.InternalError, exception.InstanceNotFound):
            return False

    def _might_be_gated(self, instance: Any) -> bool:
        try:
            return self._standing(instance).gated
        except errors.KororaError:
            return True

    # Cold migration and resize

    def migrate_disk_and_power_off(
        self,
        context: Any,
        instance: Any,
        dest: Any,
        flavor: Any,
        network_info: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Refuse before anything moves.

        ``dest`` is an address; the host is in the migration.
        """
        try:
            standing = self._standing(instance)
            wanted = facts.of_flavor(
                flavor, instance.image_meta, base.CONF.korora.protect_vtpm
            )
            self._gate.check_cold_migration(standing, wanted)
            if standing.gated:
                self._gate.admit_peer(
                    standing, self._destination(context, instance)
                )
        except errors.KororaError as exc:
            refusal.log(exc, 'migrate the server', instance)
            raise refusal.resize(exc) from exc
        return super().migrate_disk_and_power_off(
            context, instance, dest, flavor, network_info, *args, **kwargs
        )

    def _destination(self, context: Any, instance: Any) -> str:
        migration = objects.Migration.get_by_id(
            context.elevated(), instance.migration_context.migration_id
        )
        return str(migration.dest_compute)

    def finish_migration(
        self,
        context: Any,
        migration: Any,
        instance: Any,
        disk_info: Any,
        network_info: Any,
        image_meta: Any,
        resize_instance: Any,
        allocations: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        finish = super().finish_migration
        everything = (
            context,
            migration,
            instance,
            disk_info,
            network_info,
            image_meta,
            resize_instance,
            allocations,
            block_device_info,
            power_on,
            *args,
        )
        if not power_on:
            finish(*everything, **kwargs)
            return
        with self._gated('finish the migration', instance, refusal.plain):
            finish(*everything, **kwargs)

    def finish_revert_migration(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        migration: Any,
        block_device_info: Any = None,
        power_on: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        finish = super().finish_revert_migration
        everything = (
            context,
            instance,
            network_info,
            migration,
            block_device_info,
            power_on,
            *args,
        )
        if not power_on:
            finish(*everything, **kwargs)
            return
        with self._gated('revert the migration', instance, refusal.plain):
            finish(*everything, **kwargs)

    # The end

    def destroy(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """As stock; then, if the server is deleted, its key goes too.

        What is called here is not always a delete: a destination's rollback
        and a hard reboot look like one but for the task state, and an
        ``incoming`` key ends by its own way only.
        """
        super().destroy(context, instance, network_info, *args, **kwargs)
        if self._is_deleted(instance):
            self._bury(instance)

    @staticmethod
    def _is_deleted(instance: Any) -> bool:
        """By what Nova sent along; nothing is loaded for it."""

        def sent(name: str) -> Any:
            return (
                getattr(instance, name)
                if instance.obj_attr_is_set(name)
                else None
            )

        return bool(
            sent('deleted')
            or sent('vm_state') in (vm_states.DELETED, vm_states.SOFT_DELETED)
            or sent('task_state') == task_states.DELETING
        )

    def _bury(self, instance: Any) -> None:
        """Never fails: a dead agent must not block a delete."""
        try:
            standing = self._standing(instance)
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
            self._settle()

    def _settle(self) -> None:
        """Tell the agent of deletes that it missed."""
        self._tombstones.settle(self._forget_again)

    def _forget_again(self, instance: str) -> bool:
        try:
            self._gate.call('forget', instance=instance)
        except errors.Unavailable:
            return False
        except errors.KororaError as exc:
            LOG.warning(
                'The agent does not forget server %(server)s: %(error)s',
                {'server': instance, 'error': exc},
            )
        return True
