# SPDX-License-Identifier: Apache-2.0
"""The vTPM's secret: from custody, never from Nova's stock path.

Every start runs inside :meth:`SecretDriver._starting`: the gate admits it
before anything is destroyed, the key is open in libvirt (private,
ephemeral) for as long as the start takes, and closed in any case.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from nova import vtpm
from nova.compute import vm_states
from nova.virt.libvirt import driver as libvirt_driver
from oslo_log import log as logging

from korora_nova import errors
from korora_nova import secret as secrets
from korora_nova.relying_party import base, gate, refusal

CONF = base.CONF
LOG = logging.getLogger(__name__)

#: Neither of Nova's modes: it closes the secret after the start.
MODE = 'korora'
#: Seconds to wait until another host may claim the key of a server whose
#: creation failed here.
FORGET_WAIT = 10


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


class SecretDriver(base.BaseDriver):
    """Gates starts and supplies the key."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        #: Servers whose key is being taken into custody beside a start.
        self._onboarding: dict[str, threading.Event] = {}
        #: Servers that are being started.
        self._beginning: set[str] = set()

    @contextlib.contextmanager
    def _starting(
        self, instance: Any, *, image_meta: Any = None
    ) -> Iterator[gate.Ticket]:
        """Admit a start, before anything is touched, and attend it.

        :raises KororaError: refused, nothing changed.
        """
        running = self._tickets.get(instance.uuid)
        if running is not None:
            yield running
            return
        self._beginning.add(instance.uuid)
        try:
            onboarding = self._onboarding.get(instance.uuid)
            if onboarding is not None:
                onboarding.wait(CONF.korora.agent_timeout)
            with self._admitted(instance, image_meta) as ticket:
                yield ticket
        finally:
            self._beginning.discard(instance.uuid)

    @contextlib.contextmanager
    def _admitted(
        self, instance: Any, image_meta: Any
    ) -> Iterator[gate.Ticket]:
        ticket = self._gate.begin(
            self._standing(instance, image_meta=image_meta, ledger=True)
        )
        self._tickets[instance.uuid] = ticket
        try:
            if ticket.secret_uuid is not None:
                self._name_secret(instance, ticket.secret_uuid)
            yield ticket
        except BaseException:
            if ticket.claimed and instance.vm_state == vm_states.BUILDING:
                # Never ran: what another host builds takes a new key.
                self._forget(instance, wait=FORGET_WAIT)
            raise
        finally:
            self._tickets.pop(instance.uuid, None)
            self._close(instance, ticket)

    @contextlib.contextmanager
    def _defining(self, instance: Any) -> Iterator[gate.Ticket]:
        """Nothing starts: no host needs trust for it, and no key opens."""
        ticket = self._tickets.get(instance.uuid)
        if ticket is not None:
            yield ticket
            return
        ticket = gate.Ticket(self._standing(instance), launch=False)
        self._tickets[instance.uuid] = ticket
        try:
            yield ticket
        finally:
            self._tickets.pop(instance.uuid, None)

    def _close(self, instance: Any, ticket: gate.Ticket) -> None:
        try:
            self._gate.close(ticket)
        except errors.KororaError as exc:
            LOG.error(
                'The agent did not close the vTPM secret: %s',
                exc,
                instance=instance,
            )
            self._undefine_secret(instance)

    def _undefine_secret(self, instance: Any) -> None:
        try:
            self._host.delete_secret('vtpm', instance.uuid)
        except Exception:  # noqa: BLE001 boundary: libvirt, in a finally
            LOG.exception('Cannot undefine the vTPM secret', instance=instance)

    @staticmethod
    def _name_secret(instance: Any, secret_uuid: str) -> None:
        """Make Nova write the vault's uuid into the guest's XML."""
        if instance.system_metadata.get('vtpm_secret_uuid') != secret_uuid:
            instance.system_metadata['vtpm_secret_uuid'] = secret_uuid
            instance.save()

    def _forget(self, instance: Any, **fields: Any) -> None:
        """Tell the agent that a server is gone; never fails."""
        if not self._tell('forget', instance, **fields):
            self._tombstones.add(instance.uuid)

    # Servers that stock Nova started

    def _stock_secret(self, instance: Any) -> tuple[str, bytes] | None:
        """The readable secret that stock Nova leaves in libvirt, if any."""
        found = self._host.find_secret('vtpm', instance.uuid)
        if found is None:
            return None
        try:
            return found.UUIDString(), found.value()
        except libvirt_driver.libvirt.libvirtError:
            return None  # private: not one of stock Nova's

    def _onboard(self, instance: Any) -> bool:
        """Take a running stock server's key into custody.

        Stock Nova keeps it in libvirt, persistent and readable, for as long
        as the server is there. The agent undefines that.

        :returns: False if it has to wait for a start under way.
        :raises KororaError: refused; the secret stays where it is.
        """
        done = threading.Event()
        # Each looks for the other only after it can be seen itself.
        self._onboarding[instance.uuid] = done
        try:
            if instance.uuid in self._beginning:
                return False
            self._onboard_now(instance)
            return True
        finally:
            self._onboarding.pop(instance.uuid, None)
            done.set()

    def _onboard_now(self, instance: Any) -> None:
        standing = self._standing(instance, ledger=True)
        if not standing.custody or standing.known:
            return
        stock = self._stock_secret(instance)
        if stock is None:
            return
        ticket = self._gate.begin(standing)
        try:
            self._gate.first_key(ticket, stock[0], secrets.Secret(stock[1]))
        finally:
            self._close(instance, ticket)
        LOG.info(
            "The key of the server's vTPM is in custody now", instance=instance
        )

    # Nova's seams

    def _get_or_create_secret_for_vtpm(
        self, context: Any, instance: Any
    ) -> tuple[Any, str | None]:
        """The open key of a protected server; stock for all others."""
        ticket = self._tickets.get(instance.uuid)
        if ticket is None:
            # Not reached through a start that we know: refuse, not guess.
            ticket = gate.Ticket(self._standing(instance))
            if ticket.standing.custody:
                raise errors.Unavailable(errors.Reason.NOVA_DRIFT)
        if not ticket.standing.custody:
            answer: tuple[Any, str | None] = (
                super()._get_or_create_secret_for_vtpm(context, instance)
            )
            return answer
        if not ticket.launch:
            return None, MODE
        if ticket.secret_uuid is None:
            secret_uuid, passphrase = self._stock_secret(
                instance
            ) or vtpm.get_or_create_secret(context, instance)
            self._gate.first_key(
                ticket, secret_uuid, secrets.Secret(passphrase)
            )
        elif self._host.find_secret('vtpm', instance.uuid) is None:
            self._gate.reopen(ticket)
        assert ticket.secret_uuid is not None  # noqa: S101 opened above
        self._name_secret(instance, ticket.secret_uuid)
        return OpenSecret(ticket.secret_uuid), MODE

    def _create_guest(
        self,
        context: Any,
        xml: Any,
        instance: Any,
        power_on: bool = True,
        pause: bool = False,
        post_xml_callback: Any = None,
    ) -> Any:
        """Nova's one way to a guest: gated here if nowhere before."""
        launch = power_on or pause
        try:
            with (
                self._starting(instance)
                if launch
                else self._defining(instance)
            ):
                return super()._create_guest(
                    context,
                    xml,
                    instance,
                    power_on=power_on,
                    pause=pause,
                    post_xml_callback=post_xml_callback,
                )
        except errors.KororaError as exc:
            refusal.log(exc, 'start the guest', instance)
            raise refusal.plain(exc) from exc

    def _suspend_guest_for_snapshot(
        self,
        context: Any,
        live_snapshot: Any,
        current_power_state: Any,
        instance: Any,
    ) -> None:
        """A cold snapshot stops the guest: be sure that it may start."""
        if self._needs_suspend_resume_for_snapshot(
            live_snapshot, current_power_state
        ):
            try:
                self._gate.admit(self._standing(instance))
            except errors.KororaError as exc:
                refusal.log(exc, 'take a cold snapshot', instance)
                raise refusal.plain(exc) from exc
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
        """A cold snapshot launches the guest directly, without its key."""
        again = super()._resume_guest_after_snapshot
        args = (context, live_snapshot, original_power_state, instance, guest)
        if not self._needs_suspend_resume_for_snapshot(
            live_snapshot, original_power_state
        ):
            again(*args)
            return
        try:
            with self._starting(instance):
                again(*args)
        except errors.KororaError as exc:
            refusal.log(exc, 'resume after the snapshot', instance)
            raise refusal.plain(exc) from exc
