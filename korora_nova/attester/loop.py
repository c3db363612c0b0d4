# SPDX-License-Identifier: Apache-2.0
"""Attests again and again, whatever happens to TPM, network or service."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from oslo_log import log as logging

from korora_nova import errors, metrics, trail
from korora_nova.attester import boot, enrol
from korora_nova.attester.attest import Answered, Attester
from korora_nova.custody.bodies import Attest
from korora_nova.custody.exchange import Heard
from korora_nova.custody.words import ChallengeClass
from korora_nova.rats.signed.result import VerifiedResult
from korora_nova.rats.words import Tier

LOG = logging.getLogger(__name__)

#: Seconds for which new evidence tells nothing new: a migration asks the
#: destination twice within one or two, and its hand-over attests then.
RECENT = 5.0
_FIRST_DELAY = 0.5
_PENDING_DELAY = 5.0
#: Part of a delay that is waited at least.
_LEAST = 0.85


class Attestation:
    """Periodic and on-demand attestation, one at a time.

    :param report: what each attestation says besides the quote.
    :param hear: takes what the service answers to that; must not wait.
    """

    def __init__(
        self,
        attester: Attester,
        interval: float,
        report: Callable[[], Attest],
        hear: Callable[[Heard], None],
    ) -> None:
        self._attester = attester
        self._interval = interval
        self._report = report
        self._hear = hear
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._flight = threading.Lock()
        self._enrolled = False
        self._failures = 0
        self._patience = 0.0
        self._complaint = ''
        self._fresh: tuple[float, VerifiedResult] | None = None
        self._thread = threading.Thread(
            target=self._run, name='attestation', daemon=True
        )

    def start(self, patience: float = 0.0) -> None:
        """Begin.

        :param patience: seconds to wait for a first :meth:`kick`.
        """
        self._patience = patience
        self._thread.start()

    def kick(self) -> None:
        """There is something to tell: attest soon."""
        self._wake.set()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(5)

    def attest_now(self, max_age: float = 0.0) -> VerifiedResult:
        """A result of evidence collected after this call began.

        Concurrent callers share one attestation.

        :param max_age: seconds by which that may have been before. Then new
            evidence is collected, too, but not waited for; unless it was just
            now (:data:`RECENT`).
        :raises Untrusted: HOST_UNTRUSTED.
        """
        young = self._young(max_age)
        if young is not None:
            if not self._young(RECENT):
                self.kick()
            return young
        arrival = boot.now()
        with self._flight:
            fresh = self._fresh
            if fresh is None or fresh[0] < arrival:
                fresh = self._attest(
                    lambda: self._attester.attest_for(self._report(), Heard)
                )
        fresh[1].require_affirming(time.time())
        return fresh[1]

    def _young(self, max_age: float) -> VerifiedResult | None:
        """The last result, if it is that young and nothing speaks against it.

        Whatever else the service has said of this host meanwhile counts.
        """
        fresh, last = self._fresh, self._attester.result
        if fresh is None or last is None or boot.now() - fresh[0] > max_age:
            return None
        for result in (fresh[1], last):
            try:
                result.require_affirming(time.time())
            except errors.Untrusted:
                return None
        return fresh[1]

    def step(self) -> float:
        """Do what is due; return the seconds until the next time."""
        try:
            if not self._enrolled:
                status = enrol.ensure(self._attester)
                self._enrolled = status == enrol.APPROVED
                if not self._enrolled:
                    self._complain(f'waiting for approval ({status})')
                    return min(_PENDING_DELAY, self._interval)
            self._attest_steadily()
        except errors.KororaError as exc:
            return self._failed(exc)
        self._failures = 0
        self._complaint = ''
        return self._interval

    def _attest(
        self, ask: Callable[[], Answered[Heard]]
    ) -> tuple[float, VerifiedResult]:
        """One attestation; when its evidence was begun, and its result."""
        begun = boot.now()
        try:
            with metrics.counted(metrics.AGENT_ATTESTATIONS):
                answered = ask()
        except BaseException:
            self._fresh = None
            raise
        self._hear(answered.served)
        self._fresh = begun, answered.result
        metrics.AGENT_EXPIRES.set(answered.result.expires)
        metrics.AGENT_TRUSTED.set(answered.result.tier == Tier.AFFIRMING)
        return self._fresh

    def _attest_steadily(self) -> None:
        with self._flight:
            _begun, result = self._attest(
                lambda: self._attester.continuing(self._answer)
            )
        reasons = result.reasons
        if reasons:
            LOG.warning('This host is not trusted: %s', reasons)

    def _answer(self, whole: bool) -> Answered[Heard]:
        """Answer the challenge at hand, or else a new one."""
        challenge = self._attester.spare() or self._attester.challenge(
            ChallengeClass.STEADY
        )
        return self._attester.answer(
            challenge, self._report(), Heard, whole=whole
        )

    def _failed(self, error: errors.KororaError) -> float:
        """Log a new trouble once, and say when to try again."""
        if isinstance(error, errors.Busy):
            # Nothing is wrong, and the last result counts for a while. Those
            # that were put off together do not come together again.
            LOG.info('Attestation: %s', error)
            return error.retry_after * random.uniform(1.2, 2.0)
        self._attester.spare()  # it may be what was refused
        self._complain(str(error))
        if not isinstance(error, errors.Unavailable):
            # The service forgot or changed its mind: look again
            self._enrolled = False
        if isinstance(error, errors.Untrusted):
            return min(_PENDING_DELAY, self._interval)
        delay = min(self._interval, _FIRST_DELAY * float(2**self._failures))
        self._failures = min(self._failures + 1, 16)
        return delay * random.uniform(0.5, 1.0)

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            LOG.warning('Attestation: %s', text)
        self._complaint = text

    def _run(self) -> None:
        self._wake.wait(self._patience)
        while True:
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                with trail.following():
                    delay = self.step()
            except Exception:  # noqa: BLE001 - the loop outlives its bugs
                LOG.exception('Attestation failed unexpectedly')
                self._attester.spare()
                delay = self._interval
            # Else hosts that were started together would stay so.
            self._wake.wait(delay * random.uniform(_LEAST, 1.0))
