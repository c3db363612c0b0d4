# SPDX-License-Identifier: Apache-2.0
"""Attestation: the one way by which a host is heard.

1. The challenge is looked at, before the request is read.  A request that
   was answered already gets that answer again.  Otherwise its evidence is
   read, logs included.  Nothing is spent on one that is malformed.
2. The challenge is used up: known, unused, this host's, class, age.
3. The evidence is appraised by the host's policies, outside of any
   transaction.  A measurement list that goes on from an earlier one needs
   its state, or all that was sent before: without it, the host has to send
   the whole list (IMA_CONTINUITY).  A long one was sent in parts
   (:mod:`.lists`).  Other verifiers may have a word, too
   (:mod:`.sources.judged`).
4. Result, clock and measurements are stored, by compare-and-swap on the
   host's row: of two attestations the one with the older TPM clock loses
   (RETRY) and changes nothing.
5. If the host was booted, that counts in its hand-overs.
6. The purpose is served: not for a contraindicated host, unless it only
   reports facts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors, faultpoints, spans
from korora_nova.custody import bodies
from korora_nova.custody.exchange import Answer, Request, Served
from korora_nova.custody.words import ChallengeClass
from korora_nova.rats import appraise, evidence
from korora_nova.rats.finding import Finding
from korora_nova.rats.quote.verify import Clock, VerifiedQuote
from korora_nova.rats.signed import result
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.verdict import Verdict
from korora_nova.rats.words import Tier
from korora_nova.verifier import (
    audit,
    challenges,
    enforcement,
    lists,
    purposes,
    repeats,
    results,
)
from korora_nova.verifier.appraisal import judging, measurements, segments
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import decisions
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service
from korora_nova.verifier.sources import judged

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """What one attestation leaves in the database."""

    attested: Attested
    token: str
    expires: float
    findings: tuple[Finding, ...]
    measured: measurements.Fresh
    #: What this attestation says of nova-compute; None if nothing.
    heard: enforcement.Heard | None


def attest(
    service: Service, host: str, request: Request
) -> Answer[Served] | Mapping[str, object]:
    """Serve one request of an agent; see the module for the steps.

    :returns: the answer, or its JSON if it was given before.
    :raises EvidenceError: CHALLENGE_*, QUOTE_*, CLOCK_WENT_BACK.
    :raises Conflict: IMA_CONTINUITY, and nothing is stored.
    :raises Untrusted: HOST_PENDING, HOST_UNTRUSTED.
    :raises KororaError: whatever the purpose refuses with.
    """
    if request.purpose == bodies.ListPart.PURPOSE:
        return lists.take(service, host, request)
    purpose = purposes.PURPOSES[request.purpose]
    if not purpose.repeated:
        return _attest(service, host, request, purpose)
    given = repeats.find(service, host, request)
    if given is not None:
        return given
    answer = _attest(service, host, request, purpose)
    repeats.keep(service, request, answer)
    return answer


def _attest(
    service: Service,
    host: str,
    request: Request,
    purpose: purposes.Purpose[Any],
) -> Answer[Served]:
    body: bodies.Body = purpose.body.parse(request.body)
    spans.note(
        purpose=request.purpose,
        instance=getattr(body, 'instance', ''),
        migration=getattr(body, 'migration', ''),
    )
    challenges.check(service, host, request.challenge, purpose.classes)
    submitted = evidence.Evidence.from_json(request.evidence)
    redeemed = challenges.redeem(
        service, host, request.challenge, purpose.classes
    )
    heard = (
        enforcement.Heard.said(body, redeemed.issued)
        if isinstance(body, bodies.Attest)
        else None
    )
    with spans.span('appraise'):
        outcome = _appraise(service, redeemed, submitted, request, heard)
    answer = _store(service, outcome)
    attested, measured = outcome.attested, outcome.measured
    if isinstance(body, bodies.Attest) and measured.base and measured.segment:
        segments.compact(service, host)
    decisions.rebooted(service, attested)
    if attested.tier != Tier.AFFIRMING and not purpose.any_tier:
        raise errors.Untrusted(
            errors.Reason.HOST_UNTRUSTED,
            details={'reasons': ' '.join(attested.reasons)},
        )
    with spans.span('serve'):
        served = purpose.serve(service, attested, body)
    return dataclasses.replace(answer, served=served)


def _appraise(
    service: Service,
    redeemed: challenges.Redeemed,
    submitted: evidence.Evidence,
    request: Request,
    heard: enforcement.Heard | None,
) -> _Outcome:
    row = redeemed.host
    ak = objects.parse_public(row.ak_public or b'')
    stored = measurements.find(service, row.name)
    appraisal = appraise.appraise(
        submitted,
        ak=ak,
        challenge=redeemed.challenge,
        purpose=request.purpose,
        host=row.name,
        body=request.body.encode(),
        policies=judging.bound(service, row.name),
        last_clock=_clock(row),
        known=stored.known(service, submitted.ima_offset),
        memos=service.memos,
    )
    combined = judged.judge(
        service,
        row.name,
        appraisal,
        redeemed.issued,
        redeemed.issued + service.settings.result_ttl,
    )
    attested = Attested(
        host=row.name,
        ak=ak,
        srk_name=bytes.fromhex(row.srk_name or ''),
        challenge=redeemed.challenge,
        issued=redeemed.issued,
        quote=appraisal.quote,
        tier=combined.tier,
        reasons=combined.reasons,
    )
    findings = results.findings(appraisal) + judged.findings(combined)
    for finding in findings:
        LOG.info(
            'Host %(host)s: %(reason)s: %(message)s',
            {
                'host': row.name,
                'reason': finding.reason,
                'message': finding.message,
            },
        )
    return _Outcome(
        attested,
        _sign(
            service,
            attested,
            combined.expires,
            heard or enforcement.Heard.of(row),
            combined.verdicts,
        ),
        combined.expires,
        findings,
        measurements.fresh(stored, submitted, appraisal),
        heard,
    )


def _sign(
    service: Service,
    attested: Attested,
    expires: float,
    heard: enforcement.Heard,
    sources: tuple[Verdict, ...],
) -> str:
    return result.sign_result(
        result.Result(
            host=attested.host,
            ak_name=attested.ak_name,
            tier=attested.tier,
            reasons=attested.reasons,
            enforcer=heard.missing(service),
            issued=attested.issued,
            expires=expires,
            cloud=service.cloud,
            sources=sources,
        ),
        service.signers.result,
    )


def _clock(row: models.Host) -> Clock | None:
    if row.clock_ms is None:
        return None
    return Clock(
        int(row.clock_ms),
        row.reset_count or 0,
        row.restart_count or 0,
        bool(row.clock_safe),
    )


@api.retried
def _store(service: Service, outcome: _Outcome) -> Answer[Served]:
    attested = outcome.attested
    with faultpoints.step('v.result'), service.db.write() as session:
        row = session.get(models.Host, attested.host)
        if row is None or row.ak_name != attested.ak_name:
            raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
        if row.evicted_at is not None:
            raise errors.Untrusted(errors.Reason.EVICTED)
        _store_result(service, session, row, outcome)
        measurements.store(service, session, attested.host, outcome.measured)
        # Late: all hosts wait for this number, and a list can be long.
        session.execute(
            sa.update(models.Host)
            .where(models.Host.name == attested.host)
            .values(seq=results.next_seq(session))
        )
        return Answer(
            outcome.token,
            outcome.measured.offset,
            challenges.add(
                service, session, attested.host, ChallengeClass.STEADY
            ),
            Served(),
            outcome.measured.dropped,
        )


def _store_result(
    service: Service,
    session: orm.Session,
    row: models.Host,
    outcome: _Outcome,
) -> None:
    attested, table = outcome.attested, models.Host
    _check_overtaken(row, attested.quote)
    if row.tier != attested.tier:
        audit.record(
            service,
            session,
            actor=row.name,
            action=attested.tier,
            subject=row.name,
            note=' '.join(attested.reasons),
        )
    clock = attested.quote.clock
    api.must_swap(
        session,
        sa.update(table)
        .where(table.name == row.name, table.version == row.version)
        .values(
            version=row.version + 1,
            clock_ms=str(clock.clock_ms),
            reset_count=clock.reset_count,
            restart_count=clock.restart_count,
            clock_safe=clock.safe,
            prior_boot_at=row.prior_boot_at
            if row.reset_count == clock.reset_count
            else row.attested_at,
            attested_at=service.clock(),
            tier=attested.tier,
            reasons=list(attested.reasons),
            findings=[one.to_json() for one in outcome.findings],
            token=outcome.token,
            issued=attested.issued,
            expires=outcome.expires,
            **(outcome.heard.columns() if outcome.heard is not None else {}),
        ),
    )


def _check_overtaken(row: models.Host, quote: VerifiedQuote) -> None:
    """The appraisal compared with a clock that may be outdated by now."""
    last = _clock(row)
    if last is None:
        return
    now = quote.clock
    if (now.reset_count, now.restart_count, now.clock_ms) < (
        last.reset_count,
        last.restart_count,
        last.clock_ms,
    ):
        raise errors.Retry(
            message='Newer evidence of this host was '
            'accepted meanwhile; attest again.'
        )
