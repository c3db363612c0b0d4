# SPDX-License-Identifier: Apache-2.0
"""What helps against a finding.

``ADVICE`` is all of it: a reason, or a reason and one of its causes, to what
to do. ``tests/field/advice.py`` follows each of them and sees the finding go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from korora_nova import errors
from korora_nova.rats.finding import Finding
from korora_nova.rats.policy.bound import Policy
from korora_nova.rats.policy.node import Params
from korora_nova.rats.state import USER_SPACE_PCRS, VerifiedState

_R = errors.Reason

_APPROVE = (
    'approve with: openstack attestation reference create NAME --host {host}'
)
_LEARN = f'if that is your change, {_APPROVE}'
_EDIT = (
    'edit /{rule} of the policy, then: openstack attestation policy set '
    '{policy} --file FILE'
)
_ENROL = 'enrol the entry on {host}; revocations come with fwupdmgr update'
#: Reasons that a reference ends if the rule compares with references, and an
#: edit of the rule if it does not.
_EITHER = (
    _R.AUTHORITY_UNKNOWN,
    _R.COMPONENT_MISSING,
    _R.COMPONENT_UNKNOWN,
    _R.EVENT_UNVERIFIED,
    _R.IMA_KEYRING,
    _R.IMA_SIGNATURE,
    _R.IMA_UNKNOWN_FILE,
    _R.IMA_WRONG_DIGEST,
    _R.NO_REFERENCE,
    _R.PCR_NOT_GOLDEN,
    _R.SIGNATURE_UNKNOWN,
    _R.TPM_FIRMWARE,
)
#: Reason, or reason/cause, to what helps.
ADVICE: Mapping[str, str] = {
    **{f'{reason}/learn': _LEARN for reason in _EITHER},
    **{
        f'{reason}/edit': _EDIT
        for reason in _EITHER
        if reason != _R.NO_REFERENCE
    },
    _R.UEFI_LOG_MISSING: 'boot {host} in UEFI mode with its TPM enabled, '
    'with a kernel that shows the event log',
    _R.UEFI_LOG_MALFORMED: "update {host}'s firmware and reboot it; if its "
    'event log stays as it is, keep the log for its vendor',
    _R.UEFI_LOG_BANK: "enable the SHA-256 bank in {host}'s firmware setup",
    _R.UEFI_LOG_REPLAY: 'find out what extends the PCR besides firmware and '
    'boot loader; if it is meant to be extended, ' + _EDIT,
    f'{_R.UEFI_LOG_REPLAY}/user-space': 'systemd extends this PCR while '
    '{host} runs: leave it to a rule pcrs with references: true, or let the '
    'agent read the log of systemd ([attester] systemd_log); ' + _EDIT,
    _R.SECURE_BOOT_OFF: "enable Secure Boot in {host}'s firmware setup",
    _R.SIGNATURE_FORBIDDEN: "remove the entry in {host}'s firmware setup",
    _R.SIGNATURE_MISSING: f'{_ENROL}; if the newest one lacks it, {_EDIT}',
    # A reference has a list of revocations; newer ones may be shorter.
    f'{_R.SIGNATURE_MISSING}/shrunk': f'{_ENROL}; if the newest one lacks '
    f'it, {_APPROVE}',
    f'{_R.AUTHORITY_UNKNOWN}/none': "enable Secure Boot in {host}'s firmware "
    'setup: without it nothing is vouched for',
    _R.COMMAND_LINE: "change the settings of {host}'s boot loader and reboot "
    'it; if the line is wanted, ' + _EDIT,
    _R.TPM_CLOCK_UNSAFE: 'shut {host} down cleanly and start it again; if '
    'it stays so, look for losses of power',
    _R.IMA_VIOLATION: 'if it is a log or state of a service: install the IMA '
    'policy of a starter on {host} and reboot it, or admit the path with '
    'violations: [{{path: PATH, most: NUMBER}}]; otherwise find out who '
    'writes to the file, then reboot {host}; to admit it, ' + _EDIT,
    _R.IMA_KEXEC: 'reboot {host} through its firmware',
    _R.IMA_LOG_MISSING: 'boot {host} with ima_policy=tcb',
    _R.IMA_LOG_TRIMMED: 'reboot {host}, and let nothing trim its IMA list '
    'before the agent has attested what is trimmed',
    _R.IMA_LOG_REPLAY: 'find out what extends PCR 10, or whether {host} was '
    'hibernated, which starts the registers anew, or its TPM did not answer '
    'in time ("Error Communicating to TPM chip" in its kernel log); '
    'reboot {host}',
    _R.IMA_LOG_MALFORMED: "reboot {host}; compare its kernel with others'",
    _R.IMA_TEMPLATE: 'boot {host} with ima_template=ima-ng, or one of those '
    'that the policy names',
    _R.IMA_TEMPLATE_HASH: 'reboot {host}; if that does not help, treat it as '
    'compromised',
    _R.IMA_BOOT_AGGREGATE: 'reboot {host}; its kernel must find the TPM '
    'before IMA starts',
    # Of a bank that was not quoted.
    f'{_R.IMA_BOOT_AGGREGATE}/bank': "add ima_hash=sha256 to {host}'s kernel "
    'command line and reboot it; its boot aggregate is then one of the '
    'SHA-256 bank. Of the SHA-1 bank, newer agents quote what it needs',
    _R.SITE_RULE: _EDIT,
}


def advise(
    policy: Policy, finding: Finding, state: VerifiedState, host: str
) -> str:
    """What to do about a finding of a policy.

    :param state: that the finding is about.
    """
    rule = finding.details.get('rule', '')
    case = cause(policy, finding, state)
    return ADVICE[case].format(rule=rule, policy=policy.name, host=host)


def cause(policy: Policy, finding: Finding, state: VerifiedState) -> str:
    """The key of ``ADVICE`` for a finding."""
    details, reason = finding.details, finding.reason
    learns = (
        params(policy.document, details.get('rule', '')).get('references')
        is True
    )
    found = _replay(finding, state) or _special(reason, details, learns)
    if found is None and reason in ADVICE:
        found = reason
    if found is None:
        found = f'{reason}/{"learn" if learns else "edit"}'
    if found.endswith('/learn'):
        return _unlearnable(state) or found
    # A rule of the site's own may give any reason.
    return found if found in ADVICE else _R.SITE_RULE


def _replay(finding: Finding, state: VerifiedState) -> str | None:
    """If a PCR is the cause that the log does not explain."""
    index = int(finding.details.get('pcr', -1))
    user_space = index in USER_SPACE_PCRS
    if finding.reason == _R.PCR_NOT_GOLDEN:
        # A reference has what user space extends, explained or not.
        relevant = not user_space and state.log is not None
    else:
        relevant = finding.reason in (_R.UEFI_LOG_REPLAY, _R.EVENT_UNVERIFIED)
    if not relevant or state.log is None or index not in state.log.differs:
        return None
    return (
        f'{_R.UEFI_LOG_REPLAY}/user-space'
        if user_space
        else _R.UEFI_LOG_REPLAY
    )


def _special(
    reason: str, details: Mapping[str, str], learns: bool
) -> str | None:
    """The cause, where a reason has several.

    :param learns: whether the rule compares with references.
    """
    if reason == _R.IMA_BOOT_AGGREGATE and 'bank' in details:
        return f'{reason}/bank'
    if reason == _R.SIGNATURE_MISSING and learns and 'want' in details:
        return f'{reason}/shrunk'
    if reason == _R.AUTHORITY_UNKNOWN and 'got' not in details:
        return f'{reason}/none'
    # No reference takes the place of what the document itself requires.
    if reason == _R.COMPONENT_MISSING and 'pcr' not in details:
        return f'{reason}/edit'
    if reason == _R.EVENT_UNVERIFIED and 'variable' in details:
        return f'{reason}/edit'
    return None


def _unlearnable(state: VerifiedState) -> str | None:
    """What is to be put right before anything can be learned."""
    if state.ima_fault is not None:
        return state.ima_fault.reason
    if state.log is None:
        fault = state.log_fault
        return fault.reason if fault else _R.UEFI_LOG_MISSING
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
