# SPDX-License-Identifier: Apache-2.0
"""Live migration from this host, the source.

Nothing here erases a key: the guest may merely have died here. What
happened is *told* to the agent, which queues it durably.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import errors, spans
from korora_nova.relying_party import channel, facts, refusal
from korora_nova.relying_party.gate import (
    QUICK,
    SOURCE_CHECK,
    YOUNG,
    Gate,
)
from korora_nova.relying_party.onboarding import Onboarding
from korora_nova.relying_party.servers import Servers, tell
from korora_nova.relying_party.stream import Recovery

LOG = logging.getLogger(__name__)

#: Seconds for libvirt's call to return after its job is over.
RETURN = 30.0


@dataclasses.dataclass
class Stream:
    """A stream that this host sends.

    :param address: where the permit sends it.
    :param tls_name: the name its TLS must find, if it uses TLS.
    :param started: libvirt was about to be called.
    :param over: its call is over.
    :param completed: and it said that the guest is at the destination.
    """

    migration: str
    address: str
    tls_name: str | None
    started: bool = False
    over: threading.Event = dataclasses.field(default_factory=threading.Event)
    completed: bool = False


class Outgoing:
    """Gates what this host sends.

    :param is_name: whether a text is a host name or address.
    :param uri: what Nova connects to for a host's name or address.
    :param names_disks: whether QEMU here compares the name of who gets a
        copied disk.
    :param report: shows users why a live migration was ended; never fails.
    """

    def __init__(
        self,
        gate: Gate,
        servers: Servers,
        onboarding: Onboarding,
        conf: cfg.ConfigOpts,
        is_name: Callable[[str], bool],
        uri: Callable[[str], str],
        names_disks: Callable[[], bool],
        report: Callable[[Any, Any, Exception], None],
    ) -> None:
        self._gate = gate
        self._servers = servers
        self._onboarding = onboarding
        self._conf = conf
        self._is_name = is_name
        self._uri = uri
        self._names_disks = names_disks
        self._report = report
        #: Under way, by server.
        self._streams: dict[str, Stream] = {}
        #: Whether this thread watches one of them.
        self._watching = threading.local()

    def checking(self) -> contextlib.AbstractContextManager[None]:
        """Bound the whole check: the destination does not wait for long."""
        return self._gate.within(SOURCE_CHECK)

    def check(self, instance: Any, dest_check_data: Any) -> bool:
        """Check this host, before Nova checks anything.

        :returns: whether the server's key is under custody.
        :raises KororaError: the server must not leave this way.
        """
        standing = self._servers.standing(instance)
        self._servers.check_no_secret(standing, dest_check_data)
        if standing.custody:
            # A server without a key may leave a host that turned bad.
            self._gate.admit(
                standing, YOUNG if standing.state != 'none' else None
            )
            self._check_way('destination')
            if standing.state == 'none':
                self._onboarding.take(instance)
        return standing.custody

    def _check_way(self, address: str) -> None:
        """What no permit could make good.

        :raises CustodyError: STREAM_TUNNELLED, CHANNEL_UNAUTHENTICATED.
        """
        if self._conf.libvirt.live_migration_tunnelled:
            raise errors.CustodyError(errors.Reason.STREAM_TUNNELLED)
        if self._conf.korora.require_authenticated_channel:
            channel.check(self._uri(address))

    def check_disks(self, migrate_data: Any) -> None:
        """Nova has found out whether disks are copied.

        :raises CustodyError: STREAM_DISKS_UNNAMED.
        """
        if facts.copies_disks(migrate_data) and not self._names_disks():
            raise errors.CustodyError(errors.Reason.STREAM_DISKS_UNNAMED)

    def announce(self, instance: Any) -> None:
        """Nova's own checks passed: the agent may hand over the key.

        :raises KororaError: the agent cannot be told.
        """
        self._gate.agent().announce(instance.uuid)

    def send(
        self,
        stock: Callable[..., None],
        context: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: Any = False,
        migrate_data: Any = None,
    ) -> None:
        """Stream, if permitted; else recover: raising would set ERROR.

        :param stock: Nova's ``live_migration``, of the other parameters.
        """
        try:
            with spans.span(
                'start',
                instance=instance.uuid,
                migration=facts.migration_of(migrate_data) or '',
            ):
                stream = self._admit(instance, dest, migrate_data)
        except errors.KororaError as exc:
            refusal.log(exc, 'start the live migration', instance)
            self._tell_never_started(instance, migrate_data)
            recover_method(context, instance, dest, migrate_data)
            return
        rest = (block_migration, migrate_data)
        if stream is None:
            stock(context, instance, dest, post_method, recover_method, *rest)
            return
        LOG.info(
            'Migration %s: the stream may start',
            stream.migration,
            instance=instance,
        )
        recovery = Recovery(recover_method, self._explain)
        with self._under_way(instance, stream):
            try:
                stock(context, instance, dest, post_method, recovery, *rest)
            except Exception as exc:  # noqa: BLE001 boundary: Nova sets ERROR
                if not recovery.returned:
                    if stream.started:
                        raise
                    recovery(context, instance, dest, migrate_data)
                LOG.warning(
                    'The live migration failed and was rolled back: %s',
                    exc,
                    instance=instance,
                )

    def _explain(
        self, context: Any, instance: Any, *rest: Any, **kw: Any
    ) -> None:
        """Say to whom it concerns if the agent has ended the stream."""
        stream = self._streams.get(instance.uuid)
        if stream is None:
            return
        try:
            ended = self._gate.agent(QUICK).ended(
                instance.uuid, stream.migration
            )
        except errors.KororaError as exc:
            # One that is dead, or older, has ended nothing.
            LOG.debug('Not known why: %s', exc, instance=instance)
            return
        if ended.reason:
            error = errors.Untrusted(
                ended.reason,
                details={
                    'host': ended.host,
                    'reasons': ' '.join(ended.reasons),
                },
            )
            refusal.log(error, 'let the live migration go on', instance)
            self._report(context, instance, refusal.plain(error, instance))

    @contextlib.contextmanager
    def _under_way(self, instance: Any, stream: Stream) -> Iterator[None]:
        self._streams[instance.uuid] = stream
        self._watching.protected = True
        try:
            yield
        finally:
            self._watching.protected = False
            self._streams.pop(instance.uuid, None)

    @property
    def watching(self) -> bool:
        """Whether Nova asks in the thread of a protected stream."""
        return getattr(self._watching, 'protected', False)

    def _admit(
        self, instance: Any, dest: str, migrate_data: Any
    ) -> Stream | None:
        """Check everything about a stream; None for a server without key.

        :raises KororaError: it must not start.
        """
        standing = self._servers.standing(
            instance, vtpm=facts.has_vtpm(migrate_data)
        )
        self._servers.check_no_secret(standing, migrate_data)
        if not standing.custody:
            self._gate.admit_peer(standing, dest)
            return None
        self._gate.check_obstacle()
        address = facts.target_address(migrate_data) or dest
        if not (self._is_name(dest) and self._is_name(address)):
            raise errors.CustodyError(
                errors.Reason.ADDRESS_MISMATCH,
                'Nova sends the server to something that is neither a host '
                'name nor an address.',
                details={'nova': f'{dest} {address}'},
            )
        self._check_way(address)
        self.check_disks(migrate_data)
        migration = str(migrate_data.migration.uuid)
        answer = self._gate.agent().start(
            instance.uuid,
            migration,
            dest=dest,
            address=address,
            tls_name=dest,
        )
        # Whatever nova.conf says: it may only add.
        tls = self._conf.libvirt.live_migration_with_native_tls
        return Stream(
            migration, address, answer.tls_name or (dest if tls else None)
        )

    @contextlib.contextmanager
    def operation(self, instance: Any) -> Iterator[Stream | None]:
        """Nova calls libvirt meanwhile; what its call must follow."""
        stream = self._streams.get(instance.uuid)
        if stream is None:
            yield None
            return
        stream.started = True
        try:
            yield stream
            stream.completed = True
        finally:
            stream.over.set()

    def completed(self, instance: Any) -> None:
        """Nova says that the stream is complete.

        It goes by libvirt's job, and takes a guest that is gone for one that
        has arrived: only what libvirt's call returned counts.
        """
        stream = self._streams.get(instance.uuid)
        if stream is None:
            return
        stream.over.wait(RETURN)
        if stream.completed:
            tell(
                self._gate.agent().stream_completed, instance, stream.migration
            )
        else:
            LOG.error(
                'Nova takes the live migration for complete, libvirt does '
                'not: the key of the vTPM stays on this host',
                instance=instance,
            )

    def rolled_back(self, instance: Any, migrate_data: Any) -> None:
        """If libvirt was never called, say so: nobody else can."""
        if instance.uuid not in self._streams and facts.has_vtpm(migrate_data):
            self._tell_never_started(instance, migrate_data)

    def _tell_never_started(self, instance: Any, migrate_data: Any) -> None:
        migration = facts.migration_of(migrate_data)
        if migration is not None and self._servers.might_have_custody(
            instance
        ):
            tell(self._gate.agent().never_started, instance, migration)
