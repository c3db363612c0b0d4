# SPDX-License-Identifier: Apache-2.0
"""The vTPM's secret: from custody, never from Nova's stock path.

The key is open in libvirt (private, ephemeral) for as long as the start
takes that needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party.gate import Gate, Standing, Ticket
from korora_nova.secret import Secret

LOG = logging.getLogger(__name__)

#: Neither of Nova's modes: it closes the secret after the start.
MODE = 'korora'


class Hypervisor(Protocol):
    """What is needed of ``hypervisor.Hypervisor``."""

    def has_secret(self, instance: Any) -> bool: ...

    def stock_secret(self, instance: Any) -> tuple[str, bytes] | None: ...

    def undefine_secret(self, instance: Any) -> None: ...


class OpenSecret:
    """Stands for libvirt's secret where Nova expects one.

    Nova undefines it after the start. The start closes the key itself, so
    that it serves a second attempt, and tolerates that it is gone.
    """

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid

    def UUIDString(self) -> str:  # noqa: N802 libvirt's name
        return self._uuid

    def undefine(self) -> None:
        """Leave it to the start that opened it."""


class Keys:
    """Supplies the keys of protected servers on one host.

    :param create: makes a tenant's secret in the key manager, or gets it:
        (context, instance) -> its UUID and passphrase.
    """

    def __init__(
        self,
        gate: Gate,
        hypervisor: Hypervisor,
        create: Callable[[Any, Any], tuple[str, bytes]],
    ) -> None:
        self._gate = gate
        self._hypervisor = hypervisor
        self._create = create

    def supply(
        self, context: Any, instance: Any, ticket: Ticket
    ) -> tuple[OpenSecret | None, str]:
        """The open key for an admitted start, and its mode for Nova.

        Nova may ask more than once during one start.

        :raises KororaError: it cannot be opened.
        """
        if not ticket.launch:
            return None, MODE
        if ticket.secret_uuid is None:
            secret_uuid, passphrase = self._hypervisor.stock_secret(
                instance
            ) or self._create(context, instance)
            self._gate.first_key(ticket, secret_uuid, Secret(passphrase))
        elif not self._hypervisor.has_secret(instance):
            self._gate.reopen(ticket)
        assert ticket.secret_uuid is not None  # noqa: S101 opened above
        name_secret(instance, ticket.secret_uuid)
        return OpenSecret(ticket.secret_uuid), MODE

    def take_stock(self, instance: Any, standing: Standing) -> None:
        """Take a running stock server's key into custody, if it has one.

        Stock Nova keeps it in libvirt, persistent and readable, for as long
        as the server is there. The agent undefines that.

        :raises KororaError: refused; the secret stays where it is.
        """
        stock = self._hypervisor.stock_secret(instance)
        if stock is None:
            return
        ticket = self._gate.begin(standing)
        try:
            self._gate.first_key(ticket, stock[0], Secret(stock[1]))
        finally:
            self.close(instance, ticket)
        LOG.info(
            "The key of the server's vTPM is in custody now", instance=instance
        )

    def close(self, instance: Any, ticket: Ticket) -> None:
        """End what a ticket opened; never fails."""
        try:
            self._gate.close(ticket)
        except errors.KororaError as exc:
            LOG.error(
                'The agent did not close the vTPM secret: %s',
                exc,
                instance=instance,
            )
            self._hypervisor.undefine_secret(instance)


def name_secret(instance: Any, secret_uuid: str) -> None:
    """Make Nova write the vault's UUID into the guest's XML."""
    if instance.system_metadata.get('vtpm_secret_uuid') != secret_uuid:
        instance.system_metadata['vtpm_secret_uuid'] = secret_uuid
        instance.save()
