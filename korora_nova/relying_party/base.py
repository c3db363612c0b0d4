# SPDX-License-Identifier: Apache-2.0
"""The driver's common ground: its gate, and what it knows of a server."""

from __future__ import annotations

from typing import Any

import nova.conf
from nova import exception
from nova.virt.libvirt import driver as libvirt_driver
from oslo_log import log as logging

from korora_nova import conf, errors
from korora_nova.attester import socket_client
from korora_nova.relying_party import facts, gate, tombstone

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

conf.register_korora_opts(CONF)


def _agent(timeout: float) -> gate.Agent:
    return socket_client.AgentClient(CONF.korora.agent_socket, timeout)


class BaseDriver(libvirt_driver.LibvirtDriver):  # type: ignore[misc]
    """Nova's libvirt driver with a gate beside it."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        self._gate = gate.Gate(
            self._make_agent,
            timeout=CONF.korora.agent_timeout,
            boot_wait=CONF.korora.boot_wait,
        )
        #: Starts under way, by server.
        self._tickets: dict[str, gate.Ticket] = {}
        #: This host's name in Nova; init_host says it again.
        self._nova_host: str = CONF.host
        self._tombstones = tombstone.Tombstones(CONF.state_path)

    def _make_agent(self, timeout: float) -> gate.Agent:
        return _agent(timeout)

    def _standing(
        self,
        instance: Any,
        *,
        image_meta: Any = None,
        vtpm: bool = False,
        ledger: bool = False,
    ) -> gate.Standing:
        """What this host knows of a server.

        :param vtpm: the migrate data says that it has a vTPM.
        :param ledger: see :meth:`gate.Gate.standing`.
        :raises KororaError: it may be protected, and nobody can tell.
        """
        server = facts.of_instance(
            instance,
            CONF.korora.protect_vtpm,
            image_meta=image_meta,
            vtpm=vtpm,
        )
        standing = self._gate.standing(server, ledger=ledger)
        if standing.state == 'unknown' and self._has_tpm_device(instance):
            raise errors.Unavailable(errors.Reason.AGENT_UNAVAILABLE)
        return standing

    def _has_tpm_device(self, instance: Any) -> bool:
        """Whether this host's libvirt knows the server with a vTPM.

        A fact of this host: a flavor that lost its vTPM on the bus does not
        change it.
        """
        try:
            guest = self._host.get_guest(instance)
            return '<tpm ' in guest.get_xml_desc()
        except (exception.NovaException, libvirt_driver.libvirt.libvirtError):
            return False

    def _tell(self, op: str, instance: Any, **fields: Any) -> bool:
        """Tell the agent something; it must never fail an operation.

        :returns: whether the agent took it.
        """
        try:
            self._gate.call(op, instance=instance.uuid, **fields)
            return True
        except errors.KororaError as exc:
            LOG.warning(
                'The agent did not take "%(op)s": %(error)s',
                {'op': op, 'error': exc},
                instance=instance,
            )
            return False
