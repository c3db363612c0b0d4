# SPDX-License-Identifier: Apache-2.0
"""The source's side of a hand-over (PROTOCOL rows 7, 9 and 11)."""

from __future__ import annotations

import base64
import dataclasses
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from oslo_log import log as logging

from korora_nova import errors
from korora_nova.attester import boot, sealing, vault
from korora_nova.attester.attest import Answer, b64
from korora_nova.attester.host import Handover, Host, LastHandover
from korora_nova.attester.sealing import Custodial
from korora_nova.attester.vault import Record
from korora_nova.custody import approval as approvals
from korora_nova.custody import envelope, transcript
from korora_nova.custody import permit as permits
from korora_nova.custody.permit import VerifiedPermit
from korora_nova.rats.quote.verify import Quote, verify_quote
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2.policy import PCRS_POLICY
from korora_nova.tpm import handover, keys

LOG = logging.getLogger(__name__)

#: Seconds for which an announcement admits one hand-over.
ANNOUNCED_SECONDS = 600.0
#: Calls over the bus that one announcement may cost before it is void.
ATTEMPTS = 3

_PENDING = 'pending'


@dataclasses.dataclass
class _Announcement:
    until: float
    attempts: int = ATTEMPTS


class Announcements:
    """Servers whose migration this host's own Nova has announced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Announcement] = {}

    def add(self, instance: str) -> None:
        with self._lock:
            self._open[instance] = _Announcement(
                boot.now() + ANNOUNCED_SECONDS
            )

    def require(self, instance: str) -> None:
        """:raises errors.CustodyError: NOT_ANNOUNCED."""
        with self._lock:
            self._known(instance)

    def _known(self, instance: str) -> _Announcement:
        known = self._open.get(instance)
        if known is None or known.until < boot.now():
            self._open.pop(instance, None)
            raise errors.CustodyError(errors.Reason.NOT_ANNOUNCED)
        return known

    def attempt(self, instance: str) -> None:
        """:raises errors.CustodyError: NOT_ANNOUNCED, or used too often."""
        with self._lock:
            known = self._known(instance)
            known.attempts -= 1
            if known.attempts <= 0:
                del self._open[instance]

    def spend(self, instance: str) -> None:
        """The announced migration has its permit."""
        with self._lock:
            self._open.pop(instance, None)


@dataclasses.dataclass(frozen=True)
class _Request:
    """A checked call of row 7, and the nonce and time of our answer."""

    migration: str
    instance: str
    dest: str
    msk_public: bytes
    msk_name: bytes
    nonce: bytes
    begun: float


class Source:
    """Gives a key away: to one TPM, under one permit, once."""

    def __init__(
        self,
        host: Host,
        announcements: Announcements,
        last: LastHandover,
        kick: Callable[[str], None],
    ) -> None:
        self._host = host
        self._announcements = announcements
        self._last = last
        self._kick = kick

    def announce(self, instance: str) -> dict[str, Any]:
        """This host's own Nova checks a migration of the server."""
        self._announcements.add(instance)
        return {}

    def wrap(
        self, migration: str, instance: str, msk_public: str, dest: str
    ) -> dict[str, Any]:
        """Answer a destination's call; everything in it is untrusted.

        Cheap checks come first; the TPM works only for a key that is held
        and a migration that was announced, a few times each.
        """
        host = self._host
        # A flood of the bus must not make the server's own start wait.
        self._announcements.require(instance)
        with host.vault.busy(instance):
            record = host.vault.get(instance)
            if record is None:
                raise errors.CustodyError(errors.Reason.VAULT_MISSING)
            if record.state != vault.HELD:
                raise errors.CustodyError(errors.Reason.VAULT_STATE)
            request = self._check(migration, instance, msk_public, dest)
            self._announcements.attempt(instance)
            return self._hand_over(record, request)

    def _check(
        self, migration: str, instance: str, msk_public: str, dest: str
    ) -> _Request:
        if dest == self._host.name:
            raise errors.Invalid(errors.Reason.INVALID_REQUEST)
        public = base64.b64decode(msk_public)
        key = objects.parse_public(public)
        objects.check_msk(key)
        return _Request(
            migration=migration,
            instance=instance,
            dest=dest,
            msk_public=public,
            msk_name=key.name,
            nonce=os.urandom(32),
            begun=boot.now(),
        )

    def _hand_over(self, record: Record, request: _Request) -> dict[str, Any]:
        started = time.monotonic()
        with self._host.tpm.tally() as count:
            answer, approval = self._ask(request)
            permit = self._accept(record, request, answer)
            self._announcements.spend(request.instance)
            outgoing = self._part(record, request, permit)
            try:
                transfer = self._wrap(
                    outgoing, request, permit, approval, answer.quote
                )
            except BaseException:
                self._never_sent(outgoing)
                raise
        self._last.value = Handover(
            'source', (time.monotonic() - started) * 1000, count.total()
        )
        return transfer

    def _ask(self, request: _Request) -> tuple[Answer, approvals.Approval]:
        """A permit, and with it the approval to open our own copy once.

        While the hand-over is pending nobody is approved any more.
        """
        answer = self._host.attester.say(
            'send',
            {
                'migration': request.migration,
                'instance': request.instance,
                'nonce': request.nonce.hex(),
                'dest': request.dest,
                'msk_name': request.msk_name.hex(),
            },
        )
        approval = answer.get('approval', dict)
        return answer, approvals.Approval.from_json(approval)

    def _accept(
        self, record: Record, request: _Request, answer: Answer
    ) -> VerifiedPermit:
        """Row 9: the permit is ours, for this, and fresh."""
        ring = self._host.ring()
        permit = permits.verify_permit(
            answer.get('permit', str),
            ring,
            cloud=ring.cloud,
            incarnation=answer.challenge.incarnation,
        )
        permit.check_source(
            host=self._host.name,
            ak_name=self._host.identity.ak_name,
            instance=request.instance,
            epoch=record.epoch,
            migration=request.migration,
            nonce=request.nonce.hex(),
            dest=request.dest,
            msk_name=request.msk_name,
        )
        # The nonce is younger than the request, the permit than the nonce
        if boot.now() - request.begun > permits.MAX_AGE:
            raise errors.CustodyError(errors.Reason.PERMIT_EXPIRED)
        return permit

    def _part(
        self, record: Record, request: _Request, permit: VerifiedPermit
    ) -> Record:
        """From here on this copy opens no more: durable before wrapping."""
        with self._host.vault.changing():
            if self._host.vault.get(request.instance) != record:
                raise errors.CustodyError(errors.Reason.VAULT_STATE)
            return self._host.vault.put(
                record.moved(
                    vault.OUTGOING,
                    migration=request.migration,
                    permit=permit.token,
                    peer=request.dest,
                )
            )

    def _wrap(
        self,
        record: Record,
        request: _Request,
        permit: VerifiedPermit,
        approval: approvals.Approval,
        evidence: Quote,
    ) -> dict[str, Any]:
        """Open our copy, wrap it to the MSK, and sign for it."""
        custodial = sealing.unseal(self._host, record, approval)
        wrapped, content = _wrap(custodial, request, permit)
        custodial.passphrase.wipe()
        qualifying = transcript.transfer_qualifying(
            permit.token,
            wrapped.public,
            wrapped.duplicate,
            wrapped.seed,
            content,
        )
        identity = self._host.identity
        with self._host.tpm.operation() as operation:
            attest, signature = keys.authenticate(
                operation, identity, qualifying
            )
        # The PCRs of the permit are those of our evidence: send its values
        quote = Quote(
            attest,
            signature,
            {index: evidence.pcrs[index] for index in PCRS_POLICY},
        )
        self._still_as_attested(quote, qualifying)
        return {
            'version': 1,
            'permit': permit.token,
            'ak_public': b64(identity.ak_public),
            'public': b64(wrapped.public),
            'duplicate': b64(wrapped.duplicate),
            'seed': b64(wrapped.seed),
            'envelope': b64(content),
            'quote': {
                'attest': b64(attest),
                'signature': b64(signature),
                'pcrs': {
                    str(index): value.hex()
                    for index, value in quote.pcrs.items()
                },
            },
        }

    def _still_as_attested(self, quote: Quote, qualifying: bytes) -> None:
        """Fail here, and say why, where the destination would refuse."""
        ak = objects.parse_public(self._host.identity.ak_public)
        try:
            verify_quote(quote, ak, qualifying, PCRS_POLICY)
        except errors.EvidenceError as error:
            raise errors.CustodyError(
                errors.Reason.TRANSFER_INVALID,
                'The PCRs of the source moved during the hand-over; try '
                'again.',
                details={'why': error.reason},
            ) from None

    def _never_sent(self, record: Record) -> None:
        with self._host.vault.changing():
            current = self._host.vault.get(record.instance)
            if current == record:
                self._host.vault.put(
                    dataclasses.replace(record, statement='never_started')
                )
        self._kick(record.instance)

    def start(
        self,
        instance: str,
        migration: str,
        dest: str,
        address: str,
        tls_name: str | None,
    ) -> dict[str, Any]:
        """Row 11: the memory stream may start, to where the permit says.

        :raises errors.CustodyError: PERMIT_MISMATCH, ADDRESS_MISMATCH,
            VAULT_STATE (spent).
        :raises errors.Conflict: MIGRATION_SPENT, decided already.
        """
        host = self._host
        with host.vault.busy(instance):
            record = self._outgoing(instance, migration)
            ring = host.ring()
            permit = permits.verify_permit(
                record.permit, ring, cloud=ring.cloud
            )
            named = permit.permit.tls_name
            permit.check_stream(
                dest=dest,
                address=address,
                tls_name=named if tls_name else None,
            )
            host.attester.require_affirming(dest)
            status = host.client.get_migration(migration).get('status')
            if status != _PENDING:
                raise errors.Conflict(errors.Reason.MIGRATION_SPENT)
            with host.vault.changing():
                if host.vault.get(instance) != record:
                    raise errors.CustodyError(errors.Reason.VAULT_STATE)
                host.vault.put(record.moved(vault.MOVING))
        return {'address': permit.permit.address, 'tls_name': named}

    def _outgoing(self, instance: str, migration: str) -> Record:
        record = self._host.vault.get(instance)
        if record is None:
            raise errors.CustodyError(errors.Reason.VAULT_MISSING)
        if (
            record.state != vault.OUTGOING
            or record.migration != migration
            or record.statement
        ):
            raise errors.CustodyError(
                errors.Reason.VAULT_STATE, details={'state': record.state}
            )
        return record


def _wrap(
    custodial: Custodial, request: _Request, permit: VerifiedPermit
) -> tuple[handover.Wrapped, bytes]:
    """The transit object with a fresh key, and the envelope under it."""
    key = envelope.new_key()
    payload = envelope.TransitPayload(
        request.migration, request.instance, permit.permit.new_epoch, key
    ).pack()
    wrapped = handover.wrap(request.msk_public, payload, transit_state(permit))
    content = envelope.seal_envelope(
        key, custodial.pack(), transcript.envelope_aad(permit.token)
    )
    payload.wipe()
    key.wipe()
    return wrapped, content


def transit_state(permit: VerifiedPermit) -> handover.TransitState:
    """The state of the destination that a permit names."""
    content = permit.permit
    return handover.TransitState(
        bytes.fromhex(content.dest_pcr_digest),
        bytes.fromhex(content.dest_reset_restart),
        content.dest_deadline,
    )
