# SPDX-License-Identifier: Apache-2.0
"""What was signed of all hosts, for one decision about many; pure.

A table is never changed, so that scheduling requests read it without a lock.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from korora_nova import errors
from korora_nova.rats.signed import keys
from korora_nova.rats.signed.result import MAX_SKEW
from korora_nova.rats.signed.snapshot import Row
from korora_nova.rats.words import Tier

#: Why a host may have no result; anything else is RESULT_MISSING.
_WITHOUT = frozenset(
    (
        errors.Reason.HOST_PENDING,
        errors.Reason.EVICTED,
        errors.Reason.RESULT_FORGED,
        errors.Reason.RESULT_EXPIRED,
    )
)

Windows = Mapping[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Verified rows by host.

    :param ring: the pinned keys that they count under.
    :param kids: the ids of the keys that signed: of rows by host, or the one
        of all of them.
    :param faults: reason ids of hosts of which nothing verifies.
    """

    rows: Mapping[str, Row]
    ring: keys.KeyRing
    kids: Mapping[str, str] | str
    faults: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def under(self, ring: keys.KeyRing) -> Table:
        """What still counts after the pinned keys have changed."""
        if ring is self.ring:
            return self
        forged = {
            host: str(errors.Reason.RESULT_FORGED)
            for host in self.rows
            if ring.cloud != self.ring.cloud
            or self._kid(host) not in ring.result
        }
        rows = {
            host: row for host, row in self.rows.items() if host not in forged
        }
        return Table(rows, ring, self.kids, {**self.faults, **forged})

    def _kid(self, host: str) -> str:
        return self.kids if isinstance(self.kids, str) else self.kids[host]

    @functools.cached_property
    def windows(self) -> Windows:
        """When results of hosts that may pass are issued, and expire."""
        return {
            host: (row.issued, row.expires)
            for host, row in self.rows.items()
            if row.tier is Tier.AFFIRMING and not row.enforcer
        }

    def refusal(self, host: str, now: float, max_age: float | None) -> str:
        """The reason id for which a host is refused; '' if it is not."""
        row = self.rows.get(host)
        if row is None:
            return self.faults.get(host, errors.Reason.RESULT_MISSING)
        if row.tier is Tier.NONE:
            reason = row.reasons[0] if row.reasons else ''
            return (
                reason if reason in _WITHOUT else errors.Reason.RESULT_MISSING
            )
        if not _is_current(row.issued, row.expires, now, max_age):
            return errors.Reason.RESULT_EXPIRED
        if row.tier is not Tier.AFFIRMING:
            return errors.Reason.HOST_UNTRUSTED
        return row.enforcer


def _is_current(
    issued: float, expires: float, now: float, max_age: float | None
) -> bool:
    return _oldest(now, max_age) <= issued <= now + MAX_SKEW and now < expires


def _oldest(now: float, max_age: float | None) -> float:
    return -math.inf if max_age is None else now - max_age


@dataclasses.dataclass(frozen=True)
class Sifted:
    """Those that pass, and names of the others by reason id."""

    passed: list[Any]
    refused: Mapping[str, list[str]]


@dataclasses.dataclass(frozen=True)
class Decision:
    """What is known about all hosts at one moment.

    :param table: what was signed.
    :param since: it is at least this late, seconds since 1970: a clock that
        is set back makes no result valid again.
    """

    table: Table
    since: float = 0.0

    def require(
        self, host: str, now: float, max_age: float | None = None
    ) -> None:
        """Insist that a host is trusted, and that its driver enforces.

        :param now: seconds since 1970.
        :param max_age: oldest acceptable result, seconds.
        :raises Untrusted: it is not, or nothing verified says so.
        """
        reason = self.table.refusal(host, max(now, self.since), max_age)
        if reason:
            raise errors.Untrusted(reason)

    def sift(
        self, hosts: Iterable[Any], now: float, max_age: float | None = None
    ) -> Sifted:
        """The same for all of them.

        :param hosts: ``nova.scheduler.host_manager.HostState``.
        """
        now = max(now, self.since)
        oldest, newest = _oldest(now, max_age), now + MAX_SKEW
        windows = self.table.windows
        passed: list[Any] = []
        others: list[str] = []
        for state in hosts:
            window = windows.get(state.host)
            if (
                window is not None
                and oldest <= window[0] <= newest
                and now < window[1]
            ):
                passed.append(state)
            else:
                others.append(state.host)
        refused: dict[str, list[str]] = {}
        for host in others:
            reason = self.table.refusal(host, now, max_age)
            refused.setdefault(reason, []).append(host)
        return Sifted(passed, refused)
