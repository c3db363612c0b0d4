# SPDX-License-Identifier: Apache-2.0
"""Appraisal of a host's evidence against reference values.

- Until the quote verifies, the evidence may come from anywhere: every
  failure raises, and nothing may be recorded about the host.
- From there on it is the host's own word about itself: a log that does not
  replay or a state that is not wanted makes it ``contraindicated``.
- Policy looks at verified PCRs, events and measurements only, and whatever
  is missing counts against the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from korora_nova import errors
from korora_nova.rats import eventlog, ima, policydigest, reference, tpm2
from korora_nova.rats.evidence import Evidence, qualify
from korora_nova.rats.finding import Finding, listed, printable
from korora_nova.rats.quote import Clock, VerifiedQuote, verify_quote

AFFIRMING = 'affirming'
CONTRAINDICATED = 'contraindicated'

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Appraisal:
    """What the evidence amounts to.

    :param tier: 'affirming' or 'contraindicated'.
    :param reasons: empty if affirming; in the order of the checks.
    :param events: verified UEFI events, None if the log failed.
    :param ima: verified IMA entries, None if the list failed.
    """

    tier: str
    reasons: tuple[Finding, ...]
    quote: VerifiedQuote
    events: tuple[eventlog.Event, ...] | None
    ima: tuple[ima.Entry, ...] | None

    @property
    def reason_ids(self) -> tuple[str, ...]:
        """The reasons' ids, each once, for results."""
        return tuple(dict.fromkeys(item.reason for item in self.reasons))

    def require_affirming(self) -> None:
        """Insist on the affirming tier.

        :raises Untrusted: HOST_UNTRUSTED with the reason ids.
        """
        if self.tier != AFFIRMING:
            raise errors.Untrusted(
                _R.HOST_UNTRUSTED,
                details={'reasons': ' '.join(self.reason_ids)})


def appraise(evidence: Evidence, *, ak: tpm2.Public, challenge: bytes,
             purpose: str, host: str, body: bytes,
             references: Sequence[reference.ReferenceValues],
             last_clock: Clock | None) -> Appraisal:
    """Appraise evidence that answers one challenge.

    1. the quote; 2. counters not older than ``last_clock``; 3. the UEFI
    log replays; 4. the IMA list replays, its boot aggregate agrees; 5. no
    IMA violation; 6. PCRs and measured files match one set of reference
    values completely.

    :param references: those that apply to the host; none means distrust.
    :param last_clock: of the host's last accepted evidence.
    :raises EvidenceError: step 1, QUOTE_*; step 2, CLOCK_WENT_BACK.
    :raises Retry: step 2, evidence of the same boot overtook this one.
    """
    quote = verify_quote(evidence.quote, ak,
                         qualify(challenge, purpose, host, body))
    _check_clock(quote.clock, last_clock)
    findings: list[Finding] = []
    events = _events(evidence.uefi_log, quote, findings)
    measured = _measured(evidence.ima_log, quote, findings)
    findings += _policy(quote, measured, references)
    tier = CONTRAINDICATED if findings else AFFIRMING
    return Appraisal(tier, tuple(findings), quote, events, measured)


def _check_clock(clock: Clock, last: Clock | None) -> None:
    if last is None:
        return
    boot = (clock.reset_count, clock.restart_count)
    last_boot = (last.reset_count, last.restart_count)
    if boot < last_boot:
        raise errors.EvidenceError(_R.CLOCK_WENT_BACK)
    if boot == last_boot and clock.clock_ms < last.clock_ms:
        raise errors.Retry(message='Newer evidence of this host was '
                           'accepted meanwhile; attest again.')


def _events(log: bytes, quote: VerifiedQuote, findings: list[Finding]
            ) -> tuple[eventlog.Event, ...] | None:
    try:
        return eventlog.parse(log).verify(quote.pcrs).events
    except errors.EvidenceError as exc:
        findings.append(Finding(exc.reason, exc.message))
        return None


def _measured(log: bytes, quote: VerifiedQuote, findings: list[Finding]
              ) -> tuple[ima.Entry, ...] | None:
    try:
        entries = ima.parse(log).verify(quote.pcrs)
    except errors.EvidenceError as exc:
        findings.append(Finding(exc.reason, exc.message))
        return None
    violated = [printable(entry.path) for entry in entries
                if entry.violation]
    findings += listed(_R.IMA_VIOLATION, violated,
                        'a violation was recorded for {}')
    return entries


def _policy(quote: VerifiedQuote, measured: tuple[ima.Entry, ...] | None,
            references: Sequence[reference.ReferenceValues]
            ) -> list[Finding]:
    """Findings against the set of reference values that comes closest."""
    if not references:
        return [Finding(_R.NO_REFERENCE, errors.REASONS[_R.NO_REFERENCE])]
    return min((_compare(quote, measured, values) for values in references),
               key=len)


def _compare(quote: VerifiedQuote, measured: tuple[ima.Entry, ...] | None,
             values: reference.ReferenceValues) -> list[Finding]:
    wrong = [str(index) for index in policydigest.PCRS_POLICY
             if quote.pcrs[index].hex() not in values.pcrs[index]]
    findings = [Finding(_R.PCR_NOT_GOLDEN,
                        f'PCR {index} differs from reference {values.name}')
                for index in wrong]
    unknown = {entry.digest: entry.path for entry in measured or ()
               if entry.digest not in values.ima_digests
               and entry.path != ima.BOOT_AGGREGATE}
    return findings + listed(
        _R.IMA_UNKNOWN_FILE, [printable(path) for path in unknown.values()],
        f'{{}} is not in reference {values.name}')
