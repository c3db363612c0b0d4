# SPDX-License-Identifier: Apache-2.0
"""Live migration: S is the source, D the destination.

Nova's order, and what is added at each step::

    D check_can_live_migrate_destination   gate, before super()
    S check_can_live_migrate_source        gate, super(), announce
    D check_source_migrate_data_at_dest    no secret; learn the migration
    D pre_live_migration                   gate, super(), receive the key
    S live_migration                       permit, address, TLS, verdict on D
    S post_live_migration                  say that the stream completed
    D post_live_migration_at_destination   say that the guest runs
    D rollback_live_migration_at_dest...   say that there is no guest

What happened is *told* to the agent, which queues it durably; nothing here
erases a key, and nothing after the stream raises for its own reasons.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from nova import objects
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import utils as libvirt_utils
from oslo_log import log as logging

from korora_nova import errors
from korora_nova.relying_party import base, gate, lifecycle, refusal, stream

CONF = base.CONF
LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class Outgoing:
    """A stream that this host sends.

    :param address: where the permit sends it.
    :param tls_name: the name its TLS must find, if it uses TLS.
    :param streaming: libvirt was about to be called.
    """

    migration: str
    address: str
    tls_name: str | None
    streaming: bool = False


class MigrationDriver(lifecycle.LifecycleDriver):
    """Gates live migration and drives the hand-over of the key."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        #: Streams that this host sends, by server.
        self._outgoing: dict[str, Outgoing] = {}
        #: Migrations that this host receives: server -> migration's uuid.
        self._incoming: dict[str, str] = {}

    # Before

    def check_can_live_migrate_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        # Before super(), which leaves a file on shared storage.
        try:
            standing = self._standing(instance)
            self._gate.admit(standing)
            if standing.custody:
                self._check_address()
        except errors.KororaError as exc:
            refusal.log(exc, 'receive the server', instance)
            raise refusal.precheck(exc) from exc
        return super().check_can_live_migrate_destination(
            context, instance, *args, **kwargs
        )

    def _check_address(self) -> None:
        """Compare where a source would send to, by Nova's own rules.

        :raises CustodyError: ADDRESS_MISMATCH.
        """
        self._gate.call(
            'check_address',
            address=(
                CONF.libvirt.live_migration_inbound_addr or self._nova_host
            ),
        )

    def check_can_live_migrate_source(
        self,
        context: Any,
        instance: Any,
        dest_check_data: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        try:
            standing = self._standing(instance)
            self._check_no_secret(standing, dest_check_data)
            if standing.custody:
                # A server without a key may leave a host that turned bad.
                self._gate.admit(standing, budget=gate.SOURCE_CHECK)
                if standing.state == 'none':
                    self._onboard(instance)
            data = super().check_can_live_migrate_source(
                context, instance, dest_check_data, *args, **kwargs
            )
            if standing.custody:
                self._gate.call('announce', instance=instance.uuid)
        except errors.KororaError as exc:
            refusal.log(exc, 'send the server', instance)
            raise refusal.precheck(exc) from exc
        return data

    def _add_vtpm_secret_to_live_migrate_data(
        self, instance: Any, dest_check_data: Any
    ) -> None:
        """Set, but empty: Nova's rollback on D depends on it being set."""
        try:
            custody = self._standing(instance).custody
        except errors.KororaError as exc:
            raise refusal.precheck(exc) from exc
        if custody:
            dest_check_data.vtpm_secret_uuid = None
            dest_check_data.vtpm_secret_value = None
        else:
            super()._add_vtpm_secret_to_live_migrate_data(
                instance, dest_check_data
            )

    def check_source_migrate_data_at_dest(
        self,
        ctxt: Any,
        instance: Any,
        migrate_data: Any,
        migration: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        try:
            standing = self._standing(instance, vtpm=_has_vtpm(migrate_data))
            self._check_no_secret(standing, migrate_data)
        except errors.KororaError as exc:
            refusal.log(exc, 'receive the server', instance)
            raise refusal.precheck(exc) from exc
        self._incoming.pop(instance.uuid, None)
        if standing.custody:
            self._incoming[instance.uuid] = migration.uuid
        return super().check_source_migrate_data_at_dest(
            ctxt, instance, migrate_data, migration, *args, **kwargs
        )

    def _check_no_secret(
        self, standing: gate.Standing, migrate_data: Any
    ) -> None:
        self._gate.check_migrate_data(
            standing,
            has_secret=_has_secret(migrate_data),
            protect_vtpm=CONF.korora.protect_vtpm,
        )

    def pre_live_migration(
        self,
        context: Any,
        instance: Any,
        block_device_info: Any,
        network_info: Any,
        disk_info: Any,
        migrate_data: Any,
    ) -> Any:
        try:
            standing = self._standing(instance, vtpm=_has_vtpm(migrate_data))
            self._check_no_secret(standing, migrate_data)
            self._gate.admit(standing)
            migration = (
                self._find_migration(context, instance)
                if standing.custody
                else None
            )
            data = super().pre_live_migration(
                context,
                instance,
                block_device_info,
                network_info,
                disk_info,
                migrate_data,
            )
            if migration is not None:
                # Last: no key moves before all else is ready.
                self._receive(instance, migration, data)
        except errors.KororaError as exc:
            refusal.log(exc, 'prepare the live migration', instance)
            raise refusal.precheck(exc) from exc
        return data

    def _receive(
        self, instance: Any, migration: str, migrate_data: Any
    ) -> None:
        tls = CONF.libvirt.live_migration_with_native_tls
        received = False
        try:
            answer = self._gate.call(
                'receive',
                migration=migration,
                instance=instance.uuid,
                source=instance.host,
                address=migrate_data.target_connect_addr or self._nova_host,
                tls_name=self._nova_host if tls else '',
            )
            received = True
        finally:
            # Nova's rollback is a cast that may never come.
            if not received:
                self._end_incoming(instance, migration)
        LOG.info(
            'Received the vTPM key, epoch %(epoch)s, in %(ms)s ms and '
            '%(commands)s TPM commands',
            {
                'epoch': answer.get('epoch'),
                'ms': answer.get('ms'),
                'commands': answer.get('tpm_commands'),
            },
            instance=instance,
        )

    def _find_migration(self, context: Any, instance: Any) -> str:
        """The migration seen in the check, or else the one in Nova's records.

        :raises NotFound: MIGRATION_UNKNOWN.
        """
        known = self._incoming.get(instance.uuid)
        if known is not None:
            return known
        for migration in objects.MigrationList.get_in_progress_by_instance(
            context.elevated(), instance.uuid, 'live-migration'
        ):
            if migration.dest_compute == self._nova_host:
                self._incoming[instance.uuid] = migration.uuid
                return str(migration.uuid)
        raise errors.NotFound(errors.Reason.MIGRATION_UNKNOWN)

    # The stream, on S

    def live_migration(
        self,
        context: Any,
        instance: Any,
        dest: Any,
        post_method: Any,
        recover_method: Any,
        block_migration: Any = False,
        migrate_data: Any = None,
    ) -> None:
        """Stream, if permitted; else recover: raising would set ERROR."""
        try:
            outgoing = self._admit_stream(instance, dest, migrate_data)
        except errors.KororaError as exc:
            refusal.log(exc, 'start the live migration', instance)
            self._tell_never_started(instance, migrate_data)
            recover_method(context, instance, dest, migrate_data)
            return
        stock = super().live_migration
        if outgoing is None:
            stock(
                context,
                instance,
                dest,
                post_method,
                recover_method,
                block_migration,
                migrate_data,
            )
            return
        recovery = stream.Recovery(recover_method)
        self._outgoing[instance.uuid] = outgoing
        try:
            stock(
                context,
                instance,
                dest,
                post_method,
                recovery,
                block_migration,
                migrate_data,
            )
        except Exception as exc:  # noqa: BLE001 boundary: Nova sets ERROR
            if not recovery.returned:
                if outgoing.streaming:
                    raise
                recovery(context, instance, dest, migrate_data)
            LOG.warning(
                'The live migration failed and was rolled back: %s',
                exc,
                instance=instance,
            )
        finally:
            self._outgoing.pop(instance.uuid, None)

    def _admit_stream(
        self, instance: Any, dest: str, migrate_data: Any
    ) -> Outgoing | None:
        """Check everything about a stream; None for a server without key."""
        standing = self._standing(instance, vtpm=_has_vtpm(migrate_data))
        self._check_no_secret(standing, migrate_data)
        if not standing.custody:
            self._gate.admit_peer(standing, dest)
            return None
        self._gate.check_obstacle()
        address = _target_address(migrate_data) or dest
        if not (
            libvirt_utils.is_valid_hostname(dest)
            and libvirt_utils.is_valid_hostname(address)
        ):
            raise errors.CustodyError(
                errors.Reason.ADDRESS_MISMATCH,
                'Nova sends the server to what is no host name or address.',
                details={'nova': f'{dest} {address}'},
            )
        tls = CONF.libvirt.live_migration_with_native_tls
        migration = migrate_data.migration.uuid
        answer = self._gate.call(
            'start',
            instance=instance.uuid,
            migration=migration,
            dest=dest,
            address=address,
            tls_name=dest if tls else None,
        )
        return Outgoing(
            migration,
            address,
            str(answer.get('tls_name') or dest) if tls else None,
        )

    def _live_migration_operation(
        self,
        context: Any,
        instance: Any,
        dest: Any,
        block_migration: Any,
        migrate_data: Any,
        guest: Any,
        device_names: Any,
    ) -> None:
        outgoing = self._outgoing.get(instance.uuid)
        if outgoing is not None:
            outgoing.streaming = True
            guest = libvirt_guest.Guest(
                stream.StreamDomain(
                    guest._domain,
                    libvirt_driver.libvirt,
                    outgoing.tls_name,
                    self._migrate_uri(outgoing.address),
                )
            )
        super()._live_migration_operation(
            context,
            instance,
            dest,
            block_migration,
            migrate_data,
            guest,
            device_names,
        )

    # After, on S

    def post_live_migration(
        self,
        context: Any,
        instance: Any,
        block_device_info: Any,
        migrate_data: Any = None,
    ) -> None:
        """Erase nothing: the guest may merely have died here."""
        outgoing = self._outgoing.get(instance.uuid)
        if outgoing is not None:
            self._tell(
                'stream_completed', instance, migration=outgoing.migration
            )
        super().post_live_migration(
            context, instance, block_device_info, migrate_data
        )

    def rollback_live_migration_at_source(
        self, context: Any, instance: Any, migrate_data: Any
    ) -> None:
        """If libvirt was never called, say so: nobody else can."""
        if instance.uuid not in self._outgoing and _has_vtpm(migrate_data):
            self._tell_never_started(instance, migrate_data)
        super().rollback_live_migration_at_source(
            context, instance, migrate_data
        )

    def _tell_never_started(self, instance: Any, migrate_data: Any) -> None:
        migration = _migration_of(migrate_data)
        if migration is not None and self._has_custody(instance):
            self._tell('never_started', instance, migration=migration)

    # After, on D

    def post_live_migration_at_destination(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        try:
            super().post_live_migration_at_destination(
                context, instance, network_info, *args, **kwargs
            )
        finally:
            # The agent looks itself whether the guest runs here.
            migration = self._incoming_migration(instance)
            if migration is not None:
                self._tell('activated', instance, migration=migration)
                self._tell('close', instance)

    def rollback_live_migration_at_destination(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        data = kwargs.get('migrate_data') or (
            args[3] if len(args) > 3 else None
        )
        try:
            super().rollback_live_migration_at_destination(
                context, instance, *args, **kwargs
            )
        finally:
            migration = self._incoming_migration(instance, data)
            if migration is not None:
                self._end_incoming(instance, migration)

    def _incoming_migration(
        self, instance: Any, migrate_data: Any = None
    ) -> str | None:
        """What this process, or else the vault, knows to be on its way."""
        known = self._incoming.pop(instance.uuid, None)
        if known is not None:
            return known
        try:
            standing = self._standing(instance, vtpm=_has_vtpm(migrate_data))
        except errors.KororaError as exc:
            LOG.warning(
                'The vault cannot be asked: %s', exc, instance=instance
            )
            return _migration_of(migrate_data)
        if standing.state == 'incoming':
            return standing.migration
        return _migration_of(migrate_data) if standing.custody else None

    def _has_custody(self, instance: Any) -> bool:
        try:
            return self._standing(instance).custody
        except errors.KororaError:
            return True

    def _end_incoming(self, instance: Any, migration: str) -> None:
        self._incoming.pop(instance.uuid, None)
        self._tell('no_domain', instance, migration=migration)
        self._tell('close', instance)


def _has_vtpm(migrate_data: Any) -> bool:
    """Whether the other host says that the server has a vTPM."""
    return migrate_data is not None and bool(migrate_data.has_vtpm)


def _has_secret(migrate_data: Any) -> bool:
    """Whether a passphrase, or the name of one, came along."""
    return any(
        migrate_data.obj_attr_is_set(name)
        and getattr(migrate_data, name) is not None
        for name in ('vtpm_secret_uuid', 'vtpm_secret_value')
    )


def _target_address(migrate_data: Any) -> str | None:
    if migrate_data.obj_attr_is_set('target_connect_addr'):
        address: str | None = migrate_data.target_connect_addr
        return address
    return None


def _migration_of(migrate_data: Any) -> str | None:
    if (
        migrate_data is not None
        and migrate_data.obj_attr_is_set('migration')
        and migrate_data.migration is not None
    ):
        return str(migrate_data.migration.uuid)
    return None
