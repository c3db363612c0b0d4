# SPDX-License-Identifier: Apache-2.0
"""What the database says of a host that attests, read in one statement.

It is of one moment, and older than what is decided by it: whoever stores
something compares ``version`` of the host and ``used`` of the challenge as he
does so. Whatever else is in here changes only together with ``version``, or
is compared by itself, or counts from the next attestation on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from korora_nova import errors
from korora_nova.custody import words
from korora_nova.custody.moves import Move
from korora_nova.rats.quote.verify import Clock
from korora_nova.verifier.db import models
from korora_nova.verifier.service import MAX_SKEW, Service

#: Seconds for which a challenge is remembered after it expired, so that
#: its late use is told from one that never was.
MEMORY = 600

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Host:
    """Of ``models.Host`` what an attestation is compared with."""

    name: str
    approved: bool
    ak_public: bytes
    ak_name: str
    srk_name: str | None
    version: int
    clock_ms: str | None
    reset_count: int | None
    restart_count: int | None
    clock_safe: bool | None
    attested_at: float | None
    tier: str | None
    evicted_at: float | None
    report_began: float | None
    report_upto: str
    enforcer: Any
    enforcer_at: float | None
    tls_name: str | None
    tls_serial: str | None
    tls_until: float | None
    tls_authority: str | None

    @property
    def clock(self) -> Clock | None:
        """Of the TPM, when it was heard last."""
        if self.clock_ms is None:
            return None
        return Clock(
            int(self.clock_ms),
            self.reset_count or 0,
            self.restart_count or 0,
            bool(self.clock_safe),
        )


@dataclasses.dataclass(frozen=True)
class Challenge:
    """Of ``models.Challenge``, but for the answer."""

    challenge: str
    challenge_class: str
    issued: float
    expires: float
    used: bool
    request: str | None


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Of ``models.Measurement``, but for document and log."""

    fingerprint: str
    reset_count: int
    uefi_digest: str | None
    ima_states: bytes


class Crowd(NamedTuple):
    """Challenges of one host that are remembered.

    :param same: of one class.
    :param ahead: from the future: a clock was ahead.
    :param old: expired for so long that nobody asks for them.
    """

    same: int
    ahead: int
    old: int


@dataclasses.dataclass(frozen=True)
class Record:
    """All of it.

    :param challenge: None: this host has no such one.
    :param upload: it sent parts of a list that were not judged.
    :param rules: stands for all policies and reference values there are;
        None: there are too many to tell.
    :param boots: resetCount || restartCount, hex, that the host had when
        hand-overs under way began of which it is an end that is silent: the
        lowest and the highest.
    :param crowd: of its challenges of the class STEADY.
    """

    host: Host
    challenge: Challenge | None
    measurement: Measurement | None
    upload: bool
    incarnation: str
    rules: frozenset[str] | None
    boots: frozenset[str]
    crowd: Crowd


def _columns(part: type, table: type[models.Base]) -> list[sa.Label[Any]]:
    return [
        sa.label(
            f'{part.__name__}_{one.name}', models.table(table).c[one.name]
        )
        for one in dataclasses.fields(part)
    ]


_PARTS: list[tuple[Any, Any]] = [
    (Host, models.Host),
    (Challenge, models.Challenge),
    (Measurement, models.Measurement),
]
_HOST, _CHALLENGE = models.Host, models.Challenge
_POLICY, _REFERENCE = models.Policy, models.Reference
_MOVE = models.Migration
_NAME = sa.bindparam('host', type_=sa.String)
_BOOT = sa.case(
    (_MOVE.source == _NAME, _MOVE.source_reset_restart),
    else_=_MOVE.dest_reset_restart,
)


def _scalar(wanted: Any, *where: Any) -> Any:
    return sa.select(wanted).where(*where).scalar_subquery()


