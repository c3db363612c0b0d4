# SPDX-License-Identifier: Apache-2.0
"""Agents of several hosts in memory, with the rules of custody.

Simulated are the answers that a driver can meet, not the cryptography:
who holds a key, who is trusted, who is alive.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

from korora_nova import errors
from korora_nova.attester import socket_client
from korora_nova.custody import operations

R = errors.Reason
#: Operations that change nothing for a server.
QUESTIONS = (
    'protection',
    'status',
    'check_address',
    'enforces',
    'launch',
    'ended',
)


@contextlib.contextmanager
def take(
    connection: socket.socket, head: bytes, length: int
) -> Iterator[tuple[operations.Seal, str]]:
    """Read a request to seal, as a custodian does, in this process."""
    text = head + socket_client.receive(connection, length)
    fields = json.loads(text)
    del fields['version'], fields['op']
    trace = fields.pop('traceparent', '')
    yield operations.Seal.from_json(fields), trace


@dataclasses.dataclass
class Move:
    """A hand-over; decided once."""

    instance: str
    source: str
    dest: str
    address: str
    tls_name: str
    outcome: str = 'pending'
    kind: str = 'live'


class Cloud:
    """The attestation service and all hosts' agents.

    :ivar untrusted: hosts whose evidence is bad.
    :ivar unenforced: hosts whose result says that nothing there enforces.
    """

    def __init__(self) -> None:
        self.up = True
        self.untrusted: set[str] = set()
        self.unenforced: set[str] = set()
        self.ledger: dict[str, dict[str, Any]] = {}
        self.moves: dict[str, Move] = {}
        self.agents: dict[str, FakeAgent] = {}

    @property
    def holders(self) -> dict[str, str]:
        """Who holds the key of each server, if anybody does."""
        return {
            instance: row['holder']
            for instance, row in self.ledger.items()
            if row['holder'] is not None
        }

    def agent(self, host: str) -> FakeAgent:
        if host not in self.agents:
            self.agents[host] = FakeAgent(self, host)
        return self.agents[host]

    def missing(self, host: str) -> str:
        """Why a host does not enforce, '' if it does, as its agent knows."""
        said = self.agent(host).enforcer
        if host in self.unenforced or said is None:
            return R.ENFORCER_ABSENT
        return R.ENFORCER_DRIFT if said[1] else ''

    def check(self, host: str) -> None:
        if not self.up:
            raise errors.Unavailable(R.SERVICE_UNAVAILABLE)
        if host in self.untrusted:
            raise errors.Untrusted(
                R.HOST_UNTRUSTED,
                f'{host} has PCR 7 wrong',
                details={'host': host},
            )

    def decide(self, migration: str, outcome: str) -> None:
        move = self.moves.get(migration)
        if move is None or move.outcome != 'pending':
            return
        move.outcome = outcome
        row = self.ledger[move.instance]
        row['pending'] = None
        source = self.agents[move.source].vault
        dest = self.agents[move.dest].vault
        if outcome == 'committed':
            row.update(holder=move.dest, epoch=row['epoch'] + 1)
            source[move.instance]['state'] = 'relinquished'
            dest[move.instance]['state'] = 'held'
        else:
            source[move.instance]['state'] = 'held'
            dest.pop(move.instance, None)
            if source[move.instance].get('forget'):
                self.agents[move.source].call('forget', instance=move.instance)


class FakeAgent(socket_client.AgentClient):
    """One host's korora-agent, and the client of it.

    :ivar calls: (op, fields) of every call, in order.
    :ivar fail: op -> error to raise instead of answering.
    :ivar alive: a dead agent answers nothing.
    :ivar address: [attester] address, or its default.
    :ivar certificate: the name that the service signed; '' for none.
    :ivar endings: migrations whose stream it has ended, and why.
    :ivar enforcer: what the driver said of itself, and what hinders it.
    """

    def __init__(self, cloud: Cloud, host: str) -> None:
        super().__init__('/nowhere', 0)
        self.cloud = cloud
        self.host = host
        self.alive = True
        self.address = host
        self.certificate = ''
        self.enforcer: tuple[str, str] | None = None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fail: dict[str, errors.KororaError] = {}
        self.vault: dict[str, dict[str, Any]] = {}
        self.announced: set[str] = set()
        self.opened: set[str] = set()
        self.launched: list[str] = []
        self.endings: dict[str, tuple[str, ...]] = {}
        self.define: Callable[[str, str, bytes], None] = (
            lambda instance, secret_uuid, value: None
        )
        self.undefine: Callable[[str], None] = lambda instance: None
        self.runs: Callable[[str], bool] = lambda instance: True

    def ops(self, *but: str) -> list[str]:
        """Names of the calls made, questions left out."""
        return [op for op, _ in self.calls if op not in (*QUESTIONS, *but)]

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        if not self.alive:
            raise errors.Unavailable(R.AGENT_UNAVAILABLE)
        fields.pop('traceparent', None)
        operations.REQUESTS[op].from_json(fields)
        self.calls.append((op, fields))
        if op in self.fail:
            raise self.fail[op]
        answer: dict[str, Any] = getattr(self, f'_{op}')(**fields)
        return answer

    def _status(self) -> dict[str, Any]:
        return {
            'host': self.host,
            'incarnation': '',
            'tier': 'none',
            'reasons': [],
            'expires': None,
            'documents': 0,
            'keys': [
                {
                    'instance': uuid,
                    'state': record['state'],
                    'epoch': 1,
                    'migration': record.get('migration', ''),
                }
                for uuid, record in self.vault.items()
            ],
            'last_handover': None,
            'versions': {},
        }

    def _enforces(
        self, driver: str, release: str, drift: str
    ) -> dict[str, Any]:
        self.enforcer = (driver, drift)
        return {}

    def _attest(self, max_age: float | None = None) -> dict[str, Any]:
        return self._verdict(self.host)

    def _verdict(self, host: str) -> dict[str, Any]:
        self.cloud.check(host)
        if host != self.host and host in self.cloud.unenforced:
            raise errors.Untrusted(R.ENFORCER_ABSENT)
        return {'tier': 'affirming', 'reasons': [], 'expires': 2.0e9}

    def _protection(
        self, instance: str, ledger: bool = True
    ) -> dict[str, Any]:
        record = self.vault.get(instance, {'state': 'none'})
        known = ledger and self.cloud.up
        return {
            'state': record['state'],
            'epoch': 1,
            'migration': record.get('migration', ''),
            'ledger': self.cloud.ledger.get(instance) if known else None,
            'ledger_known': known,
        }

    def _seal(
        self, instance: str, secret_uuid: str, passphrase: str
    ) -> dict[str, Any]:
        self.cloud.check(self.host)
        row = self.cloud.ledger.get(instance, {'holder': None, 'epoch': 0})
        if row['holder'] is not None:
            raise errors.Conflict(R.LEDGER_CONFLICT)
        self.cloud.ledger[instance] = {
            'holder': self.host,
            'epoch': row['epoch'] + 1,
            'pending': None,
        }
        self.vault[instance] = {
            'state': 'held',
            'secret_uuid': secret_uuid,
            'value': base64.b64decode(passphrase, validate=True),
        }
        return {'secret_uuid': secret_uuid, 'epoch': row['epoch'] + 1}

    def _open(self, instance: str) -> dict[str, Any]:
        record = self.vault.get(instance)
        if record is None:
            raise errors.CustodyError(R.VAULT_MISSING)
        self.cloud.check(self.host)
        cold = self._cold(record.get('migration', ''))
        if cold and record['state'] == 'incoming':
            self.cloud.decide(record['migration'], 'committed')
        elif cold and record['state'] in ('outgoing', 'moving'):
            self.cloud.decide(record['migration'], 'aborted')
        row = self.cloud.ledger[instance]
        if row['holder'] != self.host:
            raise errors.CustodyError(R.NOT_HOLDER)
        if row['pending']:
            raise errors.Conflict(R.CUSTODY_PENDING)
        self._define(instance)
        return {'secret_uuid': record['secret_uuid'], 'epoch': row['epoch']}

    def _define(self, instance: str) -> None:
        record = self.vault[instance]
        self.opened.add(instance)
        self.define(instance, record['secret_uuid'], record['value'])

    def _launch(self, instance: str) -> dict[str, Any]:
        self.launched.append(instance)
        return {}

    def _close(self, instance: str) -> dict[str, Any]:
        self.opened.discard(instance)
        self.undefine(instance)
        return {}

    def _announce(self, instance: str) -> dict[str, Any]:
        self.announced.add(instance)
        return {}

    def _check_address(self, address: str) -> dict[str, Any]:
        if address != self.address:
            raise errors.CustodyError(
                R.ADDRESS_MISMATCH, f'{address} or {self.address}?'
            )
        return {}

    def _receive(
        self,
        migration: str,
        instance: str,
        source: str,
        address: str,
        tls_name: str,
    ) -> dict[str, Any]:
        self._check_address(address)
        self.cloud.check(self.host)
        self.cloud.check(source)
        sender = self.cloud.agents[source]
        if instance not in sender.announced:
            raise errors.CustodyError(R.NOT_ANNOUNCED)
        if sender.vault[instance]['state'] != 'held':
            raise errors.CustodyError(R.VAULT_STATE)
        sender.announced.discard(instance)
        record = sender.vault[instance]
        record.update(state='outgoing', migration=migration)
        self.cloud.moves[migration] = Move(
            instance,
            source,
            self.host,
            address,
            self.certificate or tls_name,
        )
        self.cloud.ledger[instance]['pending'] = migration
        self.vault[instance] = dict(record, state='incoming')
        self._define(instance)
        return {
            'secret_uuid': record['secret_uuid'],
            'epoch': 2,
            'ms': 20,
            'tpm_commands': 30,
        }

    def _start(
        self,
        instance: str,
        migration: str,
        dest: str,
        address: str,
        tls_name: str | None,
    ) -> dict[str, Any]:
        move = self.cloud.moves.get(migration)
        record = self.vault.get(instance, {'state': 'none'})
        if move is None or record['state'] != 'outgoing':
            raise errors.CustodyError(R.VAULT_STATE)
        if (move.dest, move.address) != (dest, address) or (
            bool(move.tls_name) and not tls_name
        ):
            raise errors.CustodyError(R.ADDRESS_MISMATCH)
        self.cloud.check(dest)
        record['state'] = 'moving'
        return {'address': move.address, 'tls_name': move.tls_name}

    def _cold(self, migration: str) -> bool:
        move = self.cloud.moves.get(migration)
        return move is not None and move.kind != 'live'

    def _prepare(
        self, instance: str, migration: str, dest: str, kind: str
    ) -> dict[str, Any]:
        record = self.vault.get(instance)
        if record is None:
            raise errors.CustodyError(R.VAULT_MISSING)
        if record['state'] != 'held':
            raise errors.CustodyError(R.VAULT_STATE)
        receiver = self.cloud.agents[dest]
        if not receiver.alive:
            raise errors.Unavailable(R.BUS_UNAVAILABLE)
        if 'prepared' in receiver.fail:
            raise receiver.fail['prepared']
        self.cloud.check(dest)
        self.cloud.check(self.host)
        record.update(state='moving', migration=migration)
        self.cloud.moves[migration] = Move(
            instance, self.host, dest, '', '', kind=kind
        )
        self.cloud.ledger[instance]['pending'] = migration
        receiver.vault[instance] = dict(record, state='incoming')
        return {}

    def _stays(self, instance: str, migration: str) -> dict[str, Any]:
        if migration in self.cloud.moves and not self._cold(migration):
            raise errors.Forbidden(R.STATEMENT_NOT_ALLOWED)
        self.cloud.decide(migration, 'aborted')
        return {'queued': True, 'receipt': None, 'outcome': None}

    def _stream_completed(
        self, instance: str, migration: str
    ) -> dict[str, Any]:
        self.cloud.decide(migration, 'committed')
        return {'queued': True, 'receipt': None, 'outcome': None}

    def _activated(self, instance: str, migration: str) -> dict[str, Any]:
        if not self.runs(instance) and not self._cold(migration):
            if migration not in self.cloud.moves:
                return {'queued': False, 'receipt': None, 'outcome': None}
            raise errors.Forbidden(R.STATEMENT_NOT_ALLOWED)
        return self._stream_completed(instance, migration)

    def _never_started(self, instance: str, migration: str) -> dict[str, Any]:
        if self.vault.get(instance, {}).get('state') == 'outgoing':
            self.cloud.decide(migration, 'aborted')
        return {'queued': True, 'receipt': None, 'outcome': None}

    def _no_domain(self, instance: str, migration: str) -> dict[str, Any]:
        self.cloud.decide(migration, 'aborted')
        return {'queued': True, 'receipt': None, 'outcome': None}

    def _ended(self, instance: str, migration: str) -> dict[str, Any]:
        reasons = self.endings.get(migration, ())
        return {
            'reason': R.TRUST_LOST_IN_FLIGHT if reasons else '',
            'host': self.cloud.moves[migration].dest if reasons else '',
            'reasons': list(reasons),
        }

    def _forget(
        self, instance: str, wait: float | None = None
    ) -> dict[str, Any]:
        record = self.vault.get(instance, {})
        if record.get('state') in ('outgoing', 'moving'):
            # Whose key it is has to be decided first.
            record['forget'] = True
            return {'queued': True, 'receipt': None, 'outcome': None}
        self.vault.pop(instance, None)
        if self.cloud.ledger.get(instance, {}).get('holder') == self.host:
            # As in the service: the row stays, its epochs are dead.
            self.cloud.ledger[instance]['holder'] = None
        return {'queued': True, 'receipt': None, 'outcome': None}
