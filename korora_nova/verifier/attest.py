# SPDX-License-Identifier: Apache-2.0
"""Attestation: the one way by which a host is heard.

1. The challenge is looked at, before the request is read.  A request that
   was answered already gets that answer again.  Otherwise its evidence is
   read, logs included.  Nothing is spent on one that is malformed.
2. The challenge is looked at again: known, unused, this host's, class, age.
3. The evidence is appraised by the host's policies, outside of any
   transaction.  A measurement list that goes on from an earlier one needs
   its state, or all that was sent before: without it, the host has to send
   the whole list (IMA_CONTINUITY).  A long one was sent in parts
   (:mod:`.lists`).  Other verifiers may have a word, too
   (:mod:`.sources.judged`).
4. The challenge is used up; result, clock, measurements and what the host
   reports are stored, by compare-and-swap on the host's row: of two
   attestations the one with the older TPM clock loses (RETRY) and changes
   nothing. Evidence that leads to no result uses its challenge up as well.
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

from korora_nova import errors, faultpoints, metrics, spans, trail
from korora_nova.custody import bodies
from korora_nova.custody.exchange import Answer, Request, Served
from korora_nova.custody.words import ChallengeClass
from korora_nova.rats import appraise, evidence
from korora_nova.rats.finding import Finding
from korora_nova.rats.quote.verify import VerifiedQuote
from korora_nova.rats.signed import result
from korora_nova.rats.tpm2 import objects
from korora_nova.rats.verdict import Verdict
from korora_nova.rats.words import Tier
from korora_nova.verifier import (
    audit,
    challenges,
    enforcement,
    lists,
    numbers,
    purposes,
    records,
    repeats,
    results,
)
from korora_nova.verifier.appraisal import judging, measurements, segments
from korora_nova.verifier.attested import Attested
from korora_nova.verifier.custody import decisions, reports
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service
from korora_nova.verifier.sources import judged

LOG = logging.getLogger(__name__)

_TABLE = models.table(models.Host)
_RESULT = sa.update(_TABLE).where(
    _TABLE.c.name == sa.bindparam('of'),
    _TABLE.c.version == sa.bindparam('at'),
    _TABLE.c.ak_name == sa.bindparam('by'),
)


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
    service: Service,
    host: str,
    request: Request,
    record: records.Record | None = None,
) -> Answer[Served] | Mapping[str, object]:
    """Serve one request of an agent; see the module for the steps.

    :param record: read a moment ago for this host and challenge.
    :returns: the answer, or its JSON if it was given before.
    :raises EvidenceError: CHALLENGE_*, QUOTE_*, CLOCK_WENT_BACK.
    :raises Conflict: IMA_CONTINUITY, and nothing is stored.
    :raises Untrusted: HOST_PENDING, HOST_UNTRUSTED.
    :raises KororaError: whatever the purpose refuses with.
    """
    if record is None:
        record = records.find(service, host, request.challenge)
    if request.purpose == bodies.ListPart.PURPOSE:
        return lists.take(service, record, request)
    purpose = purposes.PURPOSES[request.purpose]
    if not purpose.repeated:
        return _attest(service, record, request, purpose)
    given = repeats.find(service, record, request)
    if given is not None:
        return given
    answer = _attest(service, record, request, purpose)
    repeats.keep(service, request, answer)
    return answer


def _attest(
    service: Service,
    record: records.Record,
    request: Request,
    purpose: purposes.Purpose[Any],
) -> Answer[Served]:
    body: bodies.Body = purpose.body.parse(request.body)
    instance = getattr(body, 'instance', '')
    migration = getattr(body, 'migration', '')
    trail.note(instance=instance, migration=migration)
    spans.note(purpose=request.purpose, instance=instance, migration=migration)
    challenge = challenges.check(service, record, purpose.classes)
    submitted = evidence.Evidence.from_json(request.evidence)
    try:
        with spans.span('appraise'):
            outcome = _appraise(
                service, record, challenge, submitted, request, body
            )
        answer = _store(service, [record], challenge, outcome)
    except Exception:
        challenges.waste(service, challenge)
        raise
    metrics.ATTESTATIONS.add(
        purpose=request.purpose, tier=outcome.attested.tier
    )
    attested, measured = outcome.attested, outcome.measured
    if attested.report is not None and measured.base and measured.segment:
        segments.compact(service, attested.host)
    if record.boots - {attested.quote.clock.reset_restart.hex()}:
        decisions.rebooted(service, attested)
    if attested.tier != Tier.AFFIRMING and not purpose.any_tier:
        raise errors.Untrusted(
            errors.Reason.HOST_UNTRUSTED,
            details={'reasons': ' '.join(attested.reasons)},
        )
    with spans.span('serve'):
        served = purpose.serve(service, attested, body)
    if instance or migration:
        LOG.info(
            'Host %(host)s: %(purpose)s: done',
            {'host': attested.host, 'purpose': request.purpose},
        )
    return dataclasses.replace(answer, served=served)


def _appraise(
    service: Service,
    record: records.Record,
    challenge: records.Challenge,
    submitted: evidence.Evidence,
    request: Request,
    body: bodies.Body,
) -> _Outcome:
    host = record.host
    ak = objects.parse_public(host.ak_public)
    stored = measurements.of(service, record)
    value = bytes.fromhex(challenge.challenge)
    appraisal = appraise.appraise(
        submitted,
        ak=ak,
        challenge=value,
        purpose=request.purpose,
        host=host.name,
        body=request.body.encode(),
        policies=judging.bound(service, record),
        last_clock=host.clock,
        known=stored.known(service, submitted.ima_offset),
        memos=service.memos,
        log=measurements.log(service, stored, submitted),
        judgements=service.judgements,
    )
    heard, report = None, None
    if isinstance(body, bodies.Attest):
        heard = enforcement.Heard.said(body, challenge.issued)
        report = reports.read(service, host, body)
    combined = judged.judge(
        service,
        host.name,
        appraisal,
        challenge.issued,
        challenge.issued + service.settings.result_ttl,
    )
    attested = Attested(
        host=host.name,
        ak=ak,
        srk_name=bytes.fromhex(host.srk_name or ''),
        challenge=value,
        issued=challenge.issued,
        quote=appraisal.quote,
        tier=combined.tier,
        reasons=combined.reasons,
        report=report,
    )
    findings = results.findings(appraisal) + judged.findings(combined)
    for finding in findings:
        LOG.info(
            'Host %(host)s: %(reason)s: %(message)s',
            {
                'host': host.name,
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
            heard or enforcement.Heard.of(host),
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


@api.retried
def _store(
    service: Service,
    known: list[records.Record],
    challenge: records.Challenge,
    outcome: _Outcome,
) -> Answer[Served]:
    """Store an outcome, if the host's row is still as it was read."""
    record = (
        known.pop()
        if known
        else records.find(service, outcome.attested.host, challenge.challenge)
    )
    attested, host = outcome.attested, record.host
    if host.ak_name != attested.ak_name:
        raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
    _check_overtaken(host, attested.quote)
    with faultpoints.step('v.result'), service.db.begin() as connection:
        api.swap_to(
            connection,
            _RESULT,
            {'of': host.name, 'at': host.version, 'by': host.ak_name},
            _columns(service, host, outcome),
        )
        challenges.spend(connection, challenge)
        if host.tier != attested.tier:
            audit.add(
                service,
                connection,
                actor=host.name,
                action=attested.tier,
                subject=host.name,
                note=' '.join(attested.reasons),
            )
        measurements.store(service, connection, record, outcome.measured)
        return Answer(
            outcome.token,
            outcome.measured.offset,
            challenges.add(
                service,
                connection,
                host.name,
                ChallengeClass.STEADY,
                record.incarnation,
                record.crowd,
            ),
            Served(),
            outcome.measured.dropped,
            outcome.measured.uefi_digest,
        )


