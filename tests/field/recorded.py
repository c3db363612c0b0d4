# SPDX-License-Identifier: Apache-2.0
"""Debian as a hypervisor, recorded: ``tests/vectors/hypervisor``.

Two machines of each kind were installed, booted and lived with in QEMU, by
``tools/vectors record 'hypervisor/*'``. The first one is the golden host: a
policy is made of its distribution's starter and of what it had measured after
its day. The second one has another disk, TPM and identity. All evidence is as
the machines gave it, with the quotes of their own TPMs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

from korora_nova.rats import appraise, evidence, ima, policy
from korora_nova.rats.quote import verify as quote
from korora_nova.rats.tpm2 import objects
from tests.field import built
from tests.support import vectors

KIND = 'hypervisor'
COMMAND = f"tools/vectors record '{KIND}/*'"
GOLDEN = 'golden'
#: Moments of the second machine, and what was done to it before.
GOOD = {
    'booted': 'it was booted',
    'day': 'it upgraded a package, ran a guest and rotated a day of logs',
}
BAD = {
    'program': 'an unknown program runs',
    'argument': 'a kernel argument is added',
    'kernel': 'the kernel is another',
}
MOMENTS = (GOLDEN, *GOOD, *BAD)
PCRS = range(16)


def kinds(*moments: str) -> tuple[str, ...]:
    """Each kind of host that was recorded at all these moments."""
    return tuple(
        sorted(
            path.name
            for path in (vectors.ROOT / KIND).glob('*')
            if all((path / moment).exists() for moment in moments)
        )
    )


def hosts() -> tuple[str, ...]:
    """Each kind that can be judged: both machines, at every moment."""
    return kinds(*MOMENTS)


@functools.cache
def recording(host: str, moment: str) -> vectors.Vector:
    return vectors.load(f'{KIND}/{host}/{moment}')


def starter(host: str) -> str:
    """Which policies it was made and is judged with."""
    return str(recording(host, GOLDEN).about['made']['starter'])


def about(host: str) -> str:
    """How it was recorded."""
    made = recording(host, 'day').about['made']
    return (
        f'{recording(host, "day").about["about"]}; two machines, booted in '
        f'QEMU {made["outside"]["qemu"]} without KVM with {made["firmware"]}, '
        f'Linux {made["kernel"]} and swtpm {made["outside"]["swtpm"]}'
    )


def appraised(
    host: str,
    moment: str,
    *policies: policy.BoundPolicy,
    known: ima.State | None = None,
) -> appraise.Appraisal:
    """What the service makes of what was recorded, from bytes.

    :param known: of entries that were appraised before; they are not sent.
    """
    found = recording(host, moment)
    values = {index: found.pcrs['sha256'][index] for index in PCRS}
    start = known.bytes if known else 0
    sent = evidence.Evidence(
        quote.Quote(found.files['attest'], found.files['signature'], values),
        found.files[vectors.UEFI],
        found.files[vectors.IMA][start:],
        start,
        found.files.get('tpm2-measure.log', b''),
    )
    about = found.about
    return appraise.appraise(
        evidence.Evidence.from_json(sent.to_json()),
        ak=objects.parse_public(found.files['ak.tpm2b']),
        challenge=bytes.fromhex(about['challenge']),
        purpose=about['purpose'],
        host=about['host'],
        body=about['body'].encode(),
        policies=policies,
        last_clock=None,
        known=appraise.Known(known),
    )


@functools.cache
def bound(host: str) -> policy.BoundPolicy:
    """Its starter, with what was learned from the golden host."""
    golden = appraised(host, GOLDEN, policy.EXACT.bind(()))
    return built.starter(starter(host), golden)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a kind of host.

    :param wrong: by moment at which it should be affirming, the reasons why
        it is not.
    :param refused: by moment at which it should not be, the reasons; none:
        it passed.
    """

    wrong: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, tuple[str, ...]]
    cases: int


def judge(host: str) -> Outcome:
    """The golden host and the other one, at each moment."""
    rules = bound(host)
    good = {
        moment: appraised(host, moment, rules).reason_ids
        for moment in (GOLDEN, *GOOD)
    }
    return Outcome(
        {moment: reasons for moment, reasons in good.items() if reasons},
        {
            what: appraised(host, moment, rules).reason_ids
            for moment, what in BAD.items()
        },
        len(good) + len(BAD),
    )
