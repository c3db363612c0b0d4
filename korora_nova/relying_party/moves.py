# SPDX-License-Identifier: Apache-2.0
"""Cold migration and resize, there and back; S is the source, D the other.

Nova calls nothing on D before S has powered the server off: the key is handed
over before, and what is refused leaves the server as it was. Which end keeps
the key, Nova decides by what it does next: it goes on with the server on D,
or it fails here, and ``stays`` is told. See
doc/adr/0025-cold-migration.rst.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from nova.compute import task_states
from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import errors, spans
from korora_nova.custody.moves import Move, way_back
from korora_nova.relying_party import facts
from korora_nova.relying_party.gate import Gate, Standing
from korora_nova.relying_party.onboarding import Onboarding
from korora_nova.relying_party.servers import Servers, tell
from korora_nova.relying_party.starts import Starts

LOG = logging.getLogger(__name__)


class Hypervisor(Protocol):
    """What is needed of ``hypervisor.Hypervisor``."""

    def is_alive(self, instance: Any) -> bool: ...

    def bring_back_vtpm(self, instance: Any) -> None: ...


class Nova(Protocol):
    """What is needed of the module ``nova_calls``."""

    def cold_migration(self, context: Any, instance: Any) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Handover:
    """One that this host has to make before a server leaves.

    :param id: of the hand-over.
    :param dest: where it goes.
    """

    id: str
    dest: str
    kind: Move


class Moves:
    """Gates what leaves this host or comes to it powered off.

    :param host: returns this host's name in Nova.
    """

    def __init__(
        self,
        gate: Gate,
        servers: Servers,
        onboarding: Onboarding,
        starts: Starts,
        conf: cfg.ConfigOpts,
        hypervisor: Hypervisor,
        nova: Nova,
        host: Callable[[], str],
    ) -> None:
        self._gate = gate
        self._servers = servers
        self._onboarding = onboarding
        self._starts = starts
        self._conf = conf
        self._hypervisor = hypervisor
        self._nova = nova
        self._host = host
        #: Servers that leave with their key, or stay here for a resize.
        self._leaving: set[str] = set()
        #: Servers that are destroyed here, and go back with their key.
        self._returning: set[str] = set()

    # There, on S

    @contextlib.contextmanager
    def leaving(
        self, context: Any, instance: Any, flavor: Any
    ) -> Iterator[None]:
        """Let Nova power a server off and copy it, once its key may follow.

        :param flavor: the new one.
        :raises KororaError: it must not; nothing was touched.
        """
        standing = self._servers.standing(instance)
        if not self._check_flavor(standing, instance, flavor):
            if standing.gated:
                migration = self._nova.cold_migration(context, instance)
                self._gate.admit_peer(standing, str(migration.dest_compute))
            yield
            return
        self._gate.check_obstacle()
        migration = self._nova.cold_migration(context, instance)
        self._leaving.add(instance.uuid)
        try:
            with (
                self._staying(standing)
                if migration.dest_compute == self._host()
                else self._handing_over(
                    standing,
                    instance,
                    Handover(
                        str(migration.uuid),
                        str(migration.dest_compute),
                        Move.COLD,
                    ),
                ),
                self._vtpm_kept(instance),
            ):
                yield
        finally:
            self._leaving.discard(instance.uuid)

    def _check_flavor(
        self, standing: Standing, instance: Any, flavor: Any
    ) -> bool:
        """Whether a key is concerned.

        :raises CustodyError: COLD_VTPM_CHANGED.
        """
        image = instance.image_meta
        wanted = facts.of_flavor(flavor, image, self._conf.korora.protect_vtpm)
        if not standing.custody and not wanted.custody:
            return False
        if not standing.custody or (
            facts.vtpm(instance.flavor, image) != facts.vtpm(flavor, image)
        ):
            raise errors.CustodyError(errors.Reason.COLD_VTPM_CHANGED)
        return True

    def check_power_off(self, instance: Any) -> None:
        """Nova powers a server off to move it in a way that is not ours.

        :raises CustodyError: COLD_MIGRATION_UNSUPPORTED.
        """
        if (
            instance.obj_attr_is_set('task_state')
            and instance.task_state == task_states.RESIZE_MIGRATING
            and instance.uuid not in self._leaving
            and self._servers.standing(instance).custody
        ):
            # To another cell: nothing else asks about that one.
            raise errors.CustodyError(errors.Reason.COLD_MIGRATION_UNSUPPORTED)

    @contextlib.contextmanager
    def _staying(self, standing: Standing) -> Iterator[None]:
        """The server is started here again: no hand-over."""
        self._gate.admit(standing)
        yield

    @contextlib.contextmanager
    def _handing_over(
        self, standing: Standing, instance: Any, handover: Handover
    ) -> Iterator[None]:
        """Hand the key over first; it stays if anything fails then."""
        if standing.state == 'none':
            self._onboarding.take(instance)
        agent = self._gate.agent
        try:
            with spans.span(
                'handover', instance=instance.uuid, migration=handover.id
            ):
                agent().prepare(
                    instance.uuid,
                    handover.id,
                    dest=handover.dest,
                    kind=handover.kind,
                )
            LOG.info(
                'Handed the key of the vTPM over to host %s',
                handover.dest,
                instance=instance,
            )
            yield
        except BaseException:
            tell(agent().stays, instance, handover.id)
            raise

    @contextlib.contextmanager
    def _vtpm_kept(self, instance: Any) -> Iterator[None]:
        """The state of the vTPM is still here if Nova fails to copy it."""
        try:
            yield
        except BaseException:
            try:
                self._hypervisor.bring_back_vtpm(instance)
            except Exception:  # noqa: BLE001 boundary: the first one counts
                LOG.exception(
                    'Cannot bring the state of the vTPM back; the next start '
                    'tries again',
                    instance=instance,
                )
            raise

    # The end, wherever it is

    @contextlib.contextmanager
    def finishing(
        self,
        context: Any,
        instance: Any,
        migration: Any,
        *,
        launch: bool,
        reverts: bool = False,
    ) -> Iterator[bool]:
        """Nova finishes a move here: the key is this host's from now on.

        A start that is refused does not end the move: all is put in place,
        so that a hard reboot is enough later.

        :param migration: ``nova.objects.Migration``; one of which the agent
            knows no hand-over is none.
        :param launch: whether Nova wants to start the guest.
        :param reverts: it goes back.
        :returns: whether to start it.
        :raises KororaError: it was not started, but everything else is done.
        """
        if self._servers.might_have_custody(instance):
            known = str(migration.uuid)
            handover = way_back(known) if reverts else known
            with spans.span(
                'post', instance=instance.uuid, migration=handover
            ):
                tell(self._gate.agent().activated, instance, handover)
        refused = None
        with contextlib.ExitStack() as start:
            if launch:
                try:
                    start.enter_context(
                        self._starts.starting(context, instance)
                    )
                except errors.KororaError as exc:
                    refused = exc
            yield launch and refused is None
        if refused is not None:
            raise refused

    def never_left(self, instance: Any, migration: Any) -> bool:
        """Whether a crash came before the guest was powered off: it stays.

        Then there is nothing to revert. Nova would fail to start it again,
        and have libvirt forget its domain, with which the vTPM's state goes
        when it is next powered off.
        """
        if not (
            self._servers.might_have_custody(instance)
            and self._hypervisor.is_alive(instance)
        ):
            return False
        LOG.warning('The guest had not left: it runs on', instance=instance)
        tell(self._gate.agent().stays, instance, str(migration.uuid))
        return True

    @contextlib.contextmanager
    def reverting_crash(self, instance: Any) -> Iterator[None]:
        """Nova's start reverts a move that a crash interrupted.

        It asks what vTPM the old flavor has, which is not set yet.
        """
        if (
            not self._servers.might_have_custody(instance)
            or instance.old_flavor is not None
        ):
            yield
            return
        instance.old_flavor = instance.flavor
        try:
            yield
        finally:
            instance.old_flavor = None

    # Back, on D

    @contextlib.contextmanager
    def going_back(self, context: Any, instance: Any) -> Iterator[None]:
        """Nova destroys a guest on D: in a revert, the key goes back first.

        :raises KororaError: it cannot; the guest was not touched.
        """
        if not self._is_reverted(instance):
            yield
            return
        standing = self._servers.standing(instance)
        if not standing.custody:
            yield
            return
        self._gate.check_obstacle()
        migration = self._nova.cold_migration(context, instance)
        source = str(migration.source_compute)
        if source == self._host():
            with self._staying(standing):
                yield
            return
        with self._handing_over(
            standing,
            instance,
            Handover(way_back(str(migration.uuid)), source, Move.REVERT),
        ):
            self._returning.add(instance.uuid)
            try:
                yield
            finally:
                self._returning.discard(instance.uuid)

    def is_returning(self, instance: Any) -> bool:
        """Whether nothing of it is of use here any more.

        Nova keeps the state of the vTPM if the disks are on shared storage:
        it would be in the way of the next move to this host.
        """
        return instance.uuid in self._returning

    def _is_reverted(self, instance: Any) -> bool:
        return bool(
            instance.obj_attr_is_set('task_state')
            and instance.task_state == task_states.RESIZE_REVERTING
            and instance.host == self._host()
        )
