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

from nova import context as nova_context
from nova import objects
from nova.virt.libvirt import driver as libvirt_driver
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party import (
    arrival,
    base,
    drift,
    facts,
    gate,
    migration,
)

CONF = base.CONF
LOG = logging.getLogger(__name__)

#: Older ones lose the vTPM's state when a guest is undefined.
MIN_LIBVIRT = (8, 9, 0)


class KororaLibvirtDriver(migration.MigrationDriver):
    """LibvirtDriver whose protected servers run on trusted hosts only."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        self._arrival = arrival.Arrival(self._arrive)
        self._complained = False
        #: Why a key could not be taken yet, by server; '' for all.
        self._refused: dict[str, str] = {}

    def init_host(self, host: Any) -> None:
        """As stock; what is found wrong refuses protected servers only."""
        self._nova_host = host
        self._gate.boot()
        super().init_host(host)
        try:
            self._gate.obstacle = self._find_obstacle()
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

    def _find_obstacle(self) -> errors.KororaError | None:
        strange = drift.differences(libvirt_driver.LibvirtDriver)
        if strange:
            return errors.Unavailable(
                errors.Reason.NOVA_DRIFT,
                'This Nova differs in: ' + ', '.join(strange) + '.',
            )
        if not self._host.has_min_version(MIN_LIBVIRT):
            return errors.Unavailable(errors.Reason.LIBVIRT_TOO_OLD)
        return None

    def cleanup_host(self, host: Any) -> None:
        self._arrival.stop()
        super().cleanup_host(host)

    def _arrive(self) -> bool:
        """Compare this host with its agent; whether all is as it should be.

        :raises KororaError: the agent does not answer (yet).
        """
        status = self._gate.call('status', budget=gate.QUICK)
        self._compare_address()
        self._settle()
        return self._onboard_all(
            {key['instance'] for key in status.get('keys', ())}
        )

    def _compare_address(self) -> None:
        """Say at the start what would refuse each migration to this host."""
        try:
            self._check_address()
        except errors.CustodyError as exc:
            if not self._complained:
                LOG.warning(
                    'Protected servers cannot migrate to this host: %s', exc
                )
            self._complained = True

    def _onboard_all(self, keys: set[str]) -> bool:
        """Take the keys of servers that ran before this driver came.

        :param keys: the servers whose keys the agent has.
        :returns: whether none is left.
        """
        done = True
        try:
            for instance in objects.InstanceList.get_by_host(
                nova_context.get_admin_context(),
                self._nova_host,
                expected_attrs=['flavor', 'system_metadata'],
            ):
                if instance.uuid not in keys:
                    done = self._take(instance) and done
        except (errors.Unavailable, errors.Untrusted) as exc:
            # It would be the same for every server.
            self._tell_once('', exc)
            return False
        return done

    def _take(self, instance: Any) -> bool:
        """Take a server's key; whether there is nothing left to do.

        :raises Unavailable, Untrusted: no key of this host can be taken.
        """
        try:
            server = facts.of_instance(instance, CONF.korora.protect_vtpm)
            if not server.requirement.custody:
                return True
            # What is under way may be about its key.
            return instance.task_state is None and self._onboard(instance)
        except (errors.Unavailable, errors.Untrusted):
            raise
        except errors.KororaError as exc:
            self._tell_once(instance.uuid, exc)
            return False

    def _tell_once(self, server: str, exc: errors.KororaError) -> None:
        if self._refused.get(server) != str(exc):
            LOG.warning(
                'Keys of vTPMs that stock Nova made are not in '
                'custody yet, those of %(server)s; tried again '
                'without restart: %(error)s',
                {'server': server or 'all servers here', 'error': exc},
            )
        self._refused[server] = str(exc)
