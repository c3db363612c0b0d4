# SPDX-License-Identifier: Apache-2.0
"""Snapshots: the results of all hosts at one moment, under one signature.

A snapshot is text, one row for each host, in the order of their names::

    ["compute-1","affirming","",1767225600.0,1767225780.0,[]]

host, tier, what of its enforcer is missing, when its challenge was issued and
when its result expires (seconds since 1970), reason ids. What is signed is a
token with the digest of the *whole* text and with what the service has
counted. So a reader that has an earlier snapshot needs only the rows that
changed and the names that are gone: whichever base they are put on, whoever
made them, they give the text that was signed, or are refused. A removal
cannot be missed either.

Each row expires by itself, however young the snapshot is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.signed import keys
from korora_nova.rats.signed import token as tokens
from korora_nova.rats.signed.result import MAX_SKEW, Result
from korora_nova.rats.words import Tier

#: A snapshot is signed when it is asked for; one that was signed longer ago,
#: seconds, is a replay, or a clock is wrong.
MAX_AGE = 60.0
#: No row counts for longer after its challenge, seconds, whatever it says.
MAX_LIFE = 86400.0
#: Reasons in a row; a host's result has all of them.
MAX_REASONS = 4

KIND = tokens.Kind(
    'korora-snapshot+jwt',
    'korora-relying-party',
    'result',
    tokens.schema(
        {
            'incarnation': schemas.UUID,
            'seq': {**schemas.COUNTER, 'maximum': 2**63 - 1},
            'count': {**schemas.COUNTER, 'maximum': 2**31},
            'digest': schemas.DIGEST,
        }
    ),
)

_TIERS = {str(tier): tier for tier in Tier}
_ENFORCERS = {
    name: name
    for name in (
        '',
        errors.Reason.ENFORCER_ABSENT,
        errors.Reason.ENFORCER_DRIFT,
    )
}


class Row(NamedTuple):
    """What a snapshot says of one host; times in seconds since 1970.

    A host without result has tier NONE, no times, and the reason for it.
    """

    host: str
    tier: Tier
    enforcer: str = ''
    issued: float = 0.0
    expires: float = 0.0
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Result) -> Row:
        """The row of a signed result that was verified."""
        return cls(
            result.host,
            result.tier,
            result.enforcer,
            result.issued,
            min(result.expires, result.issued + MAX_LIFE),
            result.reasons,
        )

    @classmethod
    def claimed(cls, claims: Any) -> Row:
        """The row of the claims of a result that the service signed."""
        return cls(
            claims['sub'],
            _TIERS[claims['tier']],
            claims['enforcer'],
            claims['iat'],
            claims['exp'],
            tuple(claims['reasons'][:MAX_REASONS]),
        )

    def text(self) -> str:
        """The line of the snapshot."""
        return json.dumps(self, separators=(',', ':'))


def digest(lines: Mapping[str, str]) -> str:
    """SHA-256 of the whole text, hex; the lines by host, in any order."""
    text = '\n'.join([lines[host] for host in sorted(lines)])
    return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Head:
    """What is signed of a snapshot.

    :param seq: number of the last change of a result that is surely in it.
    :param incarnation: of the ledger; another one counts anew.
    :param issued: when it was signed, at the latest, seconds since 1970.
    """

    cloud: str
    incarnation: str
    seq: int
    count: int
    digest: str
    issued: float
    kid: str = ''

    @property
    def mark(self) -> str:
        """What a reader says that it has, to be told what changed since."""
        return f'{self.seq}-{self.incarnation}'


class Update(NamedTuple):
    """What a service says; nothing of it is verified.

    :param base: mark of the snapshot that it changes; '' for a whole one.
    :param rows: lines of new and changed hosts, or of all.
    :param gone: hosts that the base has and the snapshot has not.
    """

    token: str
    base: str
    rows: str
    gone: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A snapshot that was verified; only :func:`verify` makes it."""

    head: Head
    lines: Mapping[str, str]
    rows: Mapping[str, Row]


def sign(head: Head, key: keys.SigningKey) -> str:
    """Sign a snapshot with the result key; returns a JWT."""
    return tokens.sign(
        {
            'cloud': head.cloud,
            'incarnation': head.incarnation,
            'seq': head.seq,
            'count': head.count,
            'digest': head.digest,
            'iat': head.issued,
        },
        key,
        KIND,
        head.cloud,
    )


