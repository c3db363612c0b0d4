# SPDX-License-Identifier: Apache-2.0
"""The agent: its parts, put together, started and stopped."""

from __future__ import annotations

import dataclasses
import pathlib
import socket
from collections.abc import Mapping
from typing import Any, NoReturn

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import client as api_client
from korora_nova import conf as korora_conf
from korora_nova import errors
from korora_nova.attester import server, vault
from korora_nova.attester.accepted import Accepted
from korora_nova.attester.attest import Attester, Client
from korora_nova.attester.collect import Collector
from korora_nova.attester.custodian.custodians import (
    Custodians,
    Sealing,
    Zygote,
)
from korora_nova.attester.destination import Destination
from korora_nova.attester.enforcer import Enforcement
from korora_nova.attester.host import Host, LastHandover
from korora_nova.attester.journal import Journal
from korora_nova.attester.libvirt_secret import Hypervisor, Libvirt
from korora_nova.attester.loop import Attestation
from korora_nova.attester.offline import Offline
from korora_nova.attester.reports import Reports
from korora_nova.attester.rpc import Bus, Endpoint
from korora_nova.attester.sealing import AtRest
from korora_nova.attester.settle import Settler
from korora_nova.attester.source import Announcements, Source
from korora_nova.attester.starts import Starts
from korora_nova.attester.statements import Statements
from korora_nova.attester.stops import Stops
from korora_nova.attester.streams import Streams
from korora_nova.attester.trust import TrustedKeys
from korora_nova.attester.vault import Record, Vault
from korora_nova.attester.watch import Watches
from korora_nova.custody import answers
from korora_nova.custody import operations as ops
from korora_nova.custody.exchange import Heard
from korora_nova.custody.moves import Move
from korora_nova.custody.transfer import PrepareRequest, WrapRequest
from korora_nova.custody.words import Statement, VaultState
from korora_nova.rats.signed.result import VerifiedResult
from korora_nova.rats.words import Tier
from korora_nova.tpm import authorisation
from korora_nova.tpm.device import Tpm

LOG = logging.getLogger(__name__)

# What `protection` calls the states that only the agent tells apart
_NONE = 'none'
_SHOWN: dict[VaultState, str] = {
    VaultState.CLAIMING: _NONE,
    VaultState.STARTING: VaultState.OUTGOING,
    VaultState.RECEIVING: VaultState.INCOMING,
    VaultState.FORGOTTEN: VaultState.RELINQUISHED,
}


#: States of keys that a permit is about.
_STREAMING = (
    *vault.AS_SOURCE,
    VaultState.RECEIVING,
    VaultState.INCOMING,
)

#: Seconds for nova-compute to say that it enforces, before an agent that was
#: started again would attest that it does not.
HEARING = 3.0


