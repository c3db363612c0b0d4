# SPDX-License-Identifier: Apache-2.0
"""The source's side of a hand-over: wrap the key, start the move."""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
import time
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import errors, faultpoints
from korora_nova.attester import boot, sealing
from korora_nova.attester.attest import Answered
from korora_nova.attester.custodian import jobs
from korora_nova.attester.custodian.custodians import Custodian
from korora_nova.attester.host import Host, LastHandover
from korora_nova.attester.streams import Streams
from korora_nova.attester.vault import Record
from korora_nova.custody import answers, bodies, transcript
from korora_nova.custody import permit as permits
from korora_nova.custody import start as starts
from korora_nova.custody.exchange import Permitted, Started
from korora_nova.custody.moves import Move
from korora_nova.custody.permit import VerifiedPermit
from korora_nova.custody.start import VerifiedStart
from korora_nova.custody.transfer import (
    PrepareRequest,
    Transfer,
    WrapRequest,
)
from korora_nova.custody.words import Statement, VaultState
from korora_nova.rats.quote.verify import Quote, verify_quote
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.tpm2.policy import PCRS_POLICY
from korora_nova.rats.x509 import stream
from korora_nova.tpm import handover, keys

LOG = logging.getLogger(__name__)

#: Seconds for which an announcement admits one hand-over.
ANNOUNCED_SECONDS = 600.0
#: Calls over the bus that one announcement may cost before it is void.
ATTEMPTS = 3
#: Hand-overs whose answer to ``send`` is kept for their start.
_KEPT = 64

#: States of a key that is permitted away and has not left.
_STARTABLE = (VaultState.OUTGOING, VaultState.STARTING)

#: Asks the agent of a host to ask for a key.
AskDest = Callable[[str, PrepareRequest], None]


@dataclasses.dataclass
class _Announcement:
    """What this host's own Nova wants.

    :param move: migration and destination, if they are known yet.
    """

    until: float
    kind: Move
    move: tuple[str, str] | None
    attempts: int = ATTEMPTS

    def admits(self, asked: WrapRequest) -> bool:
        return self.move in (None, (asked.migration, asked.dest))


