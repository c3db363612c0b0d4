# SPDX-License-Identifier: Apache-2.0
"""The agent: its parts, put together, started and stopped."""

from __future__ import annotations

import base64
import functools
import pathlib
import socket
from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import client as api_client
from korora_nova import conf as korora_conf
from korora_nova import errors
from korora_nova.attester import server, vault
from korora_nova.attester.attest import Attester, Client
from korora_nova.attester.collect import Collector
from korora_nova.attester.destination import Destination
from korora_nova.attester.host import Host, LastHandover
from korora_nova.attester.journal import Journal
from korora_nova.attester.libvirt_secret import Hypervisor, Libvirt
from korora_nova.attester.loop import Attestation
from korora_nova.attester.rpc import Bus, Endpoint
from korora_nova.attester.sealing import AtRest
from korora_nova.attester.settle import Settler
from korora_nova.attester.source import Announcements, Source
from korora_nova.attester.statements import Statements
from korora_nova.attester.trust import TrustedKeys
from korora_nova.attester.vault import Record, Vault
from korora_nova.custody import bodies
from korora_nova.custody.transfer import Transfer, WrapRequest
from korora_nova.custody.words import Statement, VaultState
from korora_nova.rats.signed.result import VerifiedResult
from korora_nova.rats.words import Tier
from korora_nova.secret import Secret
from korora_nova.tpm.device import Tpm

LOG = logging.getLogger(__name__)

# What `protection` calls the states that only the agent tells apart
_NONE = 'none'
_SHOWN: dict[VaultState, str] = {
    VaultState.CLAIMING: _NONE,
    VaultState.RECEIVING: VaultState.INCOMING,
    VaultState.FORGOTTEN: VaultState.RELINQUISHED,
}
#: States of keys that this host reports with each attestation.
_REPORTED = (VaultState.HELD, *vault.AS_SOURCE)


