# SPDX-License-Identifier: Apache-2.0
"""This host's libvirt, through Nova's connection to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from nova import exception
from nova.compute import power_state
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils as libvirt_utils
from oslo_log import log as logging

from korora_nova import errors

LOG = logging.getLogger(__name__)

#: QEMU from which on libvirt can set ``tls-hostname`` of a copied disk.
NAMES_DISKS = (7, 0, 0)

# A guest in one of these states is not started when the host boots.
_ALIVE = (
    power_state.RUNNING,
    power_state.SUSPENDED,
    power_state.NOSTATE,
    power_state.PAUSED,
)


class Hypervisor:
    """Guests and vTPM secrets of this host.

    :param host: returns the driver's ``nova.virt.libvirt.host.Host``.
    """

    def __init__(self, host: Callable[[], Any]) -> None:
        self._host = host

    def is_alive(self, instance: Any) -> bool:
        """Whether the guest runs, or is paused or suspended."""
        try:
            guest = self._host().get_guest(instance)
            return guest.get_power_state(self._host()) in _ALIVE
        except (exception.InternalError, exception.InstanceNotFound):
            return False

    def is_off(self, instance: Any) -> bool:
        """Whether there is surely no guest that runs, is paused or suspended.

        Not the opposite of :meth:`is_alive`: libvirt may not answer.
        """
        try:
            guest = self._host().get_guest(instance)
            return guest.get_power_state(self._host()) not in _ALIVE
        except exception.InstanceNotFound:
            return True
        except (exception.NovaException, libvirt_driver.libvirt.libvirtError):
            return False

    def names_disks(self) -> bool:
        """Whether QEMU, as a client of NBD, compares the server's name."""
        return bool(self._host().has_min_version(hv_ver=NAMES_DISKS))

    def has_tpm(self, instance: Any) -> bool:
        """Whether this host's libvirt knows the server with a vTPM.

        A fact of this host: a flavor that lost its vTPM on the bus does not
        change it.
        """
        try:
            guest = self._host().get_guest(instance)
            return '<tpm ' in guest.get_xml_desc()
        except (exception.NovaException, libvirt_driver.libvirt.libvirtError):
            return False

    def bring_back_vtpm(self, instance: Any) -> None:
        """Put the vTPM's state where libvirt looks for it.

        Nova moves it into the server's directory before it copies that, and
        leaves it there if the copy fails: libvirt would make a new one.

        What is in the server's directory has just come, or was just to go:
        another one is older, and must not be started with.

        :raises CustodyError: VTPM_STATE_TWICE.
        :raises Exception: whatever Nova fails with.
        """
        base = libvirt_utils.get_instance_path(instance)
        place = os.path.join(libvirt_utils.VTPM_DIR, instance.uuid)
        moved, going = (
            os.path.join(directory, 'swtpm', instance.uuid)
            for directory in (base, f'{base}_resize')
        )
        if os.path.exists(place):
            if os.path.exists(moved):
                raise errors.CustodyError(
                    errors.Reason.VTPM_STATE_TWICE,
                    details={'newer': moved, 'older': place},
                )
            return
        for saved in (moved, going):
            if os.path.exists(saved):
                libvirt_utils.restore_vtpm_dir(saved)
                LOG.info('Brought the vTPM state back', instance=instance)
                return

    def has_secret(self, instance: Any) -> bool:
        """Whether the server's vTPM secret is defined."""
        return self._host().find_secret('vtpm', instance.uuid) is not None

    def stock_secret(self, instance: Any) -> tuple[str, bytes] | None:
        """UUID and value of the readable secret that stock Nova leaves."""
        found = self._host().find_secret('vtpm', instance.uuid)
        if found is None:
            return None
        try:
            return found.UUIDString(), found.value()
        except libvirt_driver.libvirt.libvirtError:
            return None  # private: not one of stock Nova's

    def undefine_secret(self, instance: Any) -> None:
        """Undefine the server's vTPM secret; never fails."""
        try:
            self._host().delete_secret('vtpm', instance.uuid)
        except Exception:  # noqa: BLE001 boundary: libvirt, in a finally
            LOG.exception('Cannot undefine the vTPM secret', instance=instance)