class Announcements:
    """Servers whose migration this host's own Nova has announced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Announcement] = {}

    def add(
        self,
        instance: str,
        kind: Move = Move.LIVE,
        move: tuple[str, str] | None = None,
    ) -> None:
        """Note what was announced; the last one counts.

        :param move: the only migration and destination that are meant.
        """
        with self._lock:
            self._open[instance] = _Announcement(
                boot.now() + ANNOUNCED_SECONDS, kind, move
            )

    def require(self, asked: WrapRequest) -> Move:
        """What Nova does, for which a destination asks.

        :raises CustodyError: NOT_ANNOUNCED.
        """
        with self._lock:
            known = self._known(asked.instance)
        if not known.admits(asked):
            raise errors.CustodyError(errors.Reason.NOT_ANNOUNCED)
        return known.kind

    def _known(self, instance: str) -> _Announcement:
        known = self._open.get(instance)
        if known is None or known.until < boot.now():
            self._open.pop(instance, None)
            raise errors.CustodyError(errors.Reason.NOT_ANNOUNCED)
        return known

    def attempt(self, instance: str) -> None:
        """:raises CustodyError: NOT_ANNOUNCED, or used too often."""
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
class _Checked:
    """A destination's request, checked; nonce and time of our answer.

    :param begun: CLOCK_BOOTTIME, seconds.
    """

    asked: WrapRequest
    kind: Move
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
        ask: AskDest,
        streams: Streams,
        watch: Callable[[Record], None],
    ) -> None:
        self._host = host
        self._announcements = announcements
        self._last = last
        self._kick = kick
        self._ask_dest = ask
        self._streams = streams
        self._watch = watch
        self._answers: collections.OrderedDict[str, Answered[Permitted]] = (
            collections.OrderedDict()
        )

    def announce(self, instance: str) -> None:
        """This host's own Nova checks a migration of the server."""
        self._announcements.add(instance)

    def prepare(
        self, instance: str, migration: str, dest: str, kind: Move
    ) -> None:
        """Hand the key over before a cold migration: C2 to C7.

        :raises KororaError: why not; this host says so to the service.
        """
        self._announcements.add(instance, kind, (migration, dest))
        asked = PrepareRequest(migration, instance, self._host.name, kind)
        try:
            faultpoints.call(
                'bus.prepare', lambda: self._ask_dest(dest, asked)
            )
            self._begin(instance, migration, lambda permit: None)
        except BaseException:
            self._announcements.spend(instance)
            record = self._host.vault.of_migration(instance, migration)
            if record is not None and record.state in _STARTABLE:
                self._never_sent(record)
            raise

    def wrap(self, asked: WrapRequest) -> Transfer:
        """Answer a destination's call; everything in it is untrusted.

        Cheap checks come first; the TPM works only for a key that is held
        and a migration that was announced, a few times each.
        """
        host, instance = self._host, asked.instance
        # A flood of the bus must not make the server's own start wait.
        kind = self._announcements.require(asked)
        with host.vault.busy(instance):
            record = host.vault.current(instance)
            if record is None:
                raise errors.CustodyError(errors.Reason.VAULT_MISSING)
            if record.state != VaultState.HELD:
                raise errors.CustodyError(errors.Reason.VAULT_STATE)
            request = self._check(asked, kind)
            self._announcements.attempt(instance)
            return self._hand_over(record, request)

    def _check(self, asked: WrapRequest, kind: Move) -> _Checked:
        if asked.dest == self._host.name:
            raise errors.Invalid(errors.Reason.INVALID_REQUEST)
        key = objects.parse_public(asked.msk_public)
        objects.check_msk(key)
        return _Checked(asked, kind, key.name, os.urandom(32), boot.now())

    def _hand_over(self, record: Record, request: _Checked) -> Transfer:
        started = time.monotonic()
        with (
            self._host.tpm.tally() as count,
            self._host.custodians.begin() as custodian,
        ):
            answer = self._ask(record, request)
            permit = self._accept(record, request, answer)
            self._announcements.spend(record.instance)
            outgoing = self._part(record, request, permit)
            try:
                transfer = self._wrap(
                    outgoing, request, permit, answer, custodian
                )
            except BaseException:
                self._never_sent(outgoing)
                raise
        migration = request.asked.migration
        self._last.note(
            'source', migration, time.monotonic() - started, count.total()
        )
        self._keep(migration, answer)
        return transfer

    def _keep(self, migration: str, answer: Answered[Permitted]) -> None:
        """Its challenge and PCRs serve the start, if that comes soon."""
        self._answers[migration] = answer
        while len(self._answers) > _KEPT:
            self._answers.popitem(last=False)

    def _ask(self, record: Record, request: _Checked) -> Answered[Permitted]:
        """A permit, and with it the approval to open our own copy once.

        While the hand-over is pending nobody is approved any more, and what
        was approved in advance is gone before it begins.
        """
        asked = request.asked
        self._host.offline.drop(record.instance)
        body = bodies.Send(
            migration=asked.migration,
            instance=asked.instance,
            nonce=request.nonce.hex(),
            dest=asked.dest,
            msk_name=request.msk_name.hex(),
            kid=record.kid,
            kind=request.kind,
        )
        return self._host.attester.attest_for(body, Permitted, spare=True)

    def _accept(
        self, record: Record, request: _Checked, answer: Answered[Permitted]
    ) -> VerifiedPermit:
        """The permit is ours, for this hand-over, and fresh."""
        asked = request.asked
        ring = self._host.ring()
        permit = permits.verify_permit(
            answer.served.permit,
            ring,
            incarnation=answer.challenge.incarnation,
        )
        permit.check_source(
            host=self._host.name,
            ak_name=self._host.identity.ak_name,
            instance=asked.instance,
            epoch=record.epoch,
            migration=asked.migration,
            nonce=request.nonce.hex(),
            dest=asked.dest,
            msk_name=request.msk_name,
            kind=request.kind,
        )
        # The nonce is younger than the request, the permit than the nonce
        if boot.now() - request.begun > permits.MAX_AGE:
            raise errors.CustodyError(errors.Reason.PERMIT_EXPIRED)
        return permit

    def _part(
        self, record: Record, request: _Checked, permit: VerifiedPermit
    ) -> Record:
        """From here on this copy opens no more: durable before wrapping."""
        self._host.journal.add(permit)
        return self._host.vault.replace(
            record,
            record.moved(
                VaultState.OUTGOING,
                migration=request.asked.migration,
                permit=permit.token,
                peer=request.asked.dest,
                kind=request.kind,
            ).resting_on(permit),
        )

    def _wrap(
        self,
        record: Record,
        request: _Checked,
        permit: VerifiedPermit,
        answer: Answered[Permitted],
        custodian: Custodian,
    ) -> Transfer:
        """Open our copy, wrap it to the MSK, and sign for it."""
        approval = answer.served.approval
        sealing.unseal(self._host, record, approval, custodian)
        wrapped = _wrap(custodian, request.asked, permit)
        qualifying = transcript.transfer_qualifying(
            permit.token,
            wrapped.public,
            wrapped.duplicate,
            wrapped.seed,
            wrapped.envelope,
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
            {index: answer.quote.pcrs[index] for index in PCRS_POLICY},
        )
        self._still_as_attested(quote, qualifying)
        return Transfer(
            permit=permit.token,
            ak_public=identity.ak_public,
            public=wrapped.public,
            duplicate=wrapped.duplicate,
            seed=wrapped.seed,
            envelope=wrapped.envelope,
            quote=quote,
        )

    def _still_as_attested(self, quote: Quote, qualifying: bytes) -> None:
        """Fail here, and say why, where the destination would refuse."""
        ak = objects.parse_public(self._host.identity.ak_public)
        try:
            verify_quote(quote, ak, qualifying, PCRS_POLICY)
        except errors.EvidenceError as exc:
            raise errors.CustodyError(
                errors.Reason.TRANSFER_INVALID,
                'The PCRs of the source moved during the hand-over; try '
                'again.',
                details={'why': exc.reason},
            ) from None

    def _never_sent(self, record: Record) -> None:
        with self._host.vault.changing():
            if self._host.vault.find(record) == record:
                self._host.vault.say(record, Statement.NEVER_STARTED)
        self._kick(record.instance)

    def start(
        self,
        instance: str,
        migration: str,
        dest: str,
        address: str,
        tls_name: str | None,
    ) -> answers.Started:
        """The memory stream may start, to where the permit says (C7).

        Said again until libvirt was called, it is the same start.

        :param tls_name: set if the stream will use TLS should the permit
            have a name for it.
        :raises CustodyError: PERMIT_MISMATCH, ADDRESS_MISMATCH,
            CERTIFICATE_MISSING, VAULT_STATE (spent).
        :raises Conflict: MIGRATION_SPENT, decided already.
        :raises Untrusted: the destination is not trusted now.
        """

        def check(permit: VerifiedPermit) -> None:
            name = permit.content.tls_name
            permit.check_stream(
                dest=dest,
                address=address,
                tls_name=name if tls_name else None,
            )
            if stream.is_name(name):
                self._streams.require_name()

        permit = self._begin(instance, migration, check)
        return answers.Started(permit.content.address, permit.content.tls_name)

    def _begin(
        self,
        instance: str,
        migration: str,
        check: Callable[[VerifiedPermit], None],
    ) -> VerifiedPermit:
        """Get the start of what is permitted.

        :param check: raises if the permit is not what Nova is to do.
        """
        host = self._host
        begun = time.monotonic()
        with host.vault.busy(instance), host.tpm.tally() as count:
            record = self._startable(instance, migration)
            permit = permits.verify_permit(record.permit, host.ring())
            check(permit)
            if record.state == VaultState.OUTGOING:
                record = host.vault.replace(
                    record, record.moved(VaultState.STARTING)
                )
            start = self._ask_start(record, permit)
            host.journal.add(start)
            record = host.vault.replace(
                record, record.moved(VaultState.MOVING).resting_on(start)
            )
        if not record.is_cold:
            self._watch(record)
        self._answers.pop(migration, None)
        self._last.note(
            'source', migration, time.monotonic() - begun, count.total()
        )
        return permit

    def _ask_start(
        self, record: Record, permit: VerifiedPermit
    ) -> VerifiedStart:
        """The service's start, and its word that D is trusted now.

        :raises CustodyError: DOCUMENT_INVALID.
        :raises Untrusted: the destination is not affirming, or does not
            enforce.
        """
        attester = self._host.attester
        answered = attester.attest_for(
            bodies.Start(record.migration, permit.hash),
            Started,
            self._answers.get(record.migration),
        )
        start = starts.verify_start(
            answered.served.start,
            self._host.ring(),
            incarnation=answered.challenge.incarnation,
        )
        start.check_source(instance=record.instance, permit_hash=permit.hash)
        peer = attester.verify(answered.served.peer, permit.content.dest)
        peer.require_affirming(time.time())
        peer.require_enforcing()
        return start

    def _startable(self, instance: str, migration: str) -> Record:
        record = self._host.vault.current(instance)
        if record is None:
            raise errors.CustodyError(errors.Reason.VAULT_MISSING)
        if (
            record.state not in _STARTABLE
            or record.migration != migration
            or record.statement
        ):
            raise errors.CustodyError(
                errors.Reason.VAULT_STATE, details={'state': record.state}
            )
        return record


def _wrap(
    custodian: Custodian, asked: WrapRequest, permit: VerifiedPermit
) -> jobs.Wrapped:
    """The transit object with a fresh key, and the envelope under it."""
    state = handover.TransitState.of(permit)
    job = jobs.Wrap(
        msk_public=asked.msk_public,
        migration=asked.migration,
        instance=asked.instance,
        epoch=permit.content.new_epoch,
        aad=transcript.envelope_aad(permit.token),
        pcr_digest=state.pcr_digest,
        reset_restart=state.reset_restart,
        deadline=state.deadline,
    )
    return custodian.do(job, jobs.Wrapped)
