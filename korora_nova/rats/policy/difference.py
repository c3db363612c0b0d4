# SPDX-License-Identifier: Apache-2.0
"""What keeps a host from satisfying a policy, in words to act on.

It takes what is stored of a host: nothing is asked, nothing is decided.
Names and versions are those of the host's log, there for people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from korora_nova import errors
from korora_nova.rats.finding import MAX_LISTED, Finding, printable
from korora_nova.rats.ima import Entry
from korora_nova.rats.ima.judge import refusal
from korora_nova.rats.ima.state import Counter, Tally
from korora_nova.rats.policy import changes
from korora_nova.rats.policy.bound import Judgement, Policy
from korora_nova.rats.policy.components import words
from korora_nova.rats.policy.node import Params
from korora_nova.rats.reference import File, ReferenceValues
from korora_nova.rats.state import USER_SPACE_PCRS, VerifiedState

_R = errors.Reason

#: Most differences that are told; there are few rules and each sums up.
MAX_DIFFERENCES = 256

_APPROVE = (
    'approve with: openstack attestation reference create NAME --host {host}'
)
_LEARN = f'if that is your change, {_APPROVE}'
_EDIT = (
    'edit /{rule} of the policy, then: openstack attestation policy set '
    '{policy} --file FILE'
)
_ENROL = 'enrol the entry on {host}; revocations come with fwupdmgr update'
#: For a list of revocations that a reference has; newer ones may be shorter.
_SHRUNK = f'{_ENROL}; if the newest one lacks it, {_APPROVE}'
#: What helps, where it is not to learn or to allow the new state.
_ADVICE = {
    _R.UEFI_LOG_MISSING: 'boot {host} in UEFI mode with its TPM enabled, '
    'with a kernel that shows the event log',
    _R.UEFI_LOG_MALFORMED: "compare {host}'s firmware version with other "
    'hosts; keep its event log for its vendor',
    _R.UEFI_LOG_BANK: "enable the SHA-256 bank in {host}'s firmware setup",
    _R.UEFI_LOG_REPLAY: 'find out what extends the PCR besides firmware and '
    'boot loader; if it is meant to be extended, ' + _EDIT,
    _R.EVENT_UNVERIFIED: 'find out what was measured; ' + _LEARN,
    _R.SECURE_BOOT_OFF: "enable Secure Boot in {host}'s firmware setup",
    _R.SIGNATURE_FORBIDDEN: "remove the entry in {host}'s firmware setup",
    _R.SIGNATURE_MISSING: _ENROL,
    _R.COMMAND_LINE: "change the settings of {host}'s boot loader and reboot "
    'it; if the line is wanted, ' + _EDIT,
    _R.TPM_CLOCK_UNSAFE: 'shut {host} down cleanly and start it again; if '
    'it stays so, look for losses of power',
    _R.IMA_VIOLATION: 'find out who writes to the file while it is used, '
    'then reboot {host}',
    _R.IMA_KEXEC: 'reboot {host} through its firmware',
    _R.IMA_LOG_MISSING: 'boot {host} with ima_policy=tcb',
    _R.IMA_LOG_REPLAY: 'find out what extends PCR 10; reboot {host}',
    _R.IMA_LOG_MALFORMED: "reboot {host}; compare its kernel with others'",
    _R.IMA_BOOT_AGGREGATE: 'reboot {host}; its kernel must find the TPM '
    'before IMA starts',
}
#: For a PCR that systemd extends.
_USER_SPACE = (
    'systemd extends this PCR while {host} runs: leave it to a rule pcrs '
    'with references: true; ' + _EDIT
)
#: For a boot aggregate of a bank that agents do not quote.
_HASH = (
    "add ima_hash=sha256 to {host}'s kernel command line and reboot it; its "
    'boot aggregate is then one of the SHA-256 bank'
)


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
        advice = _advice(policy, finding, host)
        for what, good in _explain(finding, state, newest):
            told[
                Difference(
                    finding.details.get('rule', ''),
                    finding.reason,
                    what.rstrip('.'),
                    good,
                    advice,
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


def _advice(policy: Policy, finding: Finding, host: str) -> str:
    rule = finding.details.get('rule', '')
    learns = params(policy.document, rule).get('references') is True
    text = _special(finding, learns) or _ADVICE.get(finding.reason)
    if text is None:
        text = _LEARN if learns else _EDIT
    return text.format(host=printable(host), rule=rule, policy=policy.name)


def _special(finding: Finding, learns: bool) -> str | None:
    """What helps with one of several causes that a reason has.

    :param learns: whether the rule compares with references.
    """
    details = finding.details
    if finding.reason == _R.IMA_BOOT_AGGREGATE and 'bank' in details:
        return _HASH
    if finding.reason == _R.UEFI_LOG_REPLAY and (
        details.get('pcr', '') in map(str, USER_SPACE_PCRS)
    ):
        return _USER_SPACE
    if finding.reason == _R.SIGNATURE_MISSING and learns and 'want' in details:
        return _SHRUNK
    return None


def params(document: Params, path: str) -> Params:
    """Parameters of the rule at a path of a policy document, or {}."""
    found: Any = document
    for part in path.split('/'):
        if (
            isinstance(found, list)
            and part.isdecimal()
            and (int(part) < len(found))
        ):
            found = found[int(part)]
        elif isinstance(found, Mapping):
            found = found.get(part)
    return found if isinstance(found, Mapping) else {}