#: Columns of a :class:`Crowd`: of a ``host``, of a class (``kind``), issued
#: after the ``horizon``, expired before ``past``.
CROWD = (
    _scalar(
        sa.func.count(_CHALLENGE.challenge),
        _CHALLENGE.host == _NAME,
        _CHALLENGE.challenge_class == sa.bindparam('kind'),
    ).label('same'),
    _scalar(
        sa.func.count(_CHALLENGE.challenge),
        _CHALLENGE.host == _NAME,
        _CHALLENGE.issued > sa.bindparam('horizon'),
    ).label('ahead'),
    _scalar(
        sa.func.count(_CHALLENGE.challenge),
        _CHALLENGE.host == _NAME,
        _CHALLENGE.expires < sa.bindparam('past'),
    ).label('old'),
)

_FIND = (
    sa.select(
        *(column for part in _PARTS for column in _columns(*part)),
        _scalar(models.Ledger.incarnation, models.Ledger.id == 1),
        _scalar(
            sa.func.aggregate_strings(
                _POLICY.uuid + ':' + sa.cast(_POLICY.revision, sa.String(20)),
                ' ',
            )
        ),
        _scalar(sa.func.aggregate_strings(_REFERENCE.uuid, ' ')),
        _scalar(sa.func.count(_POLICY.uuid))
        + _scalar(sa.func.count(_REFERENCE.uuid)),
        _scalar(
            sa.func.count(models.ListUpload.host),
            models.ListUpload.host == _NAME,
        ),
        _scalar(
            sa.func.min(_BOOT) + ' ' + sa.func.max(_BOOT),
            _MOVE.status.in_(words.OPEN),
            _MOVE.kind == Move.LIVE,
            sa.or_(
                sa.and_(_MOVE.source == _NAME, _MOVE.source_word.is_(None)),
                sa.and_(_MOVE.dest == _NAME, _MOVE.dest_word.is_(None)),
            ),
        ),
        *CROWD,
    )
    .select_from(models.table(models.Host))
    .outerjoin(
        models.table(_CHALLENGE),
        sa.and_(
            _CHALLENGE.challenge == sa.bindparam('challenge'),
            _CHALLENGE.host == _HOST.name,
        ),
    )
    .outerjoin(
        models.table(models.Measurement), models.Measurement.host == _HOST.name
    )
    .where(_HOST.name == _NAME)
)


def crowded(now: float) -> dict[str, float]:
    """Values for the columns of a :class:`Crowd`."""
    return {'horizon': now + MAX_SKEW, 'past': now - MEMORY}


def find(service: Service, host: str, challenge: str) -> Record:
    """Read all that an attestation of a host is compared with.

    :param challenge: hex, as the host says it.
    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING, EVICTED.
    """
    row = service.db.look(
        _FIND,
        {
            'host': host,
            'challenge': challenge,
            'kind': words.ChallengeClass.STEADY,
            **crowded(service.clock()),
        },
    )
    if row is None:
        raise errors.NotFound(_R.HOST_UNKNOWN)
    values = iter(row)
    host_row, known, measurement = (_part(part, values) for part, _ in _PARTS)
    (
        incarnation,
        policies,
        references,
        count,
        uploads,
        boots,
        *crowd,
    ) = values
    check(host_row)
    rules = frozenset([*_split(policies), *_split(references)])
    return Record(
        host_row,
        known,
        measurement,
        bool(uploads),
        incarnation,
        rules if len(rules) == count else None,
        frozenset(_split(boots)),
        Crowd(*crowd),
    )


def check(row: Any) -> None:
    """Insist on a host that proved its TPM, and that an operator approved.

    :param row: of ``hosts``, or None.
    :raises NotFound: HOST_UNKNOWN.
    :raises Untrusted: HOST_PENDING, EVICTED.
    """
    if row is None or row.ak_public is None:
        raise errors.NotFound(_R.HOST_UNKNOWN)
    if row.evicted_at is not None:
        raise errors.Untrusted(_R.EVICTED)
    if not row.approved:
        raise errors.Untrusted(_R.HOST_PENDING)


def _part(part: Any, values: Iterator[Any]) -> Any:
    """One part of a row; None if the join found nothing."""
    own = [next(values) for _ in dataclasses.fields(part)]
    return None if own[0] is None else part(*own)


def _split(text: str | None) -> list[str]:
    return text.split(' ') if text else []
