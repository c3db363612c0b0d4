# SPDX-License-Identifier: Apache-2.0
"""The vTPM's secret: from custody, never from Nova's stock path.

The key is open in libvirt (private, ephemeral) for as long as the start
takes that needs it.
"""

from __future__ import annotations

from typing import Any, Protocol

from oslo_log import log as logging

from korora_nova import errors, spans
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


class Escrow(Protocol):
    """What is needed of the module ``escrow``."""

    def create(self, context: Any, instance: Any) -> tuple[str, bytes]: ...

    def read(self, context: Any, instance: Any) -> tuple[str, bytes]: ...


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
    """Supplies the keys of protected servers on one host."""

    def __init__(
        self,
        gate: Gate,
        hypervisor: Hypervisor,
        escrow: Escrow,
    ) -> None:
        self._gate = gate
        self._hypervisor = hypervisor
        self._escrow = escrow

    def prepare(self, context: Any, instance: Any, ticket: Ticket) -> None:
        """Find the passphrase of a key that comes back into custody.

        Before anything is touched: the start is refused without it.

        :raises KororaError: see :func:`escrow.read`.
        """
        if ticket.standing.before:
            secret_uuid, passphrase = self._hypervisor.stock_secret(
                instance
            ) or self._escrow.read(context, instance)
            ticket.escrow = secret_uuid, Secret(passphrase)

    def supply(
        self, context: Any, instance: Any, ticket: Ticket
    ) -> tuple[OpenSecret | None, str]:
        """The open key for an admitted start, and its mode for Nova.

        Nova may ask more than once during one start.

        :raises KororaError: it cannot be opened.
        """
        if not ticket.launch:
            return None, MODE
        with spans.span('supply', instance=instance.uuid):
            if ticket.secret_uuid is None:
                self._gate.first_key(
                    ticket, *self._passphrase(context, instance, ticket)
                )
            elif not self._hypervisor.has_secret(instance):
                self._gate.reopen(ticket)
        assert ticket.secret_uuid is not None  # noqa: S101 opened above
        name_secret(instance, ticket.secret_uuid)
        return OpenSecret(ticket.secret_uuid), MODE

    def _passphrase(
        self, context: Any, instance: Any, ticket: Ticket
    ) -> tuple[str, Secret]:
        """What a new key is made of, and the UUID of the tenant's secret."""
        if ticket.standing.before:
            # One that was not prepared is refused, not made anew.
            if ticket.escrow is None:
                self.prepare(context, instance, ticket)
            assert ticket.escrow is not None  # noqa: S101 prepared above
            return ticket.escrow
        secret_uuid, passphrase = self._hypervisor.stock_secret(
            instance
        ) or self._escrow.create(context, instance)
        return secret_uuid, Secret(passphrase)

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