def verify(
    update: Update,
    ring: keys.KeyRing,
    *,
    now: float,
    held: Snapshot | None = None,
) -> Snapshot:
    """Verify a snapshot, or what makes one of that which is held.

    :param held: the last one that this reader verified.
    :raises Untrusted: RESULT_FORGED: it does not verify, is malformed, or is
        not what was signed; RESULT_EXPIRED: too old, from the future, or
        older than what is held.
    """
    head = _head(update.token, ring)
    _check_time(head, now)
    back = held is not None and _goes_back(head, held.head)
    lines = _lines(update, None if back else held)
    if len(lines) != head.count or digest(lines) != head.digest:
        raise _forged('it is not the one that was signed')
    if held is None:
        return Snapshot(head, lines, _rows(lines, {}, {}))
    rows = _rows(lines, held.lines, held.rows)
    return Snapshot(head, lines, _withheld(rows, held) if back else rows)


def _head(token: str, ring: keys.KeyRing) -> Head:
    try:
        claims = tokens.verify(token, ring, KIND)
    except tokens.TokenError as exc:
        raise _forged(str(exc)) from None
    return Head(
        claims['cloud'],
        claims['incarnation'],
        claims['seq'],
        claims['count'],
        claims['digest'],
        float(claims['iat']),
        claims['kid'],
    )


def _check_time(head: Head, now: float) -> None:
    if head.issued > now + MAX_SKEW:
        raise errors.Untrusted(
            errors.Reason.RESULT_EXPIRED,
            'The snapshot of results comes from the future; check the clocks.',
        )
    if now - head.issued > MAX_AGE:
        raise errors.Untrusted(
            errors.Reason.RESULT_EXPIRED,
            'The snapshot of results is too old; check the clocks, and what '
            'is between here and the attestation service.',
        )


def _goes_back(head: Head, held: Head) -> bool:
    """Whether the service has counted less than it had.

    Its database was restored, or another one took its place: that is so only
    if it says so after what is held.

    :raises Untrusted: RESULT_EXPIRED, it is an older one.
    """
    back = head.incarnation != held.incarnation or head.seq < held.seq
    if head.issued <= held.issued - (0 if back else MAX_SKEW):
        raise errors.Untrusted(
            errors.Reason.RESULT_EXPIRED,
            'The snapshot of results is older than the last one.',
        )
    return back


def _lines(update: Update, held: Snapshot | None) -> dict[str, str]:
    """Lines of the whole snapshot by host."""
    changed: dict[str, str] = {}
    last = ''
    for line in update.rows.split('\n') if update.rows else ():
        # The host comes first, in quotes, and no name has one.
        host = line[2 : line.find('"', 2)]
        if not line.startswith('["') or host <= last:
            raise _forged('its rows are malformed or not in order')
        changed[host] = line
        last = host
    if not update.base:
        return changed
    if held is None or held.head.mark != update.base:
        raise _forged('it changes another one than the one held')
    gone = frozenset(update.gone)
    kept = {
        host: line for host, line in held.lines.items() if host not in gone
    }
    return {**kept, **changed}


def _rows(
    lines: Mapping[str, str],
    known: Mapping[str, str],
    rows: Mapping[str, Row],
) -> dict[str, Row]:
    """Read lines, unless the same line was read before."""
    return {
        host: rows[host]
        if known.get(host) == line
        else _row(host, _parsed(line))
        for host, line in lines.items()
    }


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise _forged('a row is not JSON') from None


def _row(host: str, item: Any) -> Row:
    try:
        name, tier, enforcer, issued, expires, reasons = item
        row = Row(
            name,
            _TIERS[tier],
            _ENFORCERS[enforcer],
            float(issued),
            min(float(expires), issued + MAX_LIFE),
            tuple(reasons),
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        raise _forged('a row is malformed') from None
    if (
        name != host
        # NaN is no number of seconds, and compares so.
        or not 0 <= row.issued <= row.expires
        or not isinstance(reasons, list)
        or not all(isinstance(reason, str) for reason in reasons)
        or (row.tier is Tier.AFFIRMING and reasons)
    ):
        raise _forged('a row is malformed or contradicts itself')
    return row


def _withheld(rows: Mapping[str, Row], held: Snapshot) -> dict[str, Row]:
    """A database that went back makes no host trusted that was not (I13).

    What it affirms counts only if it was affirmed, too, when the snapshot
    that is held was signed, or is of later.
    """
    return {
        host: row
        if row.tier is not Tier.AFFIRMING or _stands(row, held)
        else Row(host, Tier.NONE, reasons=(errors.Reason.RESULT_EXPIRED,))
        for host, row in rows.items()
    }


def _stands(row: Row, held: Snapshot) -> bool:
    last = held.rows.get(row.host)
    if last is None or last.tier is Tier.NONE:
        return row.issued > held.head.issued
    return (
        last.tier is Tier.AFFIRMING and not last.enforcer
    ) or row.issued > last.issued


def _forged(why: str) -> errors.Untrusted:
    return errors.Untrusted(
        errors.Reason.RESULT_FORGED,
        'The snapshot of results does not verify with pinned keys.',
        details={'why': why},
    )
