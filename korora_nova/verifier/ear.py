# SPDX-License-Identifier: Apache-2.0
"""A host's result as an EAT attestation result, signed when asked for.

What it says is what the service has *signed* of the host, and is not expired:
as in snapshots, writing to the database makes nobody trusted.
"""

from __future__ import annotations

import dataclasses
import re

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.rats import policy
from korora_nova.rats.signed import ear, result
from korora_nova.rats.verdict import NATIVE
from korora_nova.rats.words import Tier
from korora_nova.verifier import hosts, results
from korora_nova.verifier.appraisal import documents, judging
from korora_nova.verifier.db import models
from korora_nova.verifier.service import Service

#: Seconds for which it may be said that nothing is known.
LIFE_OF_NONE = 10.0
#: Of a relying party, base64 or base64url of 8 to 64 bytes.
_NONCE = re.compile(r'[A-Za-z0-9+/_-]{10,88}={0,2}')


def show(service: Service, host: str, nonce: str) -> str:
    """Sign the result of one host; returns a JWT.

    :param nonce: of the relying party; '' for none.
    :raises Invalid: INVALID_REQUEST.
    :raises NotFound: HOST_UNKNOWN, HOST_PENDING or RESULT_MISSING.
    """
    if nonce and (len(nonce) > 88 or not _NONCE.fullmatch(nonce)):
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            'The parameter nonce is base64 of 8 to 64 bytes.',
        )
    now = service.clock()
    with service.db.read() as session:
        appraised = _appraised(service, session, results.row(session, host))
    if appraised.files:
        appraised = dataclasses.replace(
            appraised, files=_judge_files(service, host)
        )
    return ear.sign(
        appraised,
        service.signers.result,
        cloud=service.cloud,
        build=f'{options.DISTRIBUTION} {options.release()}',
        now=now,
        nonce=nonce,
    )


def _appraised(
    service: Service, session: orm.Session, row: models.Host
) -> ear.Appraised:
    now = service.clock()
    tier, reasons = results.current(row, now)
    try:
        signed = result.verify_result(
            row.token or '',
            service.ring,
            host=row.name,
            cloud=service.cloud,
            now=now,
        ).result
    except errors.Untrusted as exc:
        return ear.unknown(row.name, exc.reason, now, LIFE_OF_NONE)
    if tier is Tier.NONE:
        return ear.unknown(row.name, reasons[0], now, LIFE_OF_NONE)
    policies, stand = _policies(session, row)
    return ear.Appraised(
        host=row.name,
        # The database can only take trust away.
        tier=tier if tier is Tier.CONTRAINDICATED else signed.tier,
        reasons=tuple(reasons)
        if tier is Tier.CONTRAINDICATED
        else signed.reasons,
        enforcer=signed.enforcer,
        evidence_at=signed.issued,
        expires=signed.expires,
        certified=not hosts.uncertified(row),
        policies=policies,
        files=stand and _native_affirms(signed),
        sources=signed.sources,
    )


def _native_affirms(signed: result.Result) -> bool:
    """Whether the policies hold, whoever else has a word."""
    return all(
        one.tier is Tier.AFFIRMING
        for one in signed.sources
        if one.source == NATIVE
    )


def _judge_files(service: Service, host: str) -> bool:
    """Whether a policy of the host judges files that ran."""
    return any(one.ima is not None for one in judging.bound_to(service, host))


def _policies(
    session: orm.Session, row: models.Host
) -> tuple[list[str], bool]:
    """Policies of a host, and whether they are those that judged it."""
    table = models.Policy
    found = [
        one
        for one in session.execute(
            sa.select(
                table.name, table.revision, table.summary, table.updated_at
            ).order_by(table.name)
        )
        if policy.names(one.summary['hosts'], row.name)
    ]
    if not found:
        return [documents.EXACT], True
    return (
        [f'{one.name}/{one.revision}' for one in found],
        all(one.updated_at <= (row.attested_at or 0.0) for one in found),
    )
