# SPDX-License-Identifier: Apache-2.0
"""Appraisal of a host's evidence by policies.

- Until the quote verifies, the evidence may come from anywhere: every
  failure raises, and nothing may be recorded about the host.
- From there on it is the host's own word about itself: a log that does not
  replay or a state that is not wanted makes it ``contraindicated``.
- Policies look at verified state only, and whatever is missing counts
  against the host.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

from korora_nova import errors
from korora_nova.rats import eventlog, ima, remembered
from korora_nova.rats.evidence import Evidence, qualify
from korora_nova.rats.finding import Finding
from korora_nova.rats.listed import NOTHING, Known, Listed, Seen
from korora_nova.rats.policy import BoundPolicy, Judgement
from korora_nova.rats.quote.verify import (
    Clock,
    SignedQuote,
    VerifiedQuote,
    verify_signed,
)
from korora_nova.rats.remembered import Judged, Judgements
from korora_nova.rats.state import BANK, Explained, VerifiedState, faults
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.words import Tier

__all__ = [
    'Appraisal',
    'Known',
    'Seen',
    'VerifiedState',
    'appraise',
]

_R = errors.Reason
#: Guesses where a list goes on that was trimmed, and came in parts.
_LONG_LISTS = 4


@dataclasses.dataclass(frozen=True)
class Appraisal:
    """What the evidence amounts to.

    :param tier: affirming or contraindicated.
    :param reasons: empty if affirming; in the order of the checks.
    :param whole: makes the state, as far as the log tells it.
    :param ima_fault: why the measurement list was refused, if it was.
    :param measured: the measurement list, None if it was refused or, PCR
        10 having its reset value, there is none and no policy wants one.
    :param listed: that list, in its place.
    """

    tier: Tier
    reasons: tuple[Finding, ...]
    quote: VerifiedQuote
    whole: Callable[[], VerifiedState]
    ima_fault: Finding | None
    measured: ima.Measured | None
    listed: Listed

    @functools.cached_property
    def state(self) -> VerifiedState:
        """What policies looked at.

        :raises Conflict: EVENT_LOG_UNKNOWN.
        """
        return dataclasses.replace(self.whole(), ima_fault=self.ima_fault)

    @property
    def reason_ids(self) -> tuple[str, ...]:
        """The reasons' ids, each once, for results."""
        return tuple(dict.fromkeys(item.reason for item in self.reasons))

    def require_affirming(self) -> None:
        """Insist on the affirming tier.

        :raises Untrusted: HOST_UNTRUSTED with the reason ids.
        """
        if self.tier != Tier.AFFIRMING:
            raise errors.Untrusted(
                _R.HOST_UNTRUSTED,
                details={'reasons': ' '.join(self.reason_ids)},
            )


def appraise(
    evidence: Evidence,
    *,
    ak: objects.Public,
    challenge: bytes,
    purpose: str,
    host: str,
    body: bytes,
    policies: Sequence[BoundPolicy],
    last_clock: Clock | None,
    known: Known = NOTHING,
    memos: ima.Memos | None = None,
    log: Callable[[], bytes] | None = None,
    judgements: Judgements | None = None,
) -> Appraisal:
    """Appraise evidence that answers one challenge.

    1. the quote, over the PCRs as sent or a value of PCR 10 that the list
    leads to soon after; 2. counters not older than ``last_clock``; 3. the UEFI
    log is compared with the quoted PCRs; 4. the IMA list replays and its
    boot aggregate agrees; 5. every rule of every policy.

    :param policies: all that apply to the host; none means distrust.
    :param last_clock: of the host's last accepted evidence.
    :param known: of the list, before what was sent. It is judged again by
        rules that are new. A list without its beginning goes on from there.
    :param memos: what lists of other hosts were seen to hold; None: nothing.
    :param log: gives the firmware's log with the digest in the evidence;
        None: it is in the evidence.
    :param judgements: what policies said of states before; None: nothing.
    :raises EvidenceError: step 1, QUOTE_*; step 2, CLOCK_WENT_BACK.
    :raises Retry: step 2, evidence of the same boot overtook this one.
    :raises Conflict: step 3, EVENT_LOG_UNKNOWN: send the log; step 4,
        IMA_CONTINUITY: send the whole list.
    """
    read = functools.cache(log or (lambda: evidence.uefi_log))
    signed = verify_signed(
        evidence.quote, ak, qualify(challenge, purpose, host, body)
    )
    listed = _listed(signed, evidence, known, read)
    quote = _quote(signed, evidence, listed)
    _check_clock(quote.clock, last_clock)
    before = _before_ima(listed.known.state)
    for _ in range(2):
        whole = functools.cache(
            functools.partial(_state, quote, evidence, read, before)
        )
        log_fault, judged, _ = _judged(
            quote, evidence, before, policies, whole, judgements
        )
        measured, fault = _measure(listed, quote, judged, memos)
        found = _before_ima(measured.state) if measured else before
        if found == before:
            break
        # Its list is the first to have entries for a register.
        before = found
    findings = [*faults(log_fault, fault)]
    if not policies:
        findings.append(Finding(_R.NO_POLICY, errors.REASONS[_R.NO_POLICY]))
    for judgement in judged:
        findings += judgement.findings
        findings += _of_files(judgement, measured)
    tier = Tier.CONTRAINDICATED if findings else Tier.AFFIRMING
    return Appraisal(
        tier, tuple(findings), quote, whole, fault, measured, listed
    )


