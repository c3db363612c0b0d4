# SPDX-License-Identifier: Apache-2.0
"""From what the database says of all hosts to new responses and beliefs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova.rats.signed import keys
from korora_nova.response import decide
from korora_nova.response.counters import Counters
from korora_nova.verifier.db import models
from korora_nova.verifier.responses import rows, verdicts
from korora_nova.verifier.responses.words import ACTING, FLEET, State

LOG = logging.getLogger(__name__)

_TABLE = models.ResponseHost
_BATCH = 500
#: Hosts that are named in one line of the log.
_NAMED = 20

REGAINED = 'The host is trusted again.'
RESUMED = 'Responses are not held any more.'
HELD = 'Responses are held.'


@dataclasses.dataclass(frozen=True)
class Judge:
    """One look at all hosts; see ``leader.Look``.

    :param ring: the keys that verify results.
    """

    settings: decide.Settings
    ring: keys.KeyRing
    counters: Counters

    def __call__(
        self,
        session: orm.Session,
        now: float,
        open_rows: Sequence[models.Response],
        lease: models.ResponseLease,
    ) -> str:
        found = verdicts.hosts(session, now)
        fleet = self._fleet(session, now, found, open_rows, lease)
        decision = decide.decide(
            fleet, self._seen(session, found, fleet.beliefs), self.settings
        )
        self._tell(found, fleet, decision)
        _keep(session, fleet.beliefs, decision.beliefs)
        beliefs = {**fleet.beliefs, **decision.beliefs}
        self._undo(session, now, open_rows, beliefs, fleet.held)
        if decision.hold:
            self._hold(session, now, open_rows)
        # What ended makes room for what begins.
        session.flush()
        self._begin(session, now, open_rows, decision.new)
        return decision.hold

    def _fleet(
        self,
        session: orm.Session,
        now: float,
        found: Mapping[str, verdicts.Verdict | None],
        open_rows: Sequence[models.Response],
        lease: models.ResponseLease,
    ) -> decide.Fleet:
        beliefs = _beliefs(session, found)
        since = max(now - self.settings.window, lease.resumed_at)
        table = models.Response
        touched = session.scalars(
            sa.select(table.host)
            .where(table.acted_at > since, table.acted_at <= now)
            .distinct()
        )
        return decide.Fleet(
            beliefs,
            set(touched),
            # What is being undone may have to be done again.
            {
                (row.host, row.driver)
                for row in open_rows
                if row.state != State.UNDOING
            },
            lease.hold_since is not None,
        )

    def _seen(
        self,
        session: orm.Session,
        found: Mapping[str, verdicts.Verdict | None],
        beliefs: Mapping[str, decide.Belief],
    ) -> dict[str, decide.Seen]:
        """Results that count; those that move nothing are not verified."""
        looked: dict[str, decide.Seen] = {}
        moving: list[verdicts.Verdict] = []
        for host, one in found.items():
            if one is None:
                continue
            seen = decide.Seen(one.good, one.issued, (), one.evicted)
            belief = beliefs.get(host)
            if decide.believe(belief, seen, self.settings) is belief:
                looked[host] = seen
            else:
                moving.append(one)
        signed = verdicts.signed(session, self.ring, moving)
        self.counters.refused += len(moving) - len(signed)
        _say(
            'Hosts whose results in the database are not what the service '
            'signed, from which nothing follows',
            [one.host for one in moving if one.host not in signed],
        )
        for host, one in signed.items():
            looked[host] = decide.Seen(
                one.good, one.issued, one.reasons, one.evicted
            )
        return looked

    def _tell(
        self,
        found: Mapping[str, verdicts.Verdict | None],
        fleet: decide.Fleet,
        decision: decide.Decision,
    ) -> None:
        silent = sum(found[host] is None for host in fleet.beliefs)
        self.counters.hosts = len(fleet.beliefs)
        self.counters.silent = silent
        self.counters.lost += len(decision.lost)
        self.counters.regained += len(decision.regained)
        _say('Hosts that have lost their trust', decision.lost)
        _say('Hosts that are trusted again', decision.regained)
        if decision.hold:
            self.counters.holds += 1
            LOG.critical(
                'Responses are held until an operator decides: %s '
                'See "openstack attestation response list".',
                decision.hold,
            )

    def _undo(
        self,
        session: orm.Session,
        now: float,
        open_rows: Sequence[models.Response],
        beliefs: Mapping[str, decide.Belief],
        held: bool,
    ) -> None:
        """What was done for trust that is back; whatever is held."""
        for row in open_rows:
            if row.host == FLEET:
                if not held:
                    rows.away(session, now, row, State.ENDED, why=RESUMED)
            elif (belief := beliefs.get(row.host)) and not belief.lost:
                rows.away(session, now, row, State.ENDED, why=REGAINED)

    def _hold(
        self,
        session: orm.Session,
        now: float,
        open_rows: Sequence[models.Response],
    ) -> None:
        """What was not done yet, and no operator has approved, waits, too."""
        for row in open_rows:
            touches = self.settings.drivers.get(row.driver, True)
            if row.state == State.DUE and touches and not row.actor:
                rows.change(session, now, row, State.WAITING, why=HELD)

    def _begin(
        self,
        session: orm.Session,
        now: float,
        open_rows: Sequence[models.Response],
        new: Sequence[decide.New],
    ) -> None:
        there = {(row.host, row.driver): row for row in open_rows}
        for one in new:
            touches = self.settings.drivers[one.driver]
            row = there.get((one.host, one.driver))
            if row is not None and not row.closed:
                rows.change(session, now, row, one.state, why=one.why)
                row.reasons, row.actor, row.note = list(one.reasons), '', ''
                if touches and one.state in ACTING:
                    row.acted_at = now
            else:
                rows.add(
                    session,
                    now,
                    one.host,
                    one.driver,
                    one.state,
                    list(one.reasons),
                    one.why,
                    touches=touches,
                )


def _say(what: str, hosts: Sequence[str]) -> None:
    """One line, however many they are."""
    if hosts:
        LOG.warning(
            '%s: %s%s',
            what,
            ', '.join(hosts[:_NAMED]),
            f' and {len(hosts) - _NAMED} more' if hosts[_NAMED:] else '',
        )


def _beliefs(
    session: orm.Session, found: Mapping[str, object]
) -> dict[str, decide.Belief]:
    """Of the hosts that there are; others are forgotten."""
    columns = _TABLE.__table__.c
    known = {
        host: decide.Belief(lost, streak, seen)
        for host, lost, streak, seen in session.execute(
            sa.select(columns.host, columns.lost, columns.streak, columns.seen)
        )
    }
    gone = sorted(set(known) - set(found))
    for start in range(0, len(gone), _BATCH):
        session.execute(
            sa.delete(_TABLE).where(
                _TABLE.host.in_(gone[start : start + _BATCH])
            ),
            execution_options={'synchronize_session': False},
        )
    return {host: one for host, one in known.items() if host in found}


def _keep(
    session: orm.Session,
    before: Mapping[str, decide.Belief],
    changed: Mapping[str, decide.Belief],
) -> None:
    values = [
        {
            'host': host,
            'lost': one.lost,
            'streak': one.streak,
            'seen': one.seen,
        }
        for host, one in changed.items()
    ]
    new = [one for one in values if one['host'] not in before]
    old = [one for one in values if one['host'] in before]
    if new:
        session.execute(sa.insert(_TABLE), new)
    if old:
        session.execute(sa.update(_TABLE), old)
