# SPDX-License-Identifier: Apache-2.0
"""The gate of every start of a server on this host.

Each start is gated at the *top*: Nova destroys and undefines a guest long
before it makes the new one, and a refusal must leave what runs running.
The key is open for as long as the start takes, and closed in any case.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from nova.compute import task_states, vm_states
from oslo_config import cfg

from korora_nova import errors, spans
from korora_nova.relying_party import refusal
from korora_nova.relying_party.deletes import Deletes
from korora_nova.relying_party.gate import Gate, Ticket
from korora_nova.relying_party.keys import Keys, name_secret
from korora_nova.relying_party.servers import Servers


class Starts:
    """Admits starts, and attends them to their end."""

    def __init__(
        self,
        gate: Gate,
        servers: Servers,
        keys: Keys,
        deletes: Deletes,
        conf: cfg.ConfigOpts,
    ) -> None:
        self._gate = gate
        self._servers = servers
        self._keys = keys
        self._deletes = deletes
        self._conf = conf
        #: Starts under way, by thread and server.
        self._tickets: dict[tuple[int, str], Ticket] = {}
        #: Servers that are being started.
        self._beginning: set[str] = set()
        #: Servers whose key is being taken into custody beside a start.
        self._held_off: dict[str, threading.Event] = {}

    @contextlib.contextmanager
    def gated(
        self,
        operation: refusal.Operation,
        context: Any,
        instance: Any,
        *,
        image_meta: Any = None,
        needed: bool = True,
    ) -> Iterator[None]:
        """Run a start, refused in Nova's terms.

        :param context: whose token may read the tenant's secret.
        :param needed: false: it does not start the guest after all.
        """
        if not needed:
            yield
            return
        with (
            refusal.told(operation, instance),
            self.starting(context, instance, image_meta=image_meta),
        ):
            yield

    @contextlib.contextmanager
    def starting(
        self, context: Any, instance: Any, *, image_meta: Any = None
    ) -> Iterator[Ticket]:
        """Admit a start, before anything is touched, and attend it.

        A start inside another of the same server is part of it; one beside
        it, in another thread, is not.

        :raises KororaError: refused, nothing changed.
        """
        running = self._running(instance)
        if running is not None and running.launch:
            yield running
            return
        self._beginning.add(instance.uuid)
        try:
            held_off = self._held_off.get(instance.uuid)
            if held_off is not None:
                held_off.wait(self._conf.korora.agent_timeout)
            with self._admitted(context, instance, image_meta) as ticket:
                yield ticket
        finally:
            self._beginning.discard(instance.uuid)

    @contextlib.contextmanager
    def _admitted(
        self, context: Any, instance: Any, image_meta: Any
    ) -> Iterator[Ticket]:
        # What is saved meanwhile loads what others have made of it.
        building = (
            instance.obj_attr_is_set('vm_state')
            and instance.vm_state == vm_states.BUILDING
        )
        with spans.span('gate', instance=instance.uuid):
            ticket = self._gate.begin(
                self._servers.standing(
                    instance, image_meta=image_meta, ledger=True
                )
            )
        try:
            self._keys.prepare(context, instance, ticket)
            if ticket.secret_uuid is not None:
                name_secret(instance, ticket.secret_uuid)
            with self._under_way(instance, ticket):
                yield ticket
        except BaseException:
            if ticket.claimed and building:
                self._deletes.never_ran(instance)
            raise
        finally:
            with spans.span('close', instance=instance.uuid):
                self._keys.close(instance, ticket)

    @contextlib.contextmanager
    def _under_way(self, instance: Any, ticket: Ticket) -> Iterator[None]:
        key = threading.get_ident(), instance.uuid
        outer = self._tickets.get(key)
        self._tickets[key] = ticket
        try:
            yield
        finally:
            if outer is None:
                del self._tickets[key]
            else:
                self._tickets[key] = outer

    def launching(self, instance: Any) -> None:
        """The guest starts next; the state of its vTPM is in its place.

        :raises KororaError: it must not start with that.
        """
        ticket = self._running(instance)
        if ticket is not None and ticket.launch and ticket.standing.custody:
            self._gate.launch(ticket)

    def _running(self, instance: Any) -> Ticket | None:
        """What is under way with a server in this thread."""
        return self._tickets.get((threading.get_ident(), instance.uuid))

    @contextlib.contextmanager
    def defining(self, instance: Any) -> Iterator[Ticket]:
        """Nothing starts: no host needs trust for it, and no key opens."""
        ticket = self._running(instance)
        if ticket is not None:
            yield ticket
            return
        ticket = Ticket(self._servers.standing(instance), launch=False)
        with self._under_way(instance, ticket):
            yield ticket

    def ticket(self, instance: Any) -> Ticket:
        """The start under way, or what a server without custody needs.

        :raises Unavailable: NOVA_DRIFT, Nova starts a protected server in a
            way that is not gated: refuse, not guess.
        """
        ticket = self._running(instance)
        if ticket is None:
            ticket = Ticket(self._servers.standing(instance))
            if ticket.standing.custody:
                raise errors.Unavailable(errors.Reason.NOVA_DRIFT)
        return ticket

    @contextlib.contextmanager
    def held_off(self, instance: Any) -> Iterator[bool]:
        """Let a new start of a server wait; whether none is under way."""
        done = threading.Event()
        # Each looks for the other only after it can be seen itself.
        self._held_off[instance.uuid] = done
        try:
            yield instance.uuid not in self._beginning
        finally:
            self._held_off.pop(instance.uuid, None)
            done.set()

    def await_boot(self, instance: Any) -> None:
        """Soon after a boot, give the agent time for the first evidence."""
        if self._gate.booting and self._servers.might_be_gated(instance):
            self._gate.wait_for_trust()

    # What is checked without a start

    def check_power_off(self, instance: Any) -> None:
        """Nova stops some guests before anybody could refuse the start.

        :raises KororaError: the start is going to be refused.
        """
        if not instance.obj_attr_is_set('task_state'):
            return
        if instance.task_state == task_states.RESCUING:
            self.check_suspend(instance)

    def check_suspend(self, instance: Any) -> None:
        """A cold snapshot stops the guest: be sure that it may start.

        :raises KororaError: it may not.
        """
        self._gate.admit(self._servers.standing(instance))

    def check_rebuild(self, instance: Any, image_meta: Any) -> None:
        """:raises KororaError: the server must not be rebuilt here."""
        standing = self._servers.standing(instance, image_meta=image_meta)
        if standing.custody:
            # Nova's API rejects it; it would destroy the vTPM.
            raise errors.CustodyError(errors.Reason.VAULT_STATE)
        self._gate.admit(standing)