def _judged(
    quote: VerifiedQuote,
    evidence: Evidence,
    before: Mapping[int, bytes],
    policies: Sequence[BoundPolicy],
    whole: Callable[[], VerifiedState],
    judgements: Judgements | None,
) -> Judged:
    """What policies say of a state, now or when it was the same."""
    if judgements is not None:
        key = remembered.key(quote, evidence, before, policies)
        found = judgements.get(key)
        if found is not None:
            return found
    state = whole()
    judged = Judged(
        state.log_fault,
        tuple(bound.judge(state) for bound in policies),
        tuple(policies),
    )
    if judgements is not None:
        judgements.put(key, judged)
    return judged


def _listed(
    signed: SignedQuote,
    evidence: Evidence,
    known: Known,
    log: Callable[[], bytes],
) -> Listed:
    """The list in its place, if the kernel has dropped its beginning."""
    listed = Listed(
        evidence.ima_log,
        evidence.ima_offset,
        known,
        eventlog.Booted(log),
    )
    first = next(filter(None, listed.parts()), b'') if not known.state else b''
    if known.state or (first and ima.begins(first)):
        return listed
    seen = known.seen(signed.clock.reset_count)
    if seen is None:
        return listed._replace(lost=bool(first))
    places = ima.places(seen.tail, listed.parts)
    # Each is a replay of what is left, and hosts choose how long that is.
    most = _LONG_LISTS if listed.offset else None
    for place in itertools.islice(places, most):
        found = listed.after(place, seen)
        try:
            state, earlier = _before(found, ())
            pcrs = _quote(signed, evidence, found).pcrs
        except (errors.EvidenceError, errors.Conflict):
            continue
        if ima.leads(
            found.log, pcrs, state=state, earlier=earlier, first=found.first
        ):
            return found
    return listed._replace(lost=True)


def _quote(
    signed: SignedQuote, evidence: Evidence, listed: Listed
) -> VerifiedQuote:
    """The quote with its values; the list tells that of PCR 10.

    IMA extends that one between reading and quoting, and the others rest.
    """
    sent, read = evidence.quote, evidence.quote.pcrs
    try:
        return signed.over(sent.banks(read))
    except errors.EvidenceError as exc:
        if exc.reason != _R.QUOTE_DIGEST or not any(
            read.get(ima.IMA_PCR, b'')
        ):
            raise
        first = exc
    state, earlier = _before(listed, ())
    try:
        moved = ima.locate(
            listed.log,
            read,
            lambda values: signed.over(sent.banks({**read, **values})),
            state=state,
            earlier=earlier,
            first=listed.first,
        )
    except errors.EvidenceError:
        # Whoever sent it: no value is proved, and nothing may be recorded.
        raise first from None
    return signed.over(sent.banks({**read, **moved}))


