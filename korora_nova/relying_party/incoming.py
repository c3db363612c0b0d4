# SPDX-License-Identifier: Apache-2.0
"""Live migration to this host, the destination.

Nothing here erases a key: what happened is *told* to the agent, which
queues it durably. Nothing after the stream raises for its own reasons.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import errors, spans, trail
from korora_nova.relying_party import facts
from korora_nova.relying_party.gate import YOUNG, Gate
from korora_nova.relying_party.servers import Servers, tell

LOG = logging.getLogger(__name__)


class Incoming:
    """Gates what this host receives, and receives its keys.

    :param host: returns this host's name in Nova.
    :param find: (context, instance) -> the server's live migrations that
        Nova records as being under way.
    """

    def __init__(
        self,
        gate: Gate,
        servers: Servers,
        conf: cfg.ConfigOpts,
        host: Callable[[], str],
        find: Callable[[Any, Any], Iterable[Any]],
    ) -> None:
        self._gate = gate
        self._servers = servers
        self._conf = conf
        self._host = host
        self._find = find
        #: Server -> migration's UUID.
        self._migrations: dict[str, str] = {}
        self._complained = False

    # Before the stream

    def check(self, instance: Any) -> None:
        """First check of this host; Nova has touched nothing yet.

        :raises KororaError: the server must not come here.
        """
        standing = self._servers.standing(instance)
        self._gate.admit(standing, YOUNG)
        if standing.custody:
            self.check_address()

    def check_address(self) -> None:
        """Compare where a source would send to, by Nova's own rules.

        :raises CustodyError: ADDRESS_MISMATCH.
        """
        self._gate.agent().check_address(self._address())

    def _address(self) -> str:
        return str(
            self._conf.libvirt.live_migration_inbound_addr or self._host()
        )

    def compare_address(self) -> None:
        """Say at the start what would refuse each migration to this host.

        :raises Unavailable: the agent does not answer.
        """
        try:
            self.check_address()
        except errors.CustodyError as exc:
            if not self._complained:
                LOG.warning(
                    'Protected servers cannot migrate to this host: %s', exc
                )
            self._complained = True

    def learn(self, instance: Any, migrate_data: Any, migration: Any) -> None:
        """Check what the source answered; note the migration.

        :param migration: ``nova.objects.Migration``.
        :raises KororaError: the server must not come here.
        """
        standing = self._servers.standing(
            instance, vtpm=facts.has_vtpm(migrate_data)
        )
        self._servers.check_no_secret(standing, migrate_data)
        self._migrations.pop(instance.uuid, None)
        if standing.custody:
            self._migrations[instance.uuid] = migration.uuid

    def admit(
        self, context: Any, instance: Any, migrate_data: Any
    ) -> str | None:
        """Check all again, before Nova prepares anything.

        :returns: the migration whose key is to be received, if any.
        :raises KororaError: the server must not come here.
        """
        standing = self._servers.standing(
            instance, vtpm=facts.has_vtpm(migrate_data)
        )
        self._servers.check_no_secret(standing, migrate_data)
        self._gate.admit(standing, YOUNG)
        if not standing.custody:
            return None
        return self._find_migration(context, instance)

    def _find_migration(self, context: Any, instance: Any) -> str:
        """The migration seen in the check, or else the one in Nova's records.

        :raises NotFound: MIGRATION_UNKNOWN.
        """
        known = self._migrations.get(instance.uuid)
        if known is not None:
            return known
        for migration in self._find(context, instance):
            if migration.dest_compute == self._host():
                self._migrations[instance.uuid] = migration.uuid
                return str(migration.uuid)
        raise errors.NotFound(errors.Reason.MIGRATION_UNKNOWN)

    @contextlib.contextmanager
    def receiving(
        self, instance: Any, migration: str
    ) -> Iterator[Callable[[Any], None]]:
        """Receive the key while Nova prepares everything else (ADR 0051).

        If either fails, this host keeps nothing. Yields what is to be called
        when Nova is ready, with what it answers to the source; that waits for
        the key.

        :raises KororaError: the agent did not get it, or cannot say.
        """
        address = self._address()
        key = _begin(
            lambda: self._receive(instance, migration, address),
            instance.uuid,
            migration,
        )

        def ready(migrate_data: Any) -> None:
            told = facts.target_address(migrate_data) or self._host()
            if told != address:
                raise errors.CustodyError(
                    errors.Reason.ADDRESS_MISMATCH,
                    details={'nova': told, 'agent': address},
                )
            key.result()

        try:
            yield ready
        except BaseException:
            futures.wait([key])
            # Nova's rollback is a cast that may never come.
            self._end(instance, migration)
            raise

    def _receive(self, instance: Any, migration: str, address: str) -> None:
        tls = self._conf.libvirt.live_migration_with_native_tls
        answer = self._gate.agent().receive(
            instance.uuid,
            migration,
            source=instance.host,
            address=address,
            tls_name=self._host() if tls else '',
        )
        LOG.info(
            'Migration %(migration)s: received the vTPM key, epoch '
            '%(epoch)s, in %(ms)s ms and %(commands)s TPM commands',
            {
                'migration': migration,
                'epoch': answer.epoch,
                'ms': answer.ms,
                'commands': answer.tpm_commands,
            },
            instance=instance,
        )

    # After it

    def arrived(self, instance: Any) -> None:
        """Nova is done; the agent looks itself whether the guest runs."""
        migration = self._known(instance)
        if migration is not None:
            self._migrations.pop(instance.uuid, None)
            tell(self._gate.agent().activated, instance, migration)
            tell(self._gate.agent().close, instance)

    def rolled_back(self, instance: Any, migrate_data: Any) -> None:
        """Nova has removed what it prepared.

        It may say so late: the data tell of which migration it speaks.
        """
        known = self._known(instance, migrate_data)
        if known is not None:
            self._end(instance, facts.migration_of(migrate_data) or known)

    def _known(self, instance: Any, migrate_data: Any = None) -> str | None:
        """What this process, or else the vault, knows to be on its way."""
        known = self._migrations.get(instance.uuid)
        if known is not None:
            return known
        try:
            standing = self._servers.standing(
                instance, vtpm=facts.has_vtpm(migrate_data)
            )
        except errors.KororaError as exc:
            LOG.warning(
                'The vault cannot be asked: %s', exc, instance=instance
            )
            return facts.migration_of(migrate_data)
        if standing.state == 'incoming' and standing.migration is not None:
            self._migrations[instance.uuid] = standing.migration
            return standing.migration
        return facts.migration_of(migrate_data) if standing.custody else None

    def _end(self, instance: Any, migration: str) -> None:
        tell(self._gate.agent().no_domain, instance, migration)
        if self._migrations.get(instance.uuid, migration) == migration:
            self._migrations.pop(instance.uuid, None)
            # The key of another migration is open for that one.
            tell(self._gate.agent().close, instance)


def _begin(
    work: Callable[[], None], instance: str, migration: str
) -> futures.Future[None]:
    """Do it in a thread of its own, for whom this one works."""
    trace = spans.carrier().get(spans.TRACEPARENT, '')
    done: futures.Future[None] = futures.Future()

    def run() -> None:
        ids = {'instance': instance, 'migration': migration}
        try:
            with (
                trail.following(trace, **ids),
                spans.span('receive', remote=trace, **ids),
            ):
                work()
        except BaseException as exc:  # noqa: BLE001 boundary: who waits raises
            done.set_exception(exc)
        else:
            done.set_result(None)

    threading.Thread(target=run, name='korora-receive', daemon=True).start()
    return done