class Agent:
    """Everything of one host; the socket's operations are its methods."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        client: Client,
        hypervisor: Hypervisor,
    ) -> None:
        options = conf[korora_conf.ATTESTER]
        handover = conf[korora_conf.HANDOVER]
        self.host = options.host or socket.gethostname()
        self.attester = Attester(
            self.host,
            Tpm(options.tcti),
            client,
            Collector(options.uefi_log, options.ima_log),
            TrustedKeys(options.trusted_keys),
        )
        state = pathlib.Path(options.state_dir)
        self.vault = Vault(state / 'vault')
        self.journal = Journal(state / 'journal')
        parts = Host(self.attester, self.vault, self.journal, hypervisor)
        self._client = client
        self._last = LastHandover()
        self.settler = Settler(parts)
        self.statements = Statements(parts, self.settler)
        self.attestation = Attestation(
            self.attester, options.interval, self._report
        )
        self.rest = AtRest(parts, self.settler.resolve)
        self.source = Source(
            parts, Announcements(), self._last, self.settler.kick
        )
        self.bus = _bus(conf, handover, self.host)
        self.destination = Destination(
            parts,
            self.bus.ask if self.bus is not None else _no_bus,
            self._last,
            self.statements.relinquish,
            self.settler.resolve,
            options.address or self.host,
            options.tls_name,
        )
        self.server = server.Server(
            options.socket,
            server.uids(options.allowed_users),
            self.operations(),
        )

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Agent:
        """The agent of this host as configured."""
        return cls(
            conf,
            api_client.from_conf(conf, korora_conf.SERVICE_AUTH),
            Libvirt(conf[korora_conf.ATTESTER].libvirt_uri),
        )

    def start(self) -> None:
        """Start; the socket answers at once, trust comes later."""
        self.server.start()
        self.attestation.start()
        self.settler.start()
        if self.bus is not None:
            self.bus.start(Endpoint(self.source.wrap))

    def stop(self) -> None:
        self.server.stop()
        self.attestation.stop()
        self.settler.stop()
        if self.bus is not None:
            self.bus.stop()

    def operations(self) -> Mapping[str, Callable[..., dict[str, object]]]:
        """Operation of the local socket to what runs it."""
        statements = {
            str(word): functools.partial(self.statements.state, word)
            for word in Statement
            if word != Statement.DELETE  # that is said by `forget`
        }
        return {
            'status': self.status,
            'attest': self.attest,
            'verdict': self.verdict,
            'protection': self.protection,
            'seal': self.seal,
            'open': self.rest.open,
            'close': self.rest.close,
            'announce': self.source.announce,
            'check_address': self.destination.check_address,
            'receive': self.destination.receive,
            'start': self.source.start,
            'forget': self.statements.forget,
            **statements,
        }

    def status(self) -> dict[str, object]:
        """What an operator wants to see; needs nothing but this host."""
        result = self.attester.result
        last = self._last.value
        return {
            'host': self.host,
            'incarnation': self.attester.incarnation,
            'tier': result.tier if result is not None else Tier.NONE,
            'reasons': list(result.reasons) if result is not None else [],
            'expires': result.expires if result is not None else None,
            'receipt_head': self.journal.head,
            'keys': [_summary(record) for record in self.vault.all()],
            'last_handover': last.to_json() if last is not None else None,
            'versions': {'korora-nova': korora_conf.release()},
        }

    def attest(self) -> dict[str, object]:
        """Attest now.

        :raises Untrusted: HOST_UNTRUSTED.
        """
        return _verdict(self.attestation.attest_now())

    def verdict(self, host: str) -> dict[str, object]:
        """The service's word on another host, verified.

        :raises Untrusted: it is not affirming.
        """
        return _verdict(self.attester.require_affirming(host))

    def protection(
        self, instance: str, ledger: bool = True
    ) -> dict[str, object]:
        """Whether a server is protected, as vault and ledger know it."""
        record = self.vault.get(instance)
        state = (
            _SHOWN.get(record.state, record.state)
            if record is not None
            else _NONE
        )
        row, known = self._row(instance) if ledger else (None, False)
        return {
            'state': state,
            'epoch': record.epoch if record is not None else 0,
            'migration': record.migration if record is not None else '',
            'ledger': row,
            'ledger_known': known,
        }

    def _row(self, instance: str) -> tuple[dict[str, object] | None, bool]:
        try:
            row = self._client.get_server(instance)
        except errors.NotFound:
            return None, True
        except errors.KororaError as exc:
            LOG.info('The ledger was not asked: %s', exc)
            return None, False
        fields = ('holder', 'epoch', 'pending')
        return {field: row.get(field) for field in fields}, True

    def seal(
        self, instance: str, secret_uuid: str, passphrase: str
    ) -> dict[str, object]:
        """Take a passphrase (base64) into custody."""
        try:
            secret = Secret(base64.b64decode(passphrase, validate=True))
        except ValueError:
            raise errors.Invalid(errors.Reason.INVALID_REQUEST) from None
        if not len(secret):
            raise errors.Invalid(errors.Reason.INVALID_REQUEST)
        try:
            return self.rest.seal(instance, secret_uuid, secret)
        finally:
            secret.wipe()

    def _report(self) -> bodies.Attest:
        held = tuple(
            bodies.Key(record.instance, record.epoch)
            for record in self.vault.all()
            if record.state in _REPORTED
        )
        return bodies.Attest(self.journal.head_token, held)


def _verdict(result: VerifiedResult) -> dict[str, object]:
    return {
        'tier': result.tier,
        'reasons': list(result.reasons),
        'expires': result.expires,
    }


def _summary(record: Record) -> dict[str, object]:
    return {
        'instance': record.instance,
        'state': record.state,
        'epoch': record.epoch,
        'migration': record.migration,
    }


def _bus(conf: cfg.ConfigOpts, handover: Any, host: str) -> Bus | None:
    if not handover.transport_url:
        LOG.warning(
            '[handover] transport_url is not set: this host takes no part '
            'in live migrations of protected servers'
        )
        return None
    return Bus(conf, handover.transport_url, host, handover.rpc_timeout)


def _no_bus(source: str, request: WrapRequest) -> Transfer:
    raise errors.Unavailable(
        errors.Reason.BUS_UNAVAILABLE,
        'The agent of this host has no [handover] transport_url.',
    )
