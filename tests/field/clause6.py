# SPDX-License-Identifier: Apache-2.0
"""Registers that user space extends: hosts with unified kernel images."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from korora_nova.rats import eventlog, policy, reference
from korora_nova.rats.eventlog import check, types
from korora_nova.rats.state import Explained, VerifiedState
from tests.field import Case
from tests.support import states, systemd, vectors

UKI = 'host/uki'
PHASES = [
    (11, word) for word in ('enter-initrd', 'leave-initrd', 'sysinit', 'ready')
]
MACHINE = (15, 'machine-id:00112233445566778899aabbccddeeff')
SYSTEM = (15, 'file-system:/:0a:ext4:root')
NV = [
    (9, f'nvpcr-init:{name}:0x1d1020{number}:000b{number * 64}')
    for name, number in (('cryptsetup', '1'), ('hardware', '0'))
]
SEPARATORS = [(pcr, 'os-separator') for pcr in (*range(8), 9, 12, 13, 14)]
MEASUREMENTS = 'https://systemd.io/TPM2_PCR_MEASUREMENTS'
MANUAL = 'systemd-pcrphase.service(8)'
ISSUES = 'https://github.com/systemd/systemd/issues/'
Words = Sequence[tuple[int, str]]


@functools.cache
def _log() -> eventlog.EventLog:
    return eventlog.parse(vectors.load(UKI).files[vectors.UEFI])


def host(
    words: Words,
    sent: bytes | None = None,
    *,
    log: eventlog.EventLog | None = None,
) -> VerifiedState:
    """A host on which systemd extended registers.

    :param sent: its log; None: all of it.
    """
    log = log or _log()
    pcrs = log.replay()
    for pcr, word in words:
        digest = hashlib.sha256(word.encode()).digest()
        pcrs[pcr] = hashlib.sha256(pcrs[pcr] + digest).digest()
    return quoted(pcrs, systemd.log(*words) if sent is None else sent, log)


def quoted(
    pcrs: dict[int, bytes], sent: bytes, log: eventlog.EventLog
) -> VerifiedState:
    pcrs = {**pcrs, 10: b'i' * 32}
    verified = log.compare(
        {index: value for index, value in pcrs.items() if index != 10},
        records=eventlog.parse_user_space(sent),
    )
    return dataclasses.replace(
        states.recorded(UKI),
        pcrs={'sha256': pcrs},
        log=Explained.of(verified),
        boot=verified.boot,
    )


def judged(
    state: VerifiedState, learned: VerifiedState, *rules: Any
) -> list[str]:
    """Reasons, of the built-in policy if there are no rules."""
    document = (
        {
            'version': 1,
            'name': 'x',
            'rules': [*rules, {'ima': 'not-appraised'}],
        }
        if rules
        else {
            **policy.EXACT.document,
            'rules': [
                *policy.EXACT.document['rules'][:-1],
                {'ima': 'not-appraised'},
            ],
        }
    )
    golden = reference.learn('golden', learned, ())
    return states.reasons(policy.load(document).bind([golden]).check(state))


def same(want: object, got: object) -> None:
    assert want == got, f'want {want}, got {got}'


def pinned(*registers: int) -> dict[str, Any]:
    return {'pcrs': {'registers': [*registers], 'references': True}}


def explained(*registers: int) -> dict[str, Any]:
    return {'event-log': {'pcrs': [*registers]}}


ALL = (*range(10), *range(11, 16))


def _252() -> None:
    words = [*PHASES, MACHINE, SYSTEM]
    for sent in (None, b''):
        state = host(words, sent)
        same([], judged(state, state, pinned(4, 7, 11)))
        same([], judged(state, state))
    same([], judged(host(words), host(words), explained(*ALL), pinned(4)))


def _one_bit() -> None:
    state = host(PHASES)
    pcrs = dict(state.pcrs['sha256'])
    pcrs[11] = bytes([pcrs[11][0] ^ 1]) + pcrs[11][1:]
    other = quoted(pcrs, systemd.log(*PHASES), _log())
    same(['PCR_NOT_GOLDEN'], judged(other, state, pinned(4, 7, 11)))
    same(['UEFI_LOG_REPLAY'], judged(other, state, explained(11), pinned(4)))


def _259() -> None:
    words = [*NV, (9, 'nvpcr-separator'), *PHASES, MACHINE]
    state = host(words)
    same([], judged(state, state, explained(*ALL), pinned(4)))
    same([], judged(state, state))
    # An agent that does not send the log yet.
    silent = host(words, b'')
    same([], judged(silent, silent, pinned(4, 9)))
    same([], judged(silent, silent))


def _259_other() -> None:
    state = host([*NV, (9, 'nvpcr-separator')])
    other = host([NV[0], (9, NV[1][1] + '0'), (9, 'nvpcr-separator')])
    same(['PCR_NOT_GOLDEN'], judged(other, state, pinned(4, 9)))
    same(
        ['COMPONENT_UNKNOWN'],
        judged(
            other,
            state,
            pinned(4),
            {'boot-components': {'pcrs': [9], 'references': True}},
        ),
    )


def _261() -> None:
    words = [*NV, (9, 'nvpcr-separator'), *SEPARATORS, *PHASES, MACHINE]
    state = host(words)
    same([], judged(state, state))
    before = states.recorded(UKI).facts
    same(before.secure_boot, state.facts.secure_boot)
    same(before.authorities, state.facts.authorities)
    same(before.command_lines, state.facts.command_lines)
    rules = (
        explained(*ALL),
        pinned(0, 2, 3),
        {'secure-boot': {'enabled': True}},
        {'authorities': {'references': True}},
        {'boot-components': {'pcrs': [4, 14], 'references': True}},
    )
    same([], judged(state, state, *rules))


def _upgrade() -> None:
    """A host before and after it extends the separator."""
    rules = (
        explained(0, 2, 4, 7, 12),
        {'authorities': {'references': True}},
        {'boot-components': {'pcrs': [4, 11], 'references': True}},
        {'command-line': {'references': True}},
    )
    old, new = host(PHASES), host([*SEPARATORS, *PHASES])
    for state, learned in ((old, new), (new, old)):
        same([], judged(state, learned, *rules, pinned(8)))


def _without_log() -> None:
    state = host([*SEPARATORS, *PHASES], b'')
    same((), tuple(state.log.differs if state.log else ('none',)))


def _content_type() -> None:
    records = []
    for pcr, word in PHASES:
        record = json.loads(systemd.record(pcr, word)[1:])
        del record['content_type']
        records.append(b'\x1e' + json.dumps(record).encode())
    state = host(PHASES, b''.join(records))
    same([], judged(state, state, explained(11), pinned(4)))


def _own_phase() -> None:
    words = [*PHASES[:3], (11, 'storage-ready'), PHASES[3]]
    state = host(words)
    same([], judged(state, state, explained(11), pinned(4)))
    same(
        ['UEFI_LOG_REPLAY'],
        judged(host(words, b''), state, explained(11), pinned(4)),
    )


def _moved() -> None:
    """The host says that systemd measured the boot loader."""
    log = _log()
    last = [item for item in log.events if item.pcr == 4][-1]
    less = eventlog.EventLog(
        **{
            **vars(log),
            'events': tuple(item for item in log.events if item is not last),
        }
    )
    record = json.loads(systemd.record(4, 'os-separator')[1:])
    record['digests'] = [
        {'hashAlg': 'sha256', 'digest': last.digests['sha256'].hex()}
    ]
    sent = b'\x1e' + json.dumps(record).encode()
    state = quoted(log.replay(), sent, less)
    rule = {'boot-components': {'pcrs': [4], 'references': True}}
    # It is still in the list, so another reference does not have it.
    same([], judged(state, host([]), rule))
    other = quoted(less.replay(), b'', less)
    same(['COMPONENT_UNKNOWN'], judged(state, other, rule))


def _long_separator() -> None:
    """coreboot gives separators 50 bytes, of which four were hashed."""
    log = _log()
    ends = check.separators('sha256')
    events = tuple(
        dataclasses.replace(item, data=item.data.ljust(50, b'\0'))
        if item.digests.get('sha256') in ends
        and item.type == types.EV_SEPARATOR
        else item
        for item in log.events
    )
    other = eventlog.EventLog(**{**vars(log), 'events': events})
    assert events != log.events
    same(host([]).facts, host([], log=other).facts)


def _half_written() -> None:
    words = [*PHASES, MACHINE]
    state = host(words, systemd.log(*words) + systemd.record(15, 'x')[:-9])
    same([], judged(state, state, explained(11, 15), pinned(4)))


def _case(number: int, source: str, what: str, run: Any) -> Case:
    return Case(f'6-{number}', 6, source, what, run)


CASES = (
    _case(
        1,
        f'{ISSUES}35820; {MEASUREMENTS}',
        'systemd 252 to 258 extends 11 and 15 after the boot',
        _252,
    ),
    _case(2, f'{ISSUES}35820', 'and one bit of 11 is another', _one_bit),
    _case(
        3,
        'https://github.com/google/go-attestation/issues/498',
        'systemd 259 extends 9 with the names of NV indices',
        _259,
    ),
    _case(
        4,
        f'{MEASUREMENTS}; https://github.com/systemd/systemd/pull/39712',
        'and one NV index is another',
        _259_other,
    ),
    _case(
        5,
        f'{MANUAL}; {ISSUES}43169',
        'systemd 261 extends 0-7, 9 and 12-14 with os-separator',
        _261,
    ),
    _case(6, MANUAL, 'hosts before and after this upgrade', _upgrade),
    _case(7, MANUAL, 'and the agent sends no log', _without_log),
    _case(8, f'{ISSUES}37895', 'records without content_type', _content_type),
    _case(9, MANUAL, 'a site has phases of its own', _own_phase),
    _case(
        10,
        'https://github.com/systemd/systemd/pull/29004',
        'an event of the firmware is moved to the log of systemd',
        _moved,
    ),
    _case(
        11,
        'https://github.com/StarLabsLtd/firmware/issues/437',
        'separators of 50 bytes',
        _long_separator,
    ),
    _case(
        12,
        f'{MANUAL}; RFC 7464, 2.4',
        'the log is read while a record is written',
        _half_written,
    ),
)
