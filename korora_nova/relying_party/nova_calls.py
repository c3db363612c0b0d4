# SPDX-License-Identifier: Apache-2.0
"""What is asked of Nova itself, outside its driver.

Its records, read by way of the conductor, can be written by any compute
host: good for finding things, not for trust.
"""

from __future__ import annotations

import contextlib
from typing import Any

import nova.conf
from nova import context as nova_context
from nova import exception, objects
from nova.compute import instance_actions, rpcapi, task_states, vm_states
from nova.compute import utils as compute_utils
from nova.virt.libvirt import utils as libvirt_utils
from oslo_log import log as logging

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

#: The event in a live migration's action.
ENDED = 'compute_korora_trust_lost'


def is_name(text: str) -> bool:
    """Whether a text is a host name or address."""
    return bool(libvirt_utils.is_valid_hostname(text))


def servers_of(host: str) -> Any:
    """All servers of a host."""
    return objects.InstanceList.get_by_host(
        nova_context.get_admin_context(),
        host,
        expected_attrs=['flavor', 'system_metadata'],
    )


def find(uuid: str) -> Any | None:
    """A server as it is now; None if it is deleted."""
    try:
        return objects.Instance.get_by_uuid(
            nova_context.get_admin_context(), uuid
        )
    except exception.InstanceNotFound:
        return None


def look_up(uuid: str) -> Any | None:
    """A server, deleted or not; None if this host's cell has no record."""
    try:
        return objects.Instance.get_by_uuid(
            nova_context.get_admin_context(read_deleted='yes'),
            uuid,
            expected_attrs=[],
        )
    except exception.InstanceNotFound:
        return None


def is_moving(instance: Any) -> bool:
    """Whether a migration or resize of a server is under way."""
    return bool(
        objects.MigrationList.get_in_progress_by_instance(
            nova_context.get_admin_context(), instance.uuid
        )
    )


def add_fault(instance: Any, exc: Exception) -> None:
    """Show a user why an operation failed."""
    compute_utils.add_instance_fault_from_exc(
        nova_context.get_admin_context(), instance, exc
    )


def report_ended(context: Any, instance: Any, exc: Exception) -> None:
    """Show a user, and in the server's action, why a stream was ended.

    Nova itself records neither of a live migration that it rolls back.
    """
    try:
        with (
            contextlib.suppress(type(exc)),
            compute_utils.EventReporter(
                context, ENDED, CONF.host, instance.uuid
            ),
        ):
            raise exc
    except Exception:  # noqa: BLE001 boundary: the rollback comes first
        LOG.exception('The action has no event of it', instance=instance)
    try:
        add_fault(instance, exc)
    except Exception:  # noqa: BLE001 boundary: likewise
        LOG.exception('The server has no fault of it', instance=instance)


def set_error(instance: Any) -> None:
    """An idle server goes into ERROR."""
    instance.vm_state = vm_states.ERROR
    instance.save(expected_task_state=[None])


def reboot(instance: Any) -> None:
    """Have this host reboot an idle server hard, as by Nova's API."""
    context = nova_context.get_admin_context()
    instance.task_state = task_states.REBOOTING_HARD
    instance.save(expected_task_state=[None])
    objects.InstanceAction.action_start(
        context, instance.uuid, instance_actions.REBOOT, want_result=False
    )
    rpcapi.ComputeAPI().reboot_instance(
        context, instance, block_device_info=None, reboot_type='HARD'
    )


def live_migrations(context: Any, instance: Any) -> Any:
    """Live migrations of a server that are under way."""
    return objects.MigrationList.get_in_progress_by_instance(
        context.elevated(), instance.uuid, 'live-migration'
    )


def cold_migration(context: Any, instance: Any) -> Any:
    """The cold migration or resize of a server that is under way."""
    return objects.Migration.get_by_id(
        context.elevated(), instance.migration_context.migration_id
    )
