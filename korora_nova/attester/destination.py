# SPDX-License-Identifier: Apache-2.0
"""The destination's side of a hand-over: offer a key, import, seal."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import errors, faultpoints
from korora_nova.attester import attest, outcome, sealing
from korora_nova.attester.attest import Answered
from korora_nova.attester.custodian import jobs
from korora_nova.attester.custodian.custodians import Custodian
from korora_nova.attester.host import Host, LastHandover
from korora_nova.attester.streams import Streams
from korora_nova.attester.vault import Record
from korora_nova.custody import answers, bodies, transcript
from korora_nova.custody import permit as permits
from korora_nova.custody.exchange import Challenge, Served
from korora_nova.custody.moves import Move
from korora_nova.custody.permit import VerifiedPermit
from korora_nova.custody.transfer import (
    PrepareRequest,
    Transfer,
    WrapRequest,
)
from korora_nova.custody.words import StreamTls, VaultState
from korora_nova.rats import evidence
from korora_nova.rats.x509 import stream
from korora_nova.tpm import handover

LOG = logging.getLogger(__name__)

#: Keys received at once for sources that asked for it over the bus.
PREPARED_AT_ONCE = 8

#: Refusals after which another challenge helps.
_WITH_ANOTHER = (
    *attest.AGAIN,
    *attest.STALE,
    errors.Reason.IMA_CONTINUITY,
)

#: Asks the agent of a host to wrap a key.
Ask = Callable[[str, WrapRequest], Transfer]


@dataclasses.dataclass(frozen=True)
class _Plan:
    migration: str
    instance: str
    source: str
    address: str
    tls_name: str
    kind: Move = Move.LIVE


class Destination:
    """Gets a key: for one migration, into this TPM, once.

    :param address: name or address at which this host receives migrations;
        what its own Nova tells sources must agree.
    :param tls_name: name in this host's certificate of the site, if
        configured.
    :param streams: what is known of its certificate of ours.
    """

    def __init__(
        self,
        host: Host,
        ask: Ask,
        last: LastHandover,
        relinquish: Callable[[str, str], None],
        resolve: Callable[[str], Record | None],
        address: str,
        tls_name: str | None,
        streams: Streams,
    ) -> None:
        self._host = host
        self._ask = ask
        self._last = last
        self._relinquish = relinquish
        self._resolve = resolve
        self._address = address
        self._tls_name = tls_name
        self._streams = streams
        self._slots = threading.BoundedSemaphore(PREPARED_AT_ONCE)

    def prepare(self, asked: PrepareRequest) -> None:
        """Get a key before a cold migration brings the server.

        Its source says so over the bus: whom Nova does not send is refused
        by the service.

        :raises Retry: BUSY.
        :raises CustodyError: NOT_HOLDER, before the TPM works.
        """
        if not self._slots.acquire(blocking=False):
            raise errors.Retry(errors.Reason.BUSY)
        try:
            if self._host.ledger_row(asked.instance).holder != asked.source:
                raise errors.CustodyError(errors.Reason.NOT_HOLDER)
            self._receive(
                _Plan(
                    asked.migration,
                    asked.instance,
                    asked.source,
                    self._address,
                    self._tls_name or '',
                    asked.kind,
                )
            )
        finally:
            self._slots.release()

    def receive(
        self,
        instance: str,
        migration: str,
        source: str,
        address: str,
        tls_name: str | None,
    ) -> answers.Received:
        """Get a key from its source, and give the passphrase to libvirt.

        Whatever fails after the service may have signed a permit gives the
        key up: no copy here is opened again, and the service is told.
        """
        record, noted = self._receive(
            self._plan(instance, migration, source, address, tls_name)
        )
        return answers.Received(
            record.secret_uuid, record.epoch, noted.ms, noted.tpm_commands
        )

    def _receive(self, plan: _Plan) -> tuple[Record, answers.Handover]:
        """Receive a key, and what that cost."""
        host = self._host
        started = time.monotonic()
        self._settle(plan)
        with host.vault.busy(plan.instance), host.tpm.tally() as count:
            self._make_room(plan)
            try:
                record = self._transfer(plan)
            except BaseException:
                self._relinquish(plan.instance, plan.migration)
                raise
        return record, self._last.note(
            'destination',
            plan.migration,
            time.monotonic() - started,
            count.total(),
        )

    def check_address(self, address: str) -> None:
        """Compare what this host's own Nova tells sources.

        :raises CustodyError: ADDRESS_MISMATCH.
        """
        if address != self._address:
            raise errors.CustodyError(
                errors.Reason.ADDRESS_MISMATCH,
                f'nova-compute of this host receives live migrations at '
                f'{address} ([libvirt] live_migration_inbound_addr, else '
                f'[DEFAULT] host), its agent at {self._address} ([attester] '
                'address, else host): set both to the same.',
                details={'nova': address, 'agent': self._address},
            )

    def _plan(
        self,
        instance: str,
        migration: str,
        source: str,
        address: str,
        tls_name: str | None,
    ) -> _Plan:
        self.check_address(address)
        name = tls_name or ''
        if name or self._streams.mode is StreamTls.SITE:
            name = self._tls_name or name or self._host.name
        return _Plan(migration, instance, source, address, name)

    def _settle(self, plan: _Plan) -> None:
        """What an earlier hand-over left is settled, if it can be."""
        if not self._host.vault.of(plan.instance):
            return
        try:
            self._resolve(plan.instance)
        except errors.KororaError as exc:
            LOG.info('%s: %s', plan.instance, exc)

    def _make_room(self, plan: _Plan) -> None:
        """Note this hand-over; copies that were left over may stay.

        :raises Conflict: CUSTODY_PENDING, the key is here, or another
            hand-over of it is not decided.
        """
        host = self._host
        for left in host.vault.of(plan.instance):
            if not left.epoch or self._is_live(left):
                raise errors.Conflict(
                    errors.Reason.CUSTODY_PENDING,
                    details={'state': left.state},
                )
        host.vault.put(
            host.blank(
                plan.instance,
                VaultState.RECEIVING,
                migration=plan.migration,
                peer=plan.source,
                kind=plan.kind,
            )
        )

    def _is_live(self, left: Record) -> bool:
        try:
            row = self._host.ledger_row(left.instance)
        except errors.NotFound:
            return True  # the service has lost what this record rests on
        return sealing.is_live(left, row, self._host.name)

    def _transfer(self, plan: _Plan) -> Record:
        host = self._host
        msk, offered = self._offered(plan)
        request = WrapRequest(
            plan.migration, plan.instance, msk.public, host.name
        )
        with host.custodians.begin() as custodian:
            transfer = faultpoints.call(
                'bus.wrap', lambda: self._ask(plan.source, request)
            )
            permit = self._accept(plan, msk, offered.challenge, transfer)
            self._open(plan, msk, permit, transfer, custodian)
            return self._take_in(plan, custodian, permit, offered)

    def _take_in(
        self,
        plan: _Plan,
        custodian: Custodian,
        permit: VerifiedPermit,
        offered: Answered[Served],
    ) -> Record:
        """Seal, say so, and only then give the key to libvirt."""
        host = self._host
        record = self._keep(plan, custodian, permit)
        host.attester.attest_for(
            bodies.Sealed(
                plan.migration, permit.hash, outcome.key_name(record)
            ),
            Served,
            offered,
        )
        # A guest that comes without a stream is started: that opens the key.
        if plan.kind == Move.LIVE:
            host.define(record, custodian)
        return record

    def _offered(
        self, plan: _Plan
    ) -> tuple[handover.MigrationKey, Answered[Served]]:
        """Offer a key; over a challenge that is at hand, if it is taken."""
        attester = self._host.attester
        spare = attester.spare(attest.YOUNG)
        if spare is not None:
            try:
                return self._offer(plan, spare, whole=False)
            except errors.KororaError as exc:
                if exc.reason not in _WITH_ANOTHER:
                    raise
        return attester.repeated(
            lambda: attester.continuing(
                lambda whole: self._offer(
                    plan, attester.challenge(), whole=whole
                )
            )
        )

    def _offer(
        self, plan: _Plan, challenge: Challenge, *, whole: bool
    ) -> tuple[handover.MigrationKey, Answered[Served]]:
        """A fresh migration storage key, certified, and our evidence."""
        host = self._host
        outside = transcript.msk_outside_info(
            challenge.value,
            plan.migration,
            plan.instance,
            plan.source,
            host.name,
        )

        def qualify(public: bytes) -> bytes:
            body = bodies.receive_key_body(
                plan.migration, plan.instance, plan.source, public
            )
            return evidence.qualify(
                challenge.value, 'receive-key', host.name, body
            )

        with host.tpm.operation() as operation:
            msk = handover.create_msk(
                operation, host.identity, outside, qualify
            )
        offered = host.attester.answer(
            challenge,
            bodies.Receive(
                migration=plan.migration,
                instance=plan.instance,
                source=plan.source,
                msk_public=msk.public,
                creation_data=msk.creation_data,
                creation_attest=msk.creation_attest,
                creation_signature=msk.creation_signature,
                address=plan.address,
                tls_name=plan.tls_name,
                kind=plan.kind,
            ),
            Served,
            whole=whole,
        )
        return msk, offered

    def _accept(
        self,
        plan: _Plan,
        msk: handover.MigrationKey,
        challenge: Challenge,
        transfer: Transfer,
    ) -> VerifiedPermit:
        """Check everything that needs no TPM."""
        ring = self._host.ring()
        permit = permits.verify_permit(
            transfer.permit,
            ring,
            incarnation=challenge.incarnation,
        )
        permit.check_dest(
            host=self._host.name,
            ak_name=self._host.identity.ak_name,
            instance=plan.instance,
            migration=plan.migration,
            source=plan.source,
            msk_name=msk.name,
            kind=plan.kind,
        )
        content = permit.content
        name = plan.tls_name
        if stream.is_name(content.tls_name):
            name = self._streams.require_name()
        if (content.address, content.tls_name) != (plan.address, name):
            raise errors.CustodyError(errors.Reason.ADDRESS_MISMATCH)
        sealing.approval_key(self._host, content.approval_kid)
        try:
            transfer.verify_source(permit)
        except errors.EvidenceError as exc:
            raise errors.CustodyError(
                errors.Reason.TRANSFER_INVALID,
                details={'why': exc.reason},
            ) from None
        return permit

    def _open(
        self,
        plan: _Plan,
        msk: handover.MigrationKey,
        permit: VerifiedPermit,
        transfer: Transfer,
        custodian: Custodian,
    ) -> None:
        """Let a custodian open what came; it checks the payload."""
        state = handover.TransitState.of(permit)
        custodian.open(
            jobs.Import(
                srk=self._host.identity.srk_tr,
                msk_context=msk.context,
                public=transfer.public,
                duplicate=transfer.duplicate,
                seed=transfer.seed,
                envelope=transfer.envelope,
                migration=plan.migration,
                instance=plan.instance,
                epoch=permit.content.new_epoch,
                aad=transcript.envelope_aad(permit.token),
                pcr_digest=state.pcr_digest,
                reset_restart=state.reset_restart,
                deadline=state.deadline,
            )
        )

    def _keep(
        self, plan: _Plan, custodian: Custodian, permit: VerifiedPermit
    ) -> Record:
        """Seal as the permit says; durable before anybody hears of it."""
        content = permit.content
        host = self._host
        record = self._receiving(plan)
        sealed = sealing.seal_into(
            host, record, content.new_epoch, custodian, content.approval_kid
        )
        host.journal.add(permit)
        return host.vault.replace(
            record,
            dataclasses.replace(
                sealed.moved(VaultState.INCOMING), permit=permit.token
            ).resting_on(permit),
        )

    def _receiving(self, plan: _Plan) -> Record:
        record = self._host.vault.get(plan.instance, 0)
        if (
            record is None
            or record.state != VaultState.RECEIVING
            or record.migration != plan.migration
        ):
            raise errors.CustodyError(errors.Reason.VAULT_STATE)
        return record
