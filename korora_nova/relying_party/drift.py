# SPDX-License-Identifier: Apache-2.0
"""Whether this Nova is one that the driver knows.

Overrides fail silently: if Nova renames what is overridden, the stock path
runs. At start every overridden method is compared with the shapes of Nova
33 and 34; another shape refuses protected servers (``NOVA_DRIFT``) and
leaves all others alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from korora_nova import errors

#: Older ones lose the vTPM's state when a guest is undefined.
MIN_LIBVIRT = (8, 9, 0)

_START = 'context instance network_info'
_CREATE = 'context instance image_meta injected_files admin_password'
_FINISH = (
    'context migration instance disk_info network_info image_meta '
    'resize_instance allocations block_device_info power_on'
)
_REVERT = 'context instance network_info migration block_device_info power_on'

#: Method -> its known shapes (parameters after self; Nova 33, Nova 34).
SHAPES: Mapping[str, tuple[str, ...]] = {
    'spawn': (
        f'{_CREATE} allocations network_info block_device_info power_on '
        'accel_info',
    ),
    'rebuild': (
        f'{_CREATE} allocations bdms detach_block_devices '
        'attach_block_devices network_info evacuate block_device_info '
        'preserve_ephemeral accel_uuids reimage_boot_volume',
    ),
    'power_on': (f'{_START} block_device_info accel_info share_info',),
    'power_off': ('instance timeout retry_interval',),
    'reboot': (
        f'{_START} reboot_type block_device_info bad_volumes_callback '
        'accel_info share_info',
    ),
    'resume': (f'{_START} block_device_info share_info',),
    'rescue': (
        f'{_START} image_meta rescue_password block_device_info share_info',
    ),
    'unrescue': ('context instance',),
    'resume_state_on_host_boot': (f'{_START} share_info block_device_info',),
    'migrate_disk_and_power_off': (
        'context instance dest flavor network_info block_device_info '
        'timeout retry_interval',
    ),
    'finish_migration': (_FINISH, f'{_FINISH} share_info'),
    'finish_revert_migration': (_REVERT, f'{_REVERT} share_info'),
    'destroy': (f'{_START} block_device_info destroy_disks destroy_secrets',),
    'cleanup': (
        f'{_START} block_device_info destroy_disks migrate_data '
        'destroy_vifs destroy_secrets',
    ),
    'check_can_live_migrate_destination': (
        'context instance src_compute_info dst_compute_info '
        'block_migration disk_over_commit',
    ),
    'check_can_live_migrate_source': (
        'context instance dest_check_data block_device_info',
    ),
    'check_source_migrate_data_at_dest': (
        'ctxt instance migrate_data migration limits allocs',
    ),
    'pre_live_migration': (
        'context instance block_device_info network_info disk_info '
        'migrate_data',
    ),
    'live_migration': (
        'context instance dest post_method recover_method block_migration '
        'migrate_data',
    ),
    'post_live_migration': (
        'context instance block_device_info migrate_data',
    ),
    'post_live_migration_at_destination': (
        f'{_START} block_migration block_device_info',
    ),
    'rollback_live_migration_at_source': ('context instance migrate_data',),
    'rollback_live_migration_at_destination': (
        f'{_START} block_device_info destroy_disks migrate_data',
    ),
    '_undefine_domain': ('instance keep_vtpm keep_nvram',),
    'init_host': ('host',),
    'cleanup_host': ('host',),
    '_get_or_create_secret_for_vtpm': ('context instance',),
    '_add_vtpm_secret_to_live_migrate_data': ('instance dest_check_data',),
    '_create_guest': (
        'context xml instance power_on pause post_xml_callback',
    ),
    '_needs_suspend_resume_for_snapshot': (
        'live_snapshot current_power_state',
    ),
    '_suspend_guest_for_snapshot': (
        'context live_snapshot current_power_state instance',
    ),
    '_resume_guest_after_snapshot': (
        'context live_snapshot original_power_state instance guest',
    ),
    # static: of their one parameter none is left
    '_migrate_uri': ('',),
    '_live_migration_uri': ('',),
    '_is_post_copy_enabled': ('migration_flags',),
    '_live_migration_operation': (
        'context instance dest block_migration migrate_data guest '
        'device_names',
    ),
    '_live_migration_monitor': (
        'context instance guest dest post_method recover_method '
        'block_migration migrate_data future disk_paths',
    ),
}


def obstacle(
    stock: type, has_libvirt: Callable[[tuple[int, int, int]], bool]
) -> errors.KororaError | None:
    """Why protected servers are refused on this host, if they are.

    :param stock: Nova's LibvirtDriver, not ours.
    :param has_libvirt: whether libvirt is at least of a version.
    """
    unknown = differences(stock)
    if unknown:
        return errors.Unavailable(
            errors.Reason.NOVA_DRIFT,
            'This Nova differs in: ' + ', '.join(unknown) + '.',
        )
    if not has_libvirt(MIN_LIBVIRT):
        return errors.Unavailable(errors.Reason.LIBVIRT_TOO_OLD)
    return None


def differences(stock: type) -> list[str]:
    """Names of what a driver class has in an unknown shape, or lacks.

    :param stock: Nova's LibvirtDriver, not ours.
    """
    return [
        name
        for name, shapes in SHAPES.items()
        if _shape(stock, name) not in shapes
    ]


def _shape(stock: type, name: str) -> str | None:
    method = inspect.unwrap(getattr(stock, name, None) or _absent)
    if method is _absent:
        return None
    try:
        parameters = list(inspect.signature(method).parameters)
    except (TypeError, ValueError):
        return None
    return ' '.join(parameters[1:])


def _absent() -> None:
    """Stands for a method that is not there."""
