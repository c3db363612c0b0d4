# SPDX-License-Identifier: Apache-2.0
"""What all sources come to when a host attests."""

from __future__ import annotations

from korora_nova import errors
from korora_nova.rats.appraise import Appraisal
from korora_nova.rats.finding import Finding
from korora_nova.rats.verdict import NATIVE, Combined, Verdict, combine
from korora_nova.rats.words import Tier
from korora_nova.verifier.service import Service
from korora_nova.verifier.sources import verdicts
from korora_nova.verifier.sources.chosen import NATIVE_ONLY


def judge(
    service: Service,
    host: str,
    appraisal: Appraisal,
    issued: float,
    expires: float,
) -> Combined:
    """The outcome of an attestation, all sources considered.

    :param issued: when the challenge was issued; ``expires`` when the word
        of this service does; seconds since 1970.
    """
    if service.sources == NATIVE_ONLY:
        return Combined(appraisal.tier, appraisal.reason_ids, expires, ())
    with service.db.read() as session:
        others = verdicts.of(service, session, [host])[host]
    native = Verdict(
        NATIVE,
        service.sources[0].required,
        True,
        appraisal.tier,
        appraisal.reason_ids,
        host,
        issued,
        expires,
    )
    return combine((native, *others), service.clock())


def findings(combined: Combined) -> tuple[Finding, ...]:
    """What other sources have against the host, for people."""
    return tuple(
        Finding(
            reason,
            errors.REASONS[reason],
            {'source': one.source, 'subject': one.subject},
        )
        for one in combined.verdicts
        if one.source != NATIVE
        and one.required
        and one.tier is not Tier.AFFIRMING
        for reason in one.reasons
    )