def _columns(
    service: Service, host: records.Host, outcome: _Outcome
) -> dict[str, object]:
    """What changes in the host's row."""
    attested, clock = outcome.attested, outcome.attested.quote.clock
    changed: dict[str, object] = {
        'version': host.version + 1,
        'seq': numbers.CHANGED,
        'attested_at': service.clock(),
        'token': outcome.token,
        'issued': attested.issued,
        'expires': outcome.expires,
    }
    if host.tier != Tier.AFFIRMING or attested.tier != Tier.AFFIRMING:
        changed |= {
            'reasons': list(attested.reasons),
            'findings': [one.to_json() for one in outcome.findings],
        }
    if host.reset_count != clock.reset_count:
        changed['prior_boot_at'] = host.attested_at
    if attested.report is not None:
        changed |= attested.report.columns
    values: dict[str, object] = {
        'clock_ms': str(clock.clock_ms),
        'reset_count': clock.reset_count,
        'restart_count': clock.restart_count,
        'clock_safe': clock.safe,
        'tier': attested.tier,
    }
    if outcome.heard is not None:
        values |= outcome.heard.columns()
    return changed | {
        name: value
        for name, value in values.items()
        if getattr(host, name) != value
    }


def _check_overtaken(host: records.Host, quote: VerifiedQuote) -> None:
    """The appraisal compared with a clock that may be outdated by now."""
    last = host.clock
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
