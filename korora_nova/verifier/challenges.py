# SPDX-License-Identifier: Apache-2.0
"""Challenges: fresh, of one host and class, used once, aged from issue."""

from __future__ import annotations

import dataclasses
import os

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors, faultpoints
from korora_nova.custody.exchange import Challenge
from korora_nova.custody.words import CHALLENGE_HEADER, ChallengeClass
from korora_nova.rats import schemas
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import MAX_SKEW, Service

#: Seconds for which a challenge is remembered after it expired, so that
#: its late use is told from one that never was.
_MEMORY = 600
#: Challenges of one host and class that are remembered.
REMEMBERED = 32


@dataclasses.dataclass(frozen=True)
class Redeemed:
    """A challenge that was just used up, and the host it was issued to."""

    challenge: bytes
    issued: float
    host: models.Host


def known_host(session: orm.Session, name: str) -> models.Host:
    """The host, if it proved its TPM and an operator approved it.

    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING, EVICTED.
    """
    row = session.get(models.Host, name)
    if row is None or row.ak_public is None:
        raise errors.NotFound(errors.Reason.HOST_UNKNOWN)
    if row.evicted_at is not None:
        raise errors.Untrusted(errors.Reason.EVICTED)
    if not row.approved:
        raise errors.Untrusted(errors.Reason.HOST_PENDING)
    return row


@api.retried
def issue(
    service: Service, host: str, challenge_class: ChallengeClass
) -> Challenge:
    """A new challenge for a host.

    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING.
    """
    with faultpoints.step('v.challenge'), service.db.write() as session:
        known_host(session, host)
        return add(service, session, host, challenge_class)


def add(
    service: Service,
    session: orm.Session,
    host: str,
    challenge_class: ChallengeClass,
) -> Challenge:
    """A new challenge within a transaction.

    Only so many of a host are remembered, the newest, and none that is from
    the future: their number stays bounded.
    """
    settings, table = service.settings, models.Challenge
    lifetime = (
        settings.challenge_ttl_steady
        if challenge_class == ChallengeClass.STEADY
        else settings.challenge_ttl_on_demand
    )
    issued = service.clock()
    _forget(session, host, challenge_class, issued)
    value = os.urandom(32)
    session.add(
        table(
            challenge=value.hex(),
            host=host,
            used=False,
            challenge_class=challenge_class,
            issued=issued,
            expires=issued + lifetime,
        )
    )
    incarnation = session.scalars(sa.select(models.Ledger.incarnation)).one()
    return Challenge(value, challenge_class, issued, lifetime, incarnation)


def _forget(
    session: orm.Session,
    host: str,
    challenge_class: ChallengeClass,
    now: float,
) -> None:
    table = models.Challenge
    session.execute(
        sa.delete(table).where(
            table.host == host,
            sa.or_(
                table.expires < now - _MEMORY, table.issued > now + MAX_SKEW
            ),
        )
    )
    same = (table.host == host, table.challenge_class == challenge_class)
    oldest = session.scalars(
        sa.select(table.expires)
        .where(*same)
        .order_by(table.expires.desc())
        .offset(REMEMBERED - 2)
        .limit(1)
    ).one_or_none()
    if oldest is not None:
        session.execute(sa.delete(table).where(*same, table.expires < oldest))


def admit(service: Service, host: str, challenge: str) -> None:
    """Look whether a challenge admits a request, before that is read.

    :param challenge: hex, from the header of the request.
    :raises Invalid: INVALID_REQUEST, that is no challenge.
    :raises EvidenceError: CHALLENGE_UNKNOWN, CHALLENGE_USED (and its request
        cannot be answered again), CHALLENGE_EXPIRED.
    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING.
    """
    if schemas.fault(schemas.DIGEST, challenge) is not None:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            f'The header {CHALLENGE_HEADER} names no challenge.',
        )
    with service.db.read() as session:
        known_host(session, host)
        row = _known(session, host, challenge, frozenset(ChallengeClass))
        if not row.used:
            _check_age(row, service.clock())
        elif row.request is None:
            raise errors.EvidenceError(errors.Reason.CHALLENGE_USED)


def check(
    service: Service,
    host: str,
    challenge: str,
    classes: frozenset[ChallengeClass],
) -> None:
    """Look whether a challenge can be used, before any costly work.

    It is not used up, and :func:`redeem` looks again.

    :raises EvidenceError: CHALLENGE_UNKNOWN, CHALLENGE_USED,
        CHALLENGE_EXPIRED.
    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING.
    """
    with service.db.read() as session:
        known_host(session, host)
        row = _known(session, host, challenge, classes)
        if row.used:
            raise errors.EvidenceError(errors.Reason.CHALLENGE_USED)
        _check_age(row, service.clock())


@api.retried
def redeem(
    service: Service,
    host: str,
    challenge: str,
    classes: frozenset[ChallengeClass],
) -> Redeemed:
    """Use a challenge up; it is spent even if the evidence turns out bad.

    :raises EvidenceError: CHALLENGE_UNKNOWN (never issued, or to another
        host, or of another class), CHALLENGE_USED, CHALLENGE_EXPIRED.
    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING.
    """
    table = models.Challenge
    with faultpoints.step('v.challenge'), service.db.write() as session:
        owner = known_host(session, host)
        row = _known(session, host, challenge, classes)
        now = service.clock()
        if not api.swap(
            session,
            sa.update(table)
            .where(table.challenge == challenge, table.used.is_(False))
            .values(used=True),
        ):
            raise errors.EvidenceError(errors.Reason.CHALLENGE_USED)
        _check_age(row, now)
        session.expunge(owner)
        return Redeemed(bytes.fromhex(challenge), row.issued, owner)


def _known(
    session: orm.Session,
    host: str,
    challenge: str,
    classes: frozenset[ChallengeClass],
) -> models.Challenge:
    row = session.get(models.Challenge, challenge)
    if row is None or row.host != host or row.challenge_class not in classes:
        raise errors.EvidenceError(errors.Reason.CHALLENGE_UNKNOWN)
    return row


def _check_age(row: models.Challenge, now: float) -> None:
    # A clock set back must not make a challenge younger than new.
    if not row.issued - MAX_SKEW <= now < row.expires:
        raise errors.EvidenceError(errors.Reason.CHALLENGE_EXPIRED)
