# SPDX-License-Identifier: Apache-2.0
"""What this host tells the attestation service, each time with proof."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from oslo_log import log as logging

from korora_nova import errors, faultpoints, spans
from korora_nova.attester import boot
from korora_nova.attester.collect import Collector
from korora_nova.attester.trust import TrustedKeys
from korora_nova.custody import bodies, messages
from korora_nova.custody.exchange import (
    Answer,
    Challenge,
    Request,
    S,
    malformed_answer,
)
from korora_nova.custody.words import ChallengeClass
from korora_nova.rats import evidence
from korora_nova.rats.quote.verify import Quote
from korora_nova.rats.signed.result import VerifiedResult, verify_result
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.words import Tier
from korora_nova.tpm import endorsement, keys
from korora_nova.tpm.device import Tpm

LOG = logging.getLogger(__name__)

_ATTEMPTS = 8
#: Parts of an IMA list, each of ``evidence.MAX_IMA_LOG`` bytes.
_MAX_PARTS = 256
#: Refusals that say nothing about the request itself.
AGAIN = (errors.Reason.RETRY, errors.Reason.CHALLENGE_USED)
#: Refusals of a challenge that came with an earlier answer.
STALE = (
    errors.Reason.CHALLENGE_UNKNOWN,
    errors.Reason.CHALLENGE_EXPIRED,
    errors.Reason.CHALLENGE_USED,
)
#: Refusals of evidence that names a log which was sent before; a worker of
#: an earlier release does not know the field.
_NO_LOG = (errors.Reason.EVENT_LOG_UNKNOWN, errors.Reason.INVALID_REQUEST)
#: Seconds of its life in which a challenge is not used any more.
_MARGIN = 5.0
#: Age, seconds, of a challenge that a hand-over takes: its evidence counts
#: from there, and has to be young when the permit is signed.
YOUNG = 10.0

T = TypeVar('T')
#: An object of the service's API, as it came.
Json = Mapping[str, object]


class Client(Protocol):
    """What the agent uses of :class:`korora_nova.client.AttestationClient`."""

    def enrol(
        self,
        host: str,
        *,
        ek_cert: str,
        ek_public: str,
        ak_public: str,
        srk_public: str,
        ek_chain: Sequence[str] = (),
    ) -> Json: ...

    def prove(self, host: str, proof: str) -> Json: ...

    def challenge(self, host: str, challenge_class: str) -> Json: ...

    def evidence(
        self,
        host: str,
        message: dict[str, object],
        challenge_class: str = '',
    ) -> Json: ...

    def get_host(self, host: str) -> Json: ...

    def get_result(self, host: str) -> Json: ...

    def get_migration(self, migration: str) -> Json: ...

    def watch_migration(
        self, migration: str, *, wait: float = 0.0, heard: float = 0.0
    ) -> Json: ...

    def get_server(self, instance: str) -> Json: ...


@dataclasses.dataclass(frozen=True)
class Answered(Generic[S]):
    """An answer of the service, and the quote that it was given for.

    :param result: this host's new result, verified.
    :param at: CLOCK_BOOTTIME, seconds, when the answer was there.
    """

    answer: Answer[S]
    result: VerifiedResult
    quote: Quote
    challenge: Challenge
    at: float = 0.0

    @property
    def has_challenge(self) -> bool:
        """Whether the challenge in it can still be answered."""
        life = self.answer.next_challenge.expires_in
        return boot.now() - self.at < life - _MARGIN

    @property
    def served(self) -> S:
        """What the purpose added."""
        return self.answer.served


class _Place(NamedTuple):
    """How much of the IMA list the service has seen.

    :param dropped: how much of that the kernel does not show any more.
    """

    offset: int
    dropped: int = 0


_BEGINNING = _Place(0)


class Counters:
    """Whether the TPM began anew while this process, so the kernel, ran on.

    After a suspend to memory it goes on where it was. After hibernation
    firmware has started it anew, and the lists of this kernel explain its
    registers no more.
    """

    def __init__(self) -> None:
        self._seen: bytes | None = None

    def note(self, quote: Quote) -> None:
        """Look at the counters of a new quote; say if they moved."""
        clock = objects.parse_attest(quote.attest).clock
        before, self._seen = self._seen, clock.reset_restart
        if before in (None, self._seen):
            return
        LOG.error(
            'The TPM was started again while this kernel ran on (%d resets, '
            '%d restarts). If the host was hibernated, its registers have '
            'begun anew and its logs explain them no more: reboot it, and '
            'let hypervisors not hibernate (systemctl mask hibernate.target '
            'hybrid-sleep.target). After a suspend to memory nothing is lost',
            clock.reset_count,
            clock.restart_count,
        )


class Attester:
    """The host's voice: every call is a fresh quote with its purpose."""

    def __init__(
        self,
        host: str,
        tpm: Tpm,
        client: Client,
        collector: Collector,
        trusted: TrustedKeys,
        ek_certificate: str | None = None,
    ) -> None:
        """:param ek_certificate: name of a file; None: as the TPM has it."""
        self.host = host
        self.tpm = tpm
        self.client = client
        self.trusted = trusted
        self._collector = collector
        self._ek_certificate = ek_certificate
        self._provisioning = threading.Lock()
        self._identity: keys.Identity | None = None
        self.result: VerifiedResult | None = None
        #: Called whenever the service says that it trusts this host no more.
        self.distrusted: Callable[[], None] = lambda: None
        self.incarnation = ''
        self._counters = Counters()
        self._place = _BEGINNING
        self._log_there = ''
        self._spared = threading.Lock()
        self._last: Answered[Any] | None = None

    @property
    def identity(self) -> keys.Identity:
        """The host's keys, found or created at their first use.

        :raises Unavailable: TPM_UNAVAILABLE.
        """
        with self._provisioning:
            if self._identity is None:
                self._identity = self._provisioned()
            return self._identity

    def _provisioned(self) -> keys.Identity:
        supplied = (
            endorsement.read(self._ek_certificate)
            if self._ek_certificate
            else ()
        )
        self.tpm.reclaim()
        with self.tpm.operation() as operation:
            identity = keys.provision(operation, supplied)
        if not identity.ek_cert:
            LOG.warning(
                'The TPM has no EK certificate: an operator has to vouch for '
                'it, or to supply one as [attester] ek_certificate'
            )
        elif not identity.ek_fits:
            LOG.warning(
                'The EK certificate in the TPM is not of its EK. An upgrade '
                "of the TPM's firmware may have replaced the EK: get the new "
                'certificate from its maker for [attester] ek_certificate'
            )
        return identity

    def challenge(
        self, challenge_class: ChallengeClass = ChallengeClass.ON_DEMAND
    ) -> Challenge:
        """Ask for a challenge."""
        with spans.span('ask.challenge'), self._listening():
            return Challenge.from_json(
                faultpoints.call(
                    'ask.challenge',
                    lambda: self.client.challenge(self.host, challenge_class),
                )
            )

    def spare(self, max_age: float = math.inf) -> Challenge | None:
        """The challenge that came with the last report's answer, once.

        :param max_age: seconds since that answer.
        """
        with self._spared:
            last = self._last
            if last is None or boot.now() - last.at > max_age:
                return None
            self._last = None
        return last.answer.next_challenge if last.has_challenge else None

    def attest_for(
        self,
        body: bodies.Body,
        kind: type[S],
        after: Answered[Any] | None = None,
        *,
        spare: bool = False,
    ) -> Answered[S]:
        """Attest for the purpose of a body, over an on-demand challenge.

        After a lost race with other evidence of this host it tries again,
        and if the challenge was used, which is this host's alone: what lies
        between sent the request twice. Said again, it is the same request.

        :param kind: what the service answers for this purpose.
        :param after: an answer of a moment ago: its challenge saves asking
            for one, and its PCRs reading them.
        :param spare: the challenge of a report of a moment ago will do, too;
            a service of an older release asks for one of its own.
        """
        first = [(after, spare)]
        return self.repeated(
            lambda: self._attempt(
                body, kind, *(first.pop() if first else (None, False))
            ),
            STALE if after is not None or spare else (),
        )

    def repeated(
        self, attempt: Callable[[], T], first: Collection[str] = ()
    ) -> T:
        """Run an attempt again that lost a race with other evidence.

        Several hand-overs of a host attest at once, and the service takes
        evidence in the order of the TPM's clock. Said again, a request is the
        same request.

        :param first: what else the first attempt may be refused for.
        """
        for number in range(_ATTEMPTS):
            try:
                return attempt()
            except (errors.Retry, errors.EvidenceError) as exc:
                again = exc.reason in AGAIN or (
                    number == 0 and exc.reason in first
                )
                if not again or number + 1 == _ATTEMPTS:
                    raise
                # Not all at the same time again
                time.sleep(random.uniform(0.01, 0.03) * (number + 1))
        raise AssertionError('unreachable')

    def _attempt(
        self,
        body: bodies.Body,
        kind: type[S],
        after: Answered[Any] | None,
        spare: bool,
    ) -> Answered[S]:
        offered = []
        if after is not None and after.has_challenge:
            offered = [after.answer.next_challenge]
        elif spare and (found := self.spare(YOUNG)) is not None:
            offered = [found]

        def attempt(whole: bool) -> Answered[S]:
            challenge = offered.pop() if offered else self.challenge()
            return self.answer(
                challenge,
                body,
                kind,
                whole=whole,
                pcrs=after.quote.pcrs if after is not None else None,
            )

        return self.continuing(attempt)

    def continuing(self, attempt: Callable[[bool], T]) -> T:
        """Run an attempt, and again if the service lacks an earlier log.

        :param attempt: asks for a challenge and answers it; it is told
            whether to send the whole list.
        """
        whole = False
        for last in (False, False, False, True):
            spared = self._log_there
            try:
                return attempt(whole)
            except (errors.Conflict, errors.Invalid) as exc:
                if last:
                    raise
                if exc.reason == errors.Reason.IMA_CONTINUITY and not whole:
                    LOG.info('The service asks for the whole IMA list')
                    # Whoever lost it may have lost the other log as well.
                    whole, self._log_there = True, ''
                elif spared and exc.reason in _NO_LOG:
                    LOG.info("The service asks for the firmware's log")
                    self._log_there = ''
                else:
                    raise
        raise AssertionError('unreachable')

    def answer(
        self,
        challenge: Challenge,
        body: bodies.Body,
        kind: type[S],
        *,
        whole: bool = False,
        pcrs: Mapping[int, bytes] | None = None,
    ) -> Answered[S]:
        """Answer one challenge with evidence; note this host's new result.

        :param whole: send the IMA list from its beginning.
        :param pcrs: values of a moment ago, which need not be read if the
            quote is over them.
        :raises Conflict: IMA_CONTINUITY, the service has to see the
            whole list; see :meth:`continuing`.
        """
        start = _BEGINNING if whole else self._place
        place = self._upload(start)
        if place != start:
            # That takes its time, and so challenge and values are old
            challenge, pcrs = self.challenge(challenge.challenge_class), None
        quote, text = self._quote(challenge, body, pcrs)
        self._counters.note(quote)
        # Read last: what was measured before the quote is in the logs
        logs = self._collector.read(*place)
        digest = hashlib.sha256(logs.uefi).hexdigest()
        there = digest == self._log_there
        proof = evidence.Evidence(
            quote,
            b'' if there else logs.uefi,
            logs.ima,
            logs.ima_offset,
            logs.systemd,
            digest if there else '',
        )
        document = self._submit(
            Request(
                challenge.value.hex(), body.PURPOSE, text, proof.to_json()
            ),
            steady=isinstance(body, bodies.Attest)
            and challenge.challenge_class == ChallengeClass.STEADY,
        )
        answer = Answer.from_json(document, kind)
        self.incarnation = challenge.incarnation
        self._place = _next(place if logs.ima_offset else _BEGINNING, answer)
        self._log_there = answer.uefi_digest
        result = self.result = self.verify(answer.result, self.host)
        if result.tier != Tier.AFFIRMING:
            self.distrusted()
        answered = Answered(answer, result, quote, challenge, boot.now())
        if isinstance(body, bodies.Attest):
            with self._spared:
                self._last = answered
        return answered

    def _quote(
        self,
        challenge: Challenge,
        body: bodies.Body,
        pcrs: Mapping[int, bytes] | None,
    ) -> tuple[Quote, str]:
        """A quote over a body, and the text of that."""
        text = messages.dumps(body)
        qualifying = evidence.qualify(
            challenge.value, body.PURPOSE, self.host, text.encode()
        )
        identity = self.identity
        with self.tpm.operation() as operation:
            return keys.quote(
                operation, identity, qualifying, pcrs, self._collector.sha1()
            ), text

    def _upload(self, place: _Place) -> _Place:
        """Send the IMA list in parts, up to one that evidence can hold.

        The service keeps them: after a fault it says where to go on.

        :returns: where the evidence goes on.
        """
        for _ in range(_MAX_PARTS):
            part = self._collector.part(*place)
            if not part:
                return place
            try:
                offset = self._send_part(place.offset, part)
            except errors.Conflict as exc:
                upto = exc.details.get('upto', '')
                if not upto.isdecimal() or int(upto) == place.offset:
                    raise
                offset = int(upto)
            place = (
                _BEGINNING
                if offset < place.dropped
                else place._replace(offset=offset)
            )
        raise errors.TooLarge(
            errors.Reason.TOO_LARGE,
            'The IMA measurement list grows faster than it can be sent.',
        )

    def _send_part(self, offset: int, part: bytes) -> int:
        challenge = self.challenge()
        digest = hashlib.sha256(part).hexdigest()
        quote, text = self._quote(
            challenge, bodies.ListPart(offset, digest), None
        )
        proof = evidence.Evidence(quote, b'', part)
        purpose = bodies.ListPart.PURPOSE
        answer = self._submit(
            Request(challenge.value.hex(), purpose, text, proof.to_json())
        )
        upto = answer.get('upto')
        if type(upto) is not int or not offset < upto:
            raise malformed_answer('upto')
        return upto

    def _submit(self, request: Request, *, steady: bool = False) -> Json:
        """:param steady: the service may put it off."""
        more = (ChallengeClass.STEADY,) if steady else ()
        name = f'ask.{request.purpose}'
        with spans.span(name), self._listening():
            return faultpoints.call(
                name,
                lambda: self.client.evidence(
                    self.host, request.to_json(), *more
                ),
            )

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Hear that this host is not trusted, whatever it asked for."""
        try:
            yield
        except (errors.Untrusted, errors.NotFound) as exc:
            if (
                isinstance(exc, errors.NotFound)
                and exc.reason != errors.Reason.HOST_UNKNOWN
            ):
                raise
            self.result = None  # no longer the latest
            self.distrusted()
            raise

    def require_trusted(self, host: str) -> VerifiedResult:
        """The service's current word on another host.

        :raises Untrusted: it is not affirming, does not enforce, or is not
            the service's.
        """
        answer = faultpoints.call(
            'ask.look', lambda: self.client.get_result(host)
        )
        token = answer.get('token')
        if not isinstance(token, str):
            raise malformed_answer('token')
        result = self.verify(token, host)
        result.require_affirming(time.time())
        result.require_enforcing()
        return result

    def verify(self, token: str, host: str) -> VerifiedResult:
        """A result of a host, whatever it says.

        :raises Untrusted: it is not the service's, or too old.
        """
        ring = self.trusted.ring()
        return verify_result(
            token, ring, host=host, cloud=ring.cloud, now=time.time()
        )


def _next(place: _Place, answer: Answer[Any]) -> _Place:
    """Where the list goes on; all that the kernel has, if in doubt."""
    dropped = place.dropped or answer.ima_dropped
    if answer.ima_offset < dropped:
        return _BEGINNING
    return _Place(answer.ima_offset, dropped)
