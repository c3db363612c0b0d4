# SPDX-License-Identifier: Apache-2.0
"""What keeps a host from satisfying a policy, in words to act on.

It takes what is stored of a host: nothing is asked, nothing is decided.
Names and versions are those of the host's log, there for people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from korora_nova import errors
from korora_nova.rats.finding import MAX_LISTED, Finding
from korora_nova.rats.ima import Entry
from korora_nova.rats.ima.judge import refusal
from korora_nova.rats.ima.state import Counter, Tally
from korora_nova.rats.policy import advice, changes
from korora_nova.rats.policy.bound import Judgement, Policy
from korora_nova.rats.policy.components import words
from korora_nova.rats.reference import File, ReferenceValues
from korora_nova.rats.state import VerifiedState

_R = errors.Reason

#: Most differences that are told; there are few rules and each sums up.
MAX_DIFFERENCES = 256


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that the policy does not admit.

    :param rule: path of the rule in the policy, '' if it is any policy's.
    :param what: e.g. 'kernel 6.1.0-42-amd64 is not in the reference set'.
    :param last_good: what the newest reference has in its place, or ''.
    :param advice: what to do, a command where there is one.
    """

    rule: str
    reason: str
    what: str
    last_good: str
    advice: str

    def __str__(self) -> str:
        good = f'; last good was {self.last_good}' if self.last_good else ''
        return f'{self.what}{good}'


def difference(
    policy: Policy,
    references: Sequence[ReferenceValues],
    state: VerifiedState,
    files: Iterable[File],
    host: str,
) -> list[Difference]:
    """Compare what a host showed last with a policy.

    :param references: those that count, newest last.
    :param files: what IMA measured on the host.
    :returns: in the order of the checks, at most ``MAX_DIFFERENCES``;
        empty if the state satisfies the policy.
    """
    judgement = policy.bind(references).judge(state)
    found = [
        *state.faults(),
        *judgement.findings,
        *_of_files(judgement, files),
    ]
    newest = next(
        (item for item in reversed(references) if item.boot),
        references[-1] if references else None,
    )
    told: dict[Difference, None] = {}
    for finding in found:
        help_ = advice.advise(policy, finding, state, host)
        for what, good in _explain(finding, state, newest):
            told[
                Difference(
                    finding.details.get('rule', ''),
                    finding.reason,
                    what.rstrip('.'),
                    good,
                    help_,
                )
            ] = None
    return list(told)[:MAX_DIFFERENCES]


def _explain(
    finding: Finding, state: VerifiedState, newest: ReferenceValues | None
) -> Iterator[tuple[str, str]]:
    """What is wrong and what was good, in one or several sentences."""
    details = finding.details
    if finding.reason == _R.COMPONENT_UNKNOWN and 'got' in details:
        item = changes.of_finding(details)
        yield (
            f'{words(item)} is not in the reference set',
            changes.last_component(item, newest),
        )
    elif finding.reason == _R.PCR_NOT_GOLDEN:
        yield finding.message, ''
        yield from changes.inside(int(details['pcr']), state, newest)
    elif finding.reason == _R.COMMAND_LINE:
        yield finding.message, changes.last_command_line(newest)
    elif finding.reason == _R.TPM_FIRMWARE:
        known = newest.firmware_version if newest else None
        yield finding.message, '' if known is None else f'{known:#x}'
    else:
        yield finding.message, ''


def _of_files(
    judgement: Judgement, files: Iterable[File]
) -> tuple[Finding, ...]:
    rules = judgement.ima_rules
    if rules is None or judgement.ima is None:
        return ()
    # Templates and signatures are not stored: only the digests count here.
    template = next(iter(judgement.ima.options.get('templates', ())), 'ima-ng')
    kinds: dict[str, dict[str, Finding]] = {}
    counter = Counter(Tally())
    for index, file in enumerate(files):
        entry = Entry(file.digest, file.path, file.violation, template)
        found = refusal(rules, entry, counter, not index)
        if found is not None:
            kinds.setdefault(found.reason, {})[found.message] = found
    return judgement.of_files(
        finding
        for reason, listed in sorted(kinds.items())
        for finding in _summed(reason, list(listed.values()))
    )


def _summed(reason: str, found: list[Finding]) -> Iterator[Finding]:
    if reason == _R.IMA_SIGNATURE:
        yield Finding(
            reason,
            f'{len(found)} measured files are not listed; '
            'the reasons of the host say whether signatures '
            'admit them',
        )
        return
    for item in found[:MAX_LISTED]:
        yield (
            item
            if reason != _R.IMA_UNKNOWN_FILE
            else dataclasses.replace(
                item, message=f'{item.message}: {item.details["got"]}'
            )
        )
    if len(found) > MAX_LISTED:
        yield Finding(
            reason, f'{len(found) - MAX_LISTED} more: {errors.REASONS[reason]}'
        )
