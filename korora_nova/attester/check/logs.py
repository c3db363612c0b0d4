# SPDX-License-Identifier: Apache-2.0
"""Checks of what firmware and kernel measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from korora_nova import errors
from korora_nova.checks import (
    Problem,
    Result,
    bad,
    result,
    warn,
)
from korora_nova.rats import eventlog, evidence, ima
from korora_nova.rats.state import BANK, USER_SPACE_PCRS

_R = errors.Reason
#: Registers in which nothing but firmware and boot loader measures.
_FIRMWARE_PCRS = frozenset(range(8))
_BOOT = (
    'boot in UEFI mode with the TPM enabled, with a kernel that shows the '
    'event log'
)
_IMA = (
    'put the IMA policy of a starter into /etc/ima/ima-policy and reboot; '
    'they are in the directory korora_nova/starters'
)
_AGGREGATE = (
    'the kernel must find the TPM before IMA starts (driver built in); add '
    'ima_hash=sha256 to its command line, and reboot'
)


def compared(log: bytes, pcrs: Mapping[int, bytes]) -> eventlog.VerifiedLog:
    """The event log beside the registers that it has to explain.

    :raises EvidenceError: UEFI_LOG_*.
    """
    return eventlog.parse(log).compare(
        {pcr: value for pcr, value in pcrs.items() if pcr != ima.IMA_PCR},
        BANK,
    )


def uefi_log(log: bytes, pcrs: Mapping[int, bytes]) -> Result:
    """Whether the event log replays to the registers."""
    check = 'uefi-log'
    try:
        found = compared(log, pcrs)
    except errors.EvidenceError as exc:
        return result(check, '', [bad(f'[{exc.reason}] {exc.message}', _BOOT)])
    wrong = [pcr for pcr in found.differs if pcr not in USER_SPACE_PCRS]
    firmware = [pcr for pcr in wrong if pcr in _FIRMWARE_PCRS]
    others = [pcr for pcr in wrong if pcr not in _FIRMWARE_PCRS]
    problems = []
    if firmware:
        problems.append(
            bad(
                f'the log does not explain PCR {_listed(firmware)} '
                '(UEFI_LOG_REPLAY)',
                'reboot; if it stays so, update the firmware, and find out '
                'what else extends these registers',
            )
        )
    if others:
        problems.append(
            warn(
                f'the log does not explain PCR {_listed(others)}',
                'find out what extends them while the host runs; leave them '
                'out of the rule event-log of the policy if it is meant to',
            )
        )
    return result(
        check, f'{len(found.events)} events explain the PCRs', problems
    )


def secure_boot(log: bytes, pcrs: Mapping[int, bytes]) -> Result:
    """Whether Secure Boot was on when this system booted."""
    advice = "enable Secure Boot in the host's firmware setup"
    try:
        state = compared(log, pcrs).boot.secure_boot
    except errors.EvidenceError:
        state = None
    problems = []
    if state is None:
        problems.append(
            warn('unknown: no verified event of the log says so', advice)
        )
    elif not state:
        problems.append(warn('off; the starter policies demand it', advice))
    return result('secure-boot', 'on', problems)


def ima_policy(
    command_line: str, active: str | None, entries: int | None
) -> Result:
    """Whether IMA measures what runs.

    :param active: the policy as the kernel shows it; None: it does not.
    :param entries: of the measurement list; None: that is not known.
    """
    words = command_line.split()
    builtin = [
        word
        for word in words
        if word.startswith('ima_policy=') or word == 'ima_tcb'
    ]
    text = ', '.join(
        [
            *(builtin or ['no ima_policy= on the command line']),
            *([] if entries is None else [f'{entries} entries measured']),
        ]
    )
    problems = list(_of_rules(active))
    if entries is not None and entries <= 1:
        problems.append(
            bad('IMA measures nothing but the boot aggregate', _IMA)
        )
    elif entries is None and active is None and not builtin:
        problems.append(
            warn('whether IMA measures anything could not be seen', _IMA)
        )
    return result('ima-policy', text, problems)


def _of_rules(active: str | None) -> Iterator[Problem]:
    """What a policy that the kernel shows leaves unmeasured."""
    if active is None:
        return
    measured = [
        line for line in active.splitlines() if line.startswith('measure')
    ]
    missing = [
        hook
        for hook in ('BPRM_CHECK', 'MMAP_CHECK', 'MODULE_CHECK')
        if not any(hook in line for line in measured)
    ]
    if missing:
        yield bad(
            f'no rule of the IMA policy measures {", ".join(missing)}', _IMA
        )


def ima_list(
    listed: ima.Parts,
    pcrs: Mapping[int, bytes],
    violations: int | None,
    sha1: Mapping[int, bytes] | None = None,
    booted: ima.First | None = None,
) -> Result:
    """Whether the measurement list replays to PCR 10, and its size.

    :param listed: read after the registers were.
    :param violations: as the kernel counts them; None: that is not known.
    :param sha1: of that bank, if it is on.
    :param booted: values of registers after the boot.
    """
    problems = []
    entries = length = 0
    if not ima.begins(next(iter(listed()), b'')):
        problems.append(
            warn(
                'the kernel has dropped the beginning of its list',
                'the service goes on from what it has appraised in this boot; '
                'if that is nothing, reboot, and trim the list later',
            )
        )
        return result('ima-list', '', problems)
    try:
        state = ima.measure(
            b'',
            pcrs,
            (),
            banks={'sha1': sha1} if sha1 else {},
            earlier=listed,
            first=booted,
        ).state
        entries, length = state.entries, state.bytes
    except errors.EvidenceError as exc:
        problems.append(
            bad(f'[{exc.reason}] {exc.message}', _advice(exc.reason))
        )
    size = f'{length / (1 << 20):.1f} MiB'
    most = evidence.MAX_IMA_OFFSET
    if length > most:
        problems.append(
            bad(
                f'{size}, of which the service keeps {most >> 20} MiB',
                'reboot, and measure less: ' + _IMA,
            )
        )
    elif length > most // 2:
        problems.append(
            warn(f'{size} since the boot, half of what can be sent', _IMA)
        )
    if violations:
        problems.append(
            warn(
                f'{violations} violations: files were written to while they '
                'were measured, as logs are; policies refuse them',
                _IMA,
            )
        )
    return result(
        'ima-list', f'{entries} entries ({size}) explain PCR 10', problems
    )


def _advice(reason: str) -> str:
    if reason == _R.IMA_BOOT_AGGREGATE:
        return _AGGREGATE
    if reason == _R.IMA_LOG_MISSING:
        return _IMA
    return 'reboot; find out what else extends PCR 10'


def _listed(pcrs: list[int]) -> str:
    return ', '.join(map(str, pcrs))
