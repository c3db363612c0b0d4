# SPDX-License-Identifier: Apache-2.0
"""A policy on what is stored of a host: what an attestation would find now.

Nothing is decided by it. The quote was verified when the state was stored,
and the list was replayed; only the rules are looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable

from korora_nova import errors
from korora_nova.rats import ima
from korora_nova.rats.finding import Finding
from korora_nova.rats.ima.judge import Judge
from korora_nova.rats.policy import BoundPolicy, Judgement
from korora_nova.rats.state import BANK, VerifiedState

_R = errors.Reason


def rejudge(
    bound: BoundPolicy, state: VerifiedState, files: Iterable[ima.Entry]
) -> tuple[Finding, ...]:
    """Why the policy does not hold for a state; empty if it does.

    :param files: the whole measurement list as it was covered by the quote,
        entries as parsed; read once, in their order.
    :raises EvidenceError: whatever reading them raises.
    """
    judgement = bound.judge(state)
    found = [*_faults(judgement, state), *judgement.findings]
    if judgement.ima is not None and state.ima_fault is None:
        found += _of_files(judgement, files)
    return tuple(found)


def _faults(judgement: Judgement, state: VerifiedState) -> list[Finding]:
    """Logs that are refused; a list that nobody wants need not be there."""
    unwanted = judgement.ima is None and not any(
        state.pcrs.get(BANK, {}).get(ima.IMA_PCR, b'')
    )
    return [
        fault
        for fault in state.faults()
        if not (unwanted and fault == state.ima_fault)
    ]


def _of_files(
    judgement: Judgement, files: Iterable[ima.Entry]
) -> tuple[Finding, ...]:
    rules = judgement.ima_rules
    judge = Judge(() if rules is None else (rules,), None)
    # What cannot be read raises: the host is not to blame.
    for entry in files:
        try:
            judge.admits(entry)
        except errors.EvidenceError as exc:
            return judgement.of_files([Finding.of(exc)])
    if judge.first:
        return judgement.of_files(
            [Finding(_R.IMA_LOG_MISSING, errors.REASONS[_R.IMA_LOG_MISSING])]
        )
    if rules is None:
        return ()
    return judgement.of_files(judge.results()[rules.fingerprint].findings())