class Agent:
    """Everything of one host; the socket's operations are its methods."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        client: Client,
        hypervisor: Hypervisor,
        zygote: Zygote,
    ) -> None:
        options = conf[korora_conf.ATTESTER]
        handover = conf[korora_conf.HANDOVER]
        self.host = options.host or socket.gethostname()
        self.attester = Attester(
            self.host,
            Tpm(
                options.tcti,
                authorisation.load(
                    options.owner_auth, options.endorsement_auth
                ),
            ),
            client,
            Collector(options.uefi_log, options.ima_log, options.systemd_log),
            TrustedKeys(options.trusted_keys),
            options.ek_certificate,
        )
        state = pathlib.Path(options.state_dir)
        self.vault = Vault(state / 'vault')
        self.journal = Journal(state / 'journal')
        self.custodians = Custodians(
            zygote,
            self.attester.tpm,
            options.libvirt_uri,
            options.lock_memory,
        )
        parts = Host(
            self.attester,
            self.vault,
            self.journal,
            hypervisor,
            self.custodians,
            Offline(state / 'offline', self._holds, self._is_trusted),
        )
        self._parts = parts
        self.attester.distrusted = parts.offline.drop_all
        self._last = LastHandover()
        self.enforcement = Enforcement(
            options.enforcer_timeout, lambda: self.attestation.kick()
        )
        self.streams = Streams(
            state / 'streams',
            options.migration_tls_dir,
            self.host,
            parts.ring,
            hypervisor.qemu,
            self._streaming,
        )
        self.reports = Reports(
            parts, self.enforcement.current, self.streams.said
        )
        self.settler = Settler(parts, self.reports)
        self.statements = Statements(parts, self.settler)
        self.attestation = Attestation(
            self.attester, options.interval, self.reports.page, self._hear
        )
        self.rest = AtRest(parts, self.settler.resolve, self.settler.refresh)
        self.settler.afterwards.append(self.rest.reseal)
        self.stops = Stops(parts, options.vtpm_state_check, Accepted(state))
        self.starts = Starts(self.rest, self.statements, self.stops)
        self.watches = Watches(parts)
        self.settler.afterwards.append(self.watches.take_up)
        self.bus = _bus(conf, handover, self.host)
        self.source = Source(
            parts,
            Announcements(),
            self._last,
            self.settler.kick,
            self.bus.prepare if self.bus is not None else _no_bus,
            self.streams,
            self.watches.begin,
        )
        self.destination = Destination(
            parts,
            self.bus.ask if self.bus is not None else _no_bus,
            self._last,
            self.statements.relinquish,
            self.settler.resolve,
            options.address or self.host,
            options.tls_name,
            self.streams,
        )
        self.server = server.Server(
            options.socket,
            server.uids(options.allowed_users),
            self.operations(),
            self.custodians.take,
        )

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Agent:
        """The agent of this host as configured."""
        zygote = Zygote()
        zygote.start()
        return cls(
            conf,
            api_client.from_conf(conf, korora_conf.SERVICE_AUTH),
            Libvirt(conf[korora_conf.ATTESTER].libvirt_uri),
            zygote,
        )

    def start(self) -> None:
        """Start; the socket answers at once, trust comes later.

        :raises Unavailable: MEMORY_NOT_LOCKED.
        """
        self.custodians.start()
        self.streams.prepare()
        self.server.start()
        self.attestation.start(HEARING)
        self.settler.start()
        self.stops.start()
        self.watches.start()
        if self.bus is not None:
            self.bus.start(
                Endpoint(self.source.wrap, self.destination.prepare)
            )

    def stop(self) -> None:
        self.server.stop()
        self.attestation.stop()
        self.settler.stop()
        self.stops.stop()
        self.watches.stop()
        if self.bus is not None:
            self.bus.stop()
        self.custodians.zygote.stop()

    def operations(self) -> Mapping[str, server.Handler]:
        """Operation of the local socket to what runs it."""
        return {
            'status': self.status,
            'attest': self.attest,
            'verdict': self.verdict,
            'enforces': self.enforces,
            'protection': self.protection,
            'seal': self.seal,
            'open': self.open,
            'launch': self.launch,
            'close': self.close,
            'announce': self.announce,
            'check_address': self.check_address,
            'receive': self.receive,
            'start': self.start_stream,
            'prepare': self.prepare,
            'stream_completed': self.told,
            'never_started': self.told,
            'stays': self.stays,
            'activated': self.told,
            'no_domain': self.told,
            'ended': self.ended,
            'forget': self.forget,
        }

    def status(self, _: ops.Status) -> answers.HostStatus:
        """What an operator wants to see; needs nothing but this host."""
        result = self.attester.result
        return answers.HostStatus(
            host=self.host,
            incarnation=self.attester.incarnation,
            tier=result.tier if result is not None else Tier.NONE,
            reasons=result.reasons if result is not None else (),
            expires=result.expires if result is not None else None,
            documents=len(self.journal.all()),
            keys=tuple(_summary(record) for record in self.vault.all()),
            last_handover=self._last.value,
            versions={'korora-nova': korora_conf.release()},
        )

    def attest(self, request: ops.Attest) -> answers.Appraised:
        """Attest now.

        :raises Untrusted: HOST_UNTRUSTED.
        """
        return _appraised(self.attestation.attest_now(request.max_age or 0.0))

    def verdict(self, request: ops.Verdict) -> answers.Appraised:
        """The service's word on another host, verified.

        :raises Untrusted: it is not affirming, or does not enforce.
        """
        return _appraised(self.attester.require_trusted(request.host))

    def enforces(self, request: ops.Enforces) -> answers.Done:
        """This host's nova-compute runs our driver."""
        self.enforcement.hear(request)
        return answers.Done()

    def protection(self, request: ops.Protection) -> answers.Protected:
        """Whether a server is protected, as vault and ledger know it."""
        record = self.vault.current(request.instance)
        state = (
            _SHOWN.get(record.state, record.state)
            if record is not None
            else _NONE
        )
        row, known = (
            self._row(request.instance) if request.ledger else (None, False)
        )
        if (
            row is not None
            and row.holder == self.host
            and record is not None
            and record.state == VaultState.CLAIMING
        ):
            # Granted, but not sealed under the grant: the claim goes on
            row = dataclasses.replace(row, holder=None)
        return answers.Protected(
            state=state,
            epoch=record.epoch if record is not None else 0,
            migration=record.migration if record is not None else '',
            ledger=row,
            ledger_known=known,
        )

    def _row(self, instance: str) -> tuple[answers.LedgerRow | None, bool]:
        try:
            row = self._parts.ledger_row(instance)
        except errors.NotFound:
            return None, True
        except errors.KororaError as exc:
            LOG.info('The ledger was not asked: %s', exc)
            return None, False
        return (
            answers.LedgerRow(row.holder, row.epoch, row.pending),
            True,
        )

    def seal(self, request: Sealing) -> answers.Key:
        """Take a passphrase into custody; only a custodian has seen it."""
        return self.rest.seal(request.instance, request.custodian)

    def open(self, request: ops.Open) -> answers.Key:
        return self.starts.open(request.instance)

    def launch(self, request: ops.Launch) -> answers.Done:
        self.stops.launch(request.instance)
        return answers.Done()

    def close(self, request: ops.Close) -> answers.Done:
        self.starts.close(request.instance)
        return answers.Done()

    def announce(self, request: ops.Announce) -> answers.Done:
        """This host's own Nova begins a migration of the server.

        It is at no other one then: what an earlier one has left, when
        nova-compute crashed in the middle, is settled now.

        :raises CustodyError: CERTIFICATE_MISSING.
        """
        self.streams.require()
        self.source.announce(request.instance)
        record = self.vault.current(request.instance)
        if record is not None and record.state in vault.AS_SOURCE:
            self._settle(request.instance)
        return answers.Done()

    def prepare(self, request: ops.Prepare) -> answers.Done:
        """Hand a key over before a cold migration.

        What an earlier hand-over has left, to or from here, is settled now.
        Asked again, the same is as it was.
        """
        record = self.vault.current(request.instance)
        if record is not None and record.state != VaultState.HELD:
            if (record.state, record.migration, record.statement) == (
                VaultState.MOVING,
                request.migration,
                None,
            ):
                return answers.Done()
            self._settle(request.instance)
        self.source.prepare(
            request.instance,
            request.migration,
            request.dest,
            Move(request.kind),
        )
        return answers.Done()

    def _settle(self, instance: str) -> None:
        """Settle what can be settled."""
        try:
            self.settler.resolve(instance)
        except errors.KororaError as exc:
            LOG.warning('%s: not settled: %s', instance, exc)

    def check_address(self, request: ops.CheckAddress) -> answers.Done:
        """Whether a source's stream could find this host, and trust it.

        :raises CustodyError: ADDRESS_MISMATCH, CERTIFICATE_MISSING.
        """
        self.destination.check_address(request.address)
        self.streams.require()
        return answers.Done()

    def receive(self, request: ops.Receive) -> answers.Received:
        return self.destination.receive(
            request.instance,
            request.migration,
            request.source,
            request.address,
            request.tls_name,
        )

    def start_stream(self, request: ops.Start) -> answers.Started:
        return self.source.start(
            request.instance,
            request.migration,
            request.dest,
            request.address,
            request.tls_name,
        )

    def told(self, request: ops.Statement) -> answers.Noted:
        """Something that happened to a migration."""
        return self.statements.state(
            Statement(request.OP),
            request.instance,
            request.migration,
            request.wait or 0.0,
        )

    def stays(self, request: ops.Stays) -> answers.Noted:
        """A cold migration from here failed."""
        return self.statements.stays(request.instance, request.migration)

    def ended(self, request: ops.Ended) -> answers.Ended:
        return self.watches.why(request.migration)

    def forget(self, request: ops.Forget) -> answers.Noted:
        return self.statements.forget(request.instance, request.wait or 0.0)

    def _streaming(self) -> bool:
        """Whether a permit from or to this host is open."""
        return any(record.state in _STREAMING for record in self.vault.all())

    def _holds(self, instance: str, epoch: int) -> bool:
        """Whether a server's key is at rest here, and in no hand-over."""
        record = vault.current(self.vault.of(instance))
        return record is not None and (record.state, record.epoch) == (
            VaultState.HELD,
            epoch,
        )

    def _is_trusted(self) -> bool:
        """Whether the service's last word on this host is that it is."""
        result = self.attester.result
        return result is not None and result.tier == Tier.AFFIRMING

    def _hear(self, heard: Heard) -> None:
        """What the service answered to a report; worked off elsewhere."""
        self.reports.hear(heard)
        self.rest.hear(heard.approval_kid)
        self.streams.hear(heard.streams)
        self._parts.offline.hear(heard.offline)
        if heard.wanted or heard.news:
            self.settler.wake()


def _appraised(result: VerifiedResult) -> answers.Appraised:
    return answers.Appraised(result.tier, result.reasons, result.expires)


def _summary(record: Record) -> answers.HeldKey:
    return answers.HeldKey(
        record.instance, record.state, record.epoch, record.migration
    )


def _bus(conf: cfg.ConfigOpts, handover: Any, host: str) -> Bus | None:
    if not handover.transport_url:
        LOG.warning(
            '[handover] transport_url is not set: this host takes no part '
            'in migrations of protected servers'
        )
        return None
    return Bus(conf, handover.transport_url, host, handover.rpc_timeout)


def _no_bus(host: str, request: WrapRequest | PrepareRequest) -> NoReturn:
    raise errors.Unavailable(
        errors.Reason.BUS_UNAVAILABLE,
        'The agent of this host has no [handover] transport_url.',
    )
