# SPDX-License-Identifier: Apache-2.0
"""The compute driver: Nova's libvirt driver, gated and keeping no keys.

::

    [DEFAULT]
    compute_driver = korora.KororaLibvirtDriver

The parts, each a subclass of the one before:

============  ========================================================
``base``      the gate, and what is known of a server
``secret``    starts under the gate, and the key that they need
``lifecycle`` create, start, reboot, resume, resize, delete
``migration`` live migration and the hand-over of the key
``driver``    the start of nova-compute itself
============  ========================================================
"""

from __future__ import annotations

from typing import Any

from nova.virt.libvirt import driver as libvirt_driver
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party import base, drift, facts, gate, migration

CONF = base.CONF
LOG = logging.getLogger(__name__)

#: Older ones lose the vTPM's state when a guest is undefined.
MIN_LIBVIRT = (8, 9, 0)


class KororaLibvirtDriver(migration.MigrationDriver):
    """LibvirtDriver whose protected servers run on trusted hosts only."""

    def init_host(self, host: Any) -> None:
        """As stock; what is found wrong refuses protected servers only."""
        self._nova_host = host
        self._gate.boot()
        super().init_host(host)
        try:
            self._gate.obstacle = self._find_obstacle()
            if self._gate.obstacle is not None:
                LOG.error('Servers with a requirement are refused here: %s',
                          self._gate.obstacle)
            self._settle()
        except Exception:  # noqa: BLE001 boundary: nova-compute must start
            LOG.exception('Cannot examine this host; servers with a '
                          'requirement are refused')
            self._gate.obstacle = errors.Unavailable(errors.Reason.INTERNAL)

    def _find_obstacle(self) -> errors.KororaError | None:
        strange = drift.differences(libvirt_driver.LibvirtDriver)
        if strange:
            return errors.Unavailable(
                errors.Reason.NOVA_DRIFT,
                'This Nova differs in: ' + ', '.join(strange) + '.')
        if not self._host.has_min_version(MIN_LIBVIRT):
            return errors.Unavailable(errors.Reason.LIBVIRT_TOO_OLD)
        return None

    def process_instances_at_startup(self, context: Any,
                                     instances: Any) -> Any:
        """As stock, then take the keys of stock servers into custody."""
        # Nova 33 does not have it.
        stock = getattr(super(), 'process_instances_at_startup', None)
        if stock is not None:
            instances = stock(context, instances)
        try:
            self._onboard_all(instances)
        except Exception:  # noqa: BLE001 boundary: nova-compute must start
            LOG.exception('Cannot compare servers and vault')
        return instances

    def _onboard_all(self, instances: Any) -> None:
        """Servers that ran before this driver came; tell of lost keys."""
        try:
            status = self._gate.call('status', budget=gate.QUICK)
        except errors.KororaError as exc:
            LOG.warning('The agent does not answer yet: %s', exc)
            return
        keys = {key['instance'] for key in status.get('keys', ())}
        for instance in instances:
            if instance.deleted or instance.uuid in keys:
                continue
            server = facts.of_instance(instance, CONF.korora.protect_vtpm)
            if not server.requirement.custody:
                continue
            try:
                self._onboard(instance)
            except errors.KororaError as exc:
                LOG.warning("The key of the server's vTPM is not in custody "
                            'yet: %s', exc, instance=instance)
