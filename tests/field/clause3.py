# SPDX-License-Identifier: Apache-2.0
"""Busy hosts: PCR 10 moves between reading, quoting and the list."""

from __future__ import annotations

import dataclasses
from typing import Any

from korora_nova import errors
from korora_nova.rats import appraise
from korora_nova.rats.evidence import Evidence
from tests.field import Case
from tests.support import simulator
from tests.support.busy import CHALLENGE, BusyHost, judge

KEYLIME = 'https://github.com/keylime/keylime/'
ROUNDS = 40


def same(want: object, got: object) -> None:
    assert want == got, f'want {want}, got {got}'


def rounds(rate: float, whole: bool = False) -> int:
    """All rounds are affirming; in how many PCR 10 moved.

    :param rate: new files a second, while a TPM takes 60 ms.
    :param whole: the agent sends its whole list each time.
    """
    host, known, offset, moved = BusyHost(rate), appraise.Known(), 0, 0
    for _ in range(ROUNDS):
        proof = host.busy()
        proof = dataclasses.replace(
            proof, ima_log=proof.ima_log[offset:], ima_offset=offset
        )
        found = judge(host, proof, known=known)
        same(('affirming', ()), (found.tier, found.reason_ids))
        assert found.measured is not None
        moved += found.quote.pcrs[10] != proof.quote.pcrs[10]
        if not whole:
            offset = found.measured.state.bytes
            known = appraise.Known(found.measured.state)
        host.passes(0.2)
    return moved


def _thirty() -> None:
    assert rounds(30) > 3


def _hundred() -> None:
    assert rounds(100) > ROUNDS // 2
    assert rounds(100, whole=True) > ROUNDS // 2


def _one_entry() -> None:
    """The only new one is in the list, and not yet in the quote."""
    host = simulator.SimHost()
    first = judge(host, host.attest(CHALLENGE))
    assert first.measured is not None
    proof = host.attest(CHALLENGE)
    offset = len(host.ima_log)
    host.measure('/tmp/one')
    proof = dataclasses.replace(
        proof, ima_log=host.ima_log[offset:], ima_offset=offset
    )
    known = appraise.Known(first.measured.state)
    found = judge(host, proof, known=known)
    same('affirming', found.tier)
    assert found.measured is not None
    same(offset, found.measured.state.bytes)


def stale(host: simulator.SimHost, before: bytes) -> Evidence:
    """PCR 10 was read before its last file, and quoted after it."""
    proof = host.attest(CHALLENGE)
    pcrs = {**proof.quote.pcrs, 10: before}
    return dataclasses.replace(
        proof, quote=dataclasses.replace(proof.quote, pcrs=pcrs)
    )


def _judged() -> None:
    host = simulator.SimHost()
    before = host.tpm.pcrs[10]
    host.measure('/root/evil')
    found = judge(host, stale(host, before))
    same(('IMA_UNKNOWN_FILE',), found.reason_ids)


def _hidden() -> None:
    host = simulator.SimHost()
    before, kept = host.tpm.pcrs[10], host.ima_log
    host.measure('/root/evil')
    proof = dataclasses.replace(stale(host, before), ima_log=kept)
    try:
        judge(host, proof)
    except errors.EvidenceError as exc:
        same('QUOTE_DIGEST', exc.reason)
    else:
        raise AssertionError('accepted')


def _case(number: int, source: str, what: str, check: Any) -> Case:
    return Case(f'3-{number}', 3, source, what, check)


CASES = (
    _case(1, f'{KEYLIME}issues/341', '30 new files a second', _thirty),
    _case(2, f'{KEYLIME}issues/585', '100 new files a second', _hundred),
    _case(
        3,
        f'{KEYLIME}pull/769',
        'the one new entry is not in the quote yet',
        _one_entry,
    ),
    _case(4, f'{KEYLIME}issues/585', 'what ran in between is judged', _judged),
    _case(
        5,
        f'{KEYLIME}issues/83',
        'and nothing leads to the quote if it is hidden',
        _hidden,
    ),
)
