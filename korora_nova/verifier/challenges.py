# SPDX-License-Identifier: Apache-2.0
"""Challenges: fresh, of one host and class, used once, aged from issue.

One is used up with the result that it leads to, in the same transaction, or
for itself if it leads to none.
"""

from __future__ import annotations

import contextlib
import os

import sqlalchemy as sa

from korora_nova import errors, faultpoints
from korora_nova.custody.exchange import Challenge
from korora_nova.custody.words import CHALLENGE_HEADER, ChallengeClass
from korora_nova.rats import schemas
from korora_nova.verifier import records
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import MAX_SKEW, Service

#: Challenges of one host and class that are remembered at least, and how
#: many more there may be until the rest is forgotten, all at once.
REMEMBERED = 32
_MORE = 8

_TABLE = models.Challenge
_INSERT = sa.insert(models.table(_TABLE))
_SPEND = (
    sa.update(models.table(_TABLE))
    .where(
        _TABLE.challenge == sa.bindparam('one'), _TABLE.used.is_(sa.false())
    )
    .values(used=sa.true())
)


_ASKED = sa.select(
    models.Host.ak_public,
    models.Host.evicted_at,
    models.Host.approved,
    sa.select(models.Ledger.incarnation)
    .where(models.Ledger.id == 1)
    .scalar_subquery()
    .label('incarnation'),
    *records.CROWD,
).where(models.Host.name == sa.bindparam('host'))
_OF_HOST = _TABLE.host == sa.bindparam('host')
_SAME = (_OF_HOST, _TABLE.challenge_class == sa.bindparam('kind'))
_FORGET_STALE = sa.delete(models.table(_TABLE)).where(
    _OF_HOST,
    sa.or_(
        _TABLE.expires < sa.bindparam('past'),
        _TABLE.issued > sa.bindparam('horizon'),
    ),
)
_OLDEST_KEPT = (
    sa.select(_TABLE.expires)
    .where(*_SAME)
    .order_by(_TABLE.expires.desc())
    .offset(REMEMBERED - 2)
    .limit(1)
)
_FORGET_OLDER = sa.delete(models.table(_TABLE)).where(
    *_SAME, _TABLE.expires < sa.bindparam('oldest')
)


@api.retried
def issue(
    service: Service, host: str, challenge_class: ChallengeClass
) -> Challenge:
    """A new challenge for a host.

    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING, EVICTED.
    """
    with faultpoints.step('v.challenge'), service.db.begin() as connection:
        row = connection.execute(
            _ASKED,
            {
                'host': host,
                'kind': challenge_class,
                **records.crowded(service.clock()),
            },
        ).one_or_none()
        records.check(row)
        assert row is not None
        return add(
            service,
            connection,
            host,
            challenge_class,
            row.incarnation,
            records.Crowd(row.same, row.ahead, row.old),
        )


def add(
    service: Service,
    connection: sa.Connection,
    host: str,
    challenge_class: ChallengeClass,
    incarnation: str,
    crowd: records.Crowd,
) -> Challenge:
    """A new challenge within a transaction.

    Only so many of a host are remembered, the newest, and none that is from
    the future: their number stays bounded.
    """
    settings = service.settings
    lifetime = (
        settings.challenge_ttl_steady
        if challenge_class == ChallengeClass.STEADY
        else settings.challenge_ttl_on_demand
    )
    issued = service.clock()
    crowded = crowd.same >= REMEMBERED + _MORE or crowd.old >= _MORE
    if crowded or crowd.ahead:
        _forget(connection, host, challenge_class, issued)
    value = os.urandom(32)
    connection.execute(
        _INSERT,
        {
            'challenge': value.hex(),
            'host': host,
            'used': False,
            'challenge_class': challenge_class,
            'issued': issued,
            'expires': issued + lifetime,
        },
    )
    return Challenge(value, challenge_class, issued, lifetime, incarnation)


def _forget(
    connection: sa.Connection,
    host: str,
    challenge_class: ChallengeClass,
    now: float,
) -> None:
    same = {'host': host, 'kind': challenge_class}
    connection.execute(_FORGET_STALE, {'host': host, **records.crowded(now)})
    oldest = connection.execute(_OLDEST_KEPT, same).scalar_one_or_none()
    if oldest is not None:
        connection.execute(_FORGET_OLDER, {**same, 'oldest': oldest})


def admit(service: Service, host: str, challenge: str) -> records.Record:
    """Look whether a challenge admits a request, before that is read.

    :param challenge: hex, from the header of the request.
    :returns: what was read to find that out.
    :raises Invalid: INVALID_REQUEST, that is no challenge.
    :raises EvidenceError: CHALLENGE_UNKNOWN, CHALLENGE_USED (and its request
        cannot be answered again), CHALLENGE_EXPIRED.
    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING, EVICTED.
    """
    if schemas.fault(schemas.DIGEST, challenge) is not None:
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            f'The header {CHALLENGE_HEADER} names no challenge.',
        )
    record = records.find(service, host, challenge)
    known = _known(record, frozenset(ChallengeClass))
    if not known.used:
        _check_age(service, known)
    elif known.request is None:
        raise errors.EvidenceError(errors.Reason.CHALLENGE_USED)
    return record


def check(
    service: Service,
    record: records.Record,
    classes: frozenset[ChallengeClass],
) -> records.Challenge:
    """Look whether a challenge can be used, before any costly work.

    It is not used up, and :func:`spend` looks again.

    :raises EvidenceError: CHALLENGE_UNKNOWN (never issued, or to another
        host, or of another class), CHALLENGE_USED, CHALLENGE_EXPIRED.
    """
    known = _known(record, classes)
    if known.used:
        raise errors.EvidenceError(errors.Reason.CHALLENGE_USED)
    _check_age(service, known)
    return known


def spend(connection: sa.Connection, known: records.Challenge) -> None:
    """Use a challenge up, within a transaction.

    :raises EvidenceError: CHALLENGE_USED.
    """
    if not connection.execute(_SPEND, {'one': known.challenge}).rowcount:
        raise errors.EvidenceError(errors.Reason.CHALLENGE_USED)


def waste(service: Service, known: records.Challenge) -> None:
    """Use a challenge up that led to nothing, if the database is there."""
    with contextlib.suppress(errors.KororaError):
        redeem(service, known)


@api.retried
def redeem(service: Service, known: records.Challenge) -> None:
    """Use a challenge up for itself.

    :raises EvidenceError: CHALLENGE_USED.
    """
    with faultpoints.step('v.challenge'), service.db.begin() as connection:
        spend(connection, known)


def _known(
    record: records.Record, classes: frozenset[ChallengeClass]
) -> records.Challenge:
    known = record.challenge
    if known is None or known.challenge_class not in classes:
        raise errors.EvidenceError(errors.Reason.CHALLENGE_UNKNOWN)
    return known


def _check_age(service: Service, known: records.Challenge) -> None:
    # A clock set back must not make a challenge younger than new.
    if not known.issued - MAX_SKEW <= service.clock() < known.expires:
        raise errors.EvidenceError(errors.Reason.CHALLENGE_EXPIRED)
