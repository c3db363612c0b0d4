# SPDX-License-Identifier: Apache-2.0
"""What has happened between two looks at the service: pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from korora_nova import errors
from korora_nova.osc import base
from korora_nova.rats.words import Tier


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happened.

    :param kind: 'tier', 'migration' or 'receipt'.
    :param subject: a host, or a server.
    :param what: for people.
    :param details: for machines.
    """

    kind: str
    subject: str
    what: str
    details: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


@dataclasses.dataclass(frozen=True)
class Trust:
    """What counts of a host.

    :param expires: when it ends, seconds since 1970.
    """

    tier: str
    reasons: tuple[str, ...] = ()
    expires: float = 0.0

    @classmethod
    def of(cls, result: base.Row) -> Trust:
        """Read an element of the list of results."""
        token = result.get('token')
        claims = base.unverified_claims(str(token) if token else None)
        reasons = result.get('reasons')
        return cls(
            str(result.get('tier')),
            tuple(map(str, reasons if isinstance(reasons, list) else ())),
            float(claims.get('exp') or 0.0),
        )

    def at(self, now: float) -> Trust:
        """What counts at a time: a result that has expired is none.

        That a host was given up does not expire.
        """
        lasts = self.tier == Tier.NONE or errors.Reason.EVICTED in self.reasons
        if lasts or not self.expires or now < self.expires:
            return self
        return Trust(str(Tier.NONE), (errors.Reason.RESULT_EXPIRED,))

    @property
    def words(self) -> str:
        return ' '.join([self.tier, *self.reasons])


def of_trust(
    before: Mapping[str, Trust], after: Mapping[str, Trust]
) -> Iterator[Event]:
    """Hosts that came, went, or are trusted otherwise."""
    for host in sorted({*before, *after}):
        old, new = before.get(host), after.get(host)
        same = (
            old
            and new
            and (old.tier, old.reasons)
            == (
                new.tier,
                new.reasons,
            )
        )
        if same:
            continue
        words = [one.words if one else 'unknown' for one in (old, new)]
        yield Event(
            'tier',
            host,
            ' -> '.join(words),
            {
                'before': old.tier if old else None,
                'tier': new.tier if new else None,
                'reasons': list(new.reasons) if new else [],
            },
        )


def of_migrations(
    before: Mapping[str, str], after: Sequence[base.Row]
) -> Iterator[Event]:
    """Hand-overs that are new, or in another state.

    :param before: state by id.
    """
    for one in reversed(after):
        status, known = str(one.get('status')), before.get(str(one.get('id')))
        if status == known:
            continue
        yield Event(
            'migration',
            str(one.get('instance')),
            f'{one.get("source")} -> {one.get("dest")}: {status}',
            {
                name: one.get(name)
                for name in ('id', 'source', 'dest', 'kind', 'status')
            },
        )


def of_receipt(token: str) -> Event:
    """A receipt, which is shown and not verified."""
    claims = base.unverified_claims(token)
    holder = claims.get('holder') or 'nobody'
    return Event(
        'receipt',
        str(claims.get('instance')),
        f'{claims.get("outcome")}: held by {holder}',
        {
            name: claims.get(name)
            for name in ('outcome', 'holder', 'epoch', 'migration', 'version')
        },
    )