def _check_clock(clock: Clock, last: Clock | None) -> None:
    if last is None:
        return
    boot = (clock.reset_count, clock.restart_count)
    last_boot = (last.reset_count, last.restart_count)
    if boot < last_boot:
        want, got = '{} {}'.format(*last_boot), '{} {}'.format(*boot)
        raise errors.EvidenceError(
            _R.CLOCK_WENT_BACK,
            'The TPM counters (resetCount restartCount) '
            f'are older than those last seen: want {want} or later, '
            f'got {got}.',
            place='clockInfo',
            details={'want': want, 'got': got},
        )
    if boot == last_boot and clock.clock_ms < last.clock_ms:
        raise errors.Retry(
            message='Newer evidence of this host was '
            'accepted meanwhile; attest again.'
        )


def _before_ima(state: ima.State | None) -> dict[int, bytes]:
    """What was in registers that IMA extends besides its own."""
    others = state.others if state else {}
    return {
        index: bytes.fromhex(start) for index, (start, _) in others.items()
    }


def _state(
    quote: VerifiedQuote,
    evidence: Evidence,
    log: Callable[[], bytes],
    before: Mapping[int, bytes],
) -> VerifiedState:
    """What policies look at.

    :param log: gives the firmware's log.
    :param before: of registers that IMA extends besides its own: its list
        shows what was in them, and that is what policies compare.
    """
    pcrs = {**quote.pcrs, **before}
    # The SHA-1 bank is for the boot aggregate, and for nothing else.
    state = VerifiedState({BANK: pcrs}, quote.clock, quote.firmware_version)
    content = log()
    try:
        found = eventlog.parse(content).compare(
            {
                index: value
                for index, value in pcrs.items()
                if index != ima.IMA_PCR
            },
            BANK,
            eventlog.parse_user_space(evidence.systemd_log),
        )
        return dataclasses.replace(
            state, log=Explained.of(found), boot=found.boot
        )
    except errors.EvidenceError as exc:
        return dataclasses.replace(state, log_fault=Finding.of(exc))


def _before(
    listed: Listed, rules: Iterable[ima.Rules]
) -> tuple[ima.State | None, ima.Parts]:
    """Where an appraisal begins, and what lies between that and the log.

    :raises Conflict: IMA_CONTINUITY.
    """
    offset, known, state = listed.offset, listed.known, listed.known.state
    if not offset:
        return None, tuple
    if state is not None and (
        state.bytes > offset
        or any(one.fingerprint not in state.results for one in rules)
    ):
        state = None
    if state is not None and state.bytes == offset:
        return state, tuple
    start = state.bytes if state is not None else 0
    return state, lambda: known.parts(start)


def _measure(
    listed: Listed,
    quote: VerifiedQuote,
    judged: Sequence[Judgement],
    memos: ima.Memos | None,
) -> tuple[ima.Measured | None, Finding | None]:
    """One pass over the list for all policies, or why it is refused."""
    wanted = not judged or any(item.ima is not None for item in judged)
    if not wanted and not any(quote.pcrs[ima.IMA_PCR]):
        return None, None
    trimmed = Finding(_R.IMA_LOG_TRIMMED, errors.REASONS[_R.IMA_LOG_TRIMMED])
    if listed.lost:
        return None, trimmed
    rules = {
        one.fingerprint: one
        for item in judged
        if (one := item.ima_rules) is not None
    }
    state, earlier = _before(listed, rules.values())
    if memos is not None and len(rules) == 1:
        for one in rules.values():
            ima.prepare(one, memos)
    try:
        return ima.measure(
            listed.log,
            quote.pcrs,
            tuple(rules.values()),
            banks=quote.banks,
            state=state,
            memos=memos,
            earlier=earlier,
            first=listed.first,
        ), None
    except errors.EvidenceError as exc:
        if listed.offset and state is not listed.known.state:
            if listed.dropped:
                return None, trimmed
            # What was accepted once may be of another boot, or changed.
            raise errors.Conflict(_R.IMA_CONTINUITY) from exc
        return None, Finding.of(exc)


def _of_files(
    judgement: Judgement, measured: ima.Measured | None
) -> tuple[Finding, ...]:
    rules = judgement.ima_rules
    if rules is None or measured is None:
        return ()
    return judgement.of_files(
        measured.state.results[rules.fingerprint].findings()
    )
