# SPDX-License-Identifier: Apache-2.0
"""PCR 10 moves between its reading and the quote: busy hosts."""

from __future__ import annotations

import dataclasses
import hashlib

from korora_nova import errors
from korora_nova.rats import appraise, policy
from korora_nova.rats.evidence import Evidence, qualify
from korora_nova.rats.tpm2 import objects
from tests.field import Case
from tests.support import simulator as sim

CHALLENGE = b'c' * 32
KNOWN = 'sha256:' + '17' * 32
KEYLIME = 'https://github.com/keylime/keylime/'


def _policy(host: sim.SimHost) -> policy.BoundPolicy:
    pinned = {'name': 'one', 'values': {'4': host.tpm.pcrs[4].hex()}}
    return policy.load(
        {
            'version': 1,
            'name': 'x',
            'rules': [
                {'pcrs': {'registers': [4], 'generations': [pinned]}},
                {
                    'ima': {
                        'files': {'/sbin/init': [KNOWN]},
                        'exclude': ['/usr/**', '/new/**'],
                    }
                },
            ],
        }
    ).bind(())


def judged(host: sim.SimHost, evidence: Evidence) -> list[str]:
    """Reasons; a quote that is of nothing raises."""
    return list(
        appraise.appraise(
            evidence,
            ak=objects.parse_public(host.tpm.ak_public),
            challenge=CHALLENGE,
            purpose='attest',
            host=host.name,
            body=b'{}',
            policies=[_policy(host)],
            last_clock=None,
        ).reason_ids
    )


def busy(files: int, program: str = '') -> tuple[sim.SimHost, Evidence]:
    """Files are measured after the registers were read, some after all."""
    host = sim.SimHost()
    read = dict(host.tpm.quote(b'').pcrs)
    for number in range(files):
        host.measure(f'/new/{number}')
    if program:
        host.measure(program, hashlib.sha256(b'unknown').digest())
    quote = host.tpm.quote(qualify(CHALLENGE, 'attest', host.name, b'{}'))
    quote = dataclasses.replace(quote, pcrs=read)
    host.measure('/new/after')
    return host, Evidence(quote, host.uefi_log, host.ima_log)


def same(want: object, got: object) -> None:
    assert want == got, f'want {want}, got {got}'


def _few() -> None:
    same([], judged(*busy(3)))


def _many() -> None:
    """A hundred new files a second, while the TPM needs a second."""
    same([], judged(*busy(100)))


def _unknown() -> None:
    """What is measured between the two counts, too."""
    same(['IMA_UNKNOWN_FILE'], judged(*busy(3, '/tmp/x')))


def _forged() -> None:
    """The list must lead to the value that was quoted."""
    host, evidence = busy(3)
    entry, _ = sim.ima_entry('/new/forged')
    start = len(evidence.ima_log) // 2
    for log in (evidence.ima_log[:start] + entry, b'', entry):
        forged = dataclasses.replace(evidence, ima_log=log)
        try:
            found = judged(host, forged)
        except errors.EvidenceError as exc:
            same('QUOTE_DIGEST', exc.reason)
        else:
            raise AssertionError(f'it is taken: {found}')


CASES = (
    Case(
        '3-1',
        3,
        f'{KEYLIME}issues/341',
        'some files are measured between reading and quoting',
        _few,
    ),
    Case(
        '3-2',
        3,
        f'{KEYLIME}issues/342',
        'a hundred are, and to try again is no way out',
        _many,
    ),
    Case('3-3', 3, f'{KEYLIME}pull/769', 'one of them is unknown', _unknown),
    Case(
        '3-4',
        3,
        f'{KEYLIME}issues/83',
        'the list does not lead to what was quoted',
        _forged,
    ),
)
