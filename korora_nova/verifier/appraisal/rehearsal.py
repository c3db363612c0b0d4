# SPDX-License-Identifier: Apache-2.0
"""What a policy would make of the fleet, before it counts.

It judges what is stored of hosts: none of them is asked, and nothing about
them is written. One host is in memory at a time, and one call looks at a page
of them, for a bounded time.
"""

from __future__ import annotations

import dataclasses
import time
import zlib
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.rats.policy import BoundPolicy, names
from korora_nova.rats.rejudge import rejudge
from korora_nova.verifier import results
from korora_nova.verifier.appraisal import measurements, policies
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

#: Hosts in one page, at most and by default.
LIMIT, DEFAULT = 200, 50
#: Seconds after which a page ends, with at least one host in it.
BUDGET = 15.0

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Query:
    """Which hosts to look at.

    :param everyone: also those that the policy's ``hosts`` do not name.
    :param marker: begin behind this host.
    """

    everyone: bool = False
    limit: int = DEFAULT
    marker: str = ''

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Query:
        """Read what follows the schema of either call.

        To JSON Schema, 50.0 is an integer, too.
        """
        limit = document.get('limit', DEFAULT)
        assert isinstance(limit, (str, int, float))
        return cls(
            str(document.get('all', 'false')).lower() == 'true',
            min(int(limit), LIMIT),
            str(document.get('marker', '')),
        )


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the policy would make of a host.

    :param tier: what counts now.
    :param satisfied: whether the policy holds; None if that is not known.
    :param reasons: why it does not hold, or why nothing is known.
    """

    host: str
    tier: str
    satisfied: bool | None
    reasons: Sequence[str]

    def to_json(self) -> dict[str, object]:
        return {**vars(self), 'reasons': list(self.reasons)}


@dataclasses.dataclass(frozen=True)
class Page:
    """Some hosts, by name.

    :param next: the marker of the rest; '' if there is none.
    """

    hosts: Sequence[Verdict]
    next: str

    def to_json(self) -> dict[str, object]:
        return {
            'hosts': [one.to_json() for one in self.hosts],
            'next': self.next,
        }


@dataclasses.dataclass(frozen=True)
class Checked:
    """A page, and the policy that it is about."""

    policy: str
    revision: int
    page: Page

    def to_json(self) -> dict[str, object]:
        return {
            'policy': self.policy,
            'revision': self.revision,
            **self.page.to_json(),
        }


def check(service: Service, name: str, query: Query) -> Checked:
    """Try a policy as it is stored on a page of hosts.

    :raises NotFound: NOT_FOUND.
    """
    loaded, revision = policies.find(service, name)
    bound = policies.bound(service, name, revision)
    patterns = None if query.everyone else loaded.hosts
    return Checked(name, revision, rehearse(service, bound, patterns, query))


def rehearse(
    service: Service,
    bound: BoundPolicy,
    patterns: Sequence[str] | None,
    query: Query,
) -> Page:
    """Judge a page of hosts.

    :param patterns: of the names of those that are looked at; None: all.
    """
    end = time.monotonic() + BUDGET
    found: list[Verdict] = []
    after = query.marker
    for host, tier in _hosts(service, query, patterns):
        if len(found) == query.limit or (found and time.monotonic() > end):
            return Page(found, after)
        found.append(_verdict(service, bound, host, tier))
        after = host
    return Page(found, '')


def _hosts(
    service: Service, query: Query, patterns: Sequence[str] | None
) -> list[tuple[str, str]]:
    """Names and tiers of the next hosts, one more than a page has.

    Evicted ones do not count.
    """
    table, now = models.Host, service.clock()
    wanted = (
        sa.select(table)
        .options(orm.defer(table.token), orm.defer(table.ak_public))
        .where(table.name > query.marker, table.evicted_at.is_(None))
        .order_by(table.name)
    )
    found: list[tuple[str, str]] = []
    with service.db.read() as session:
        for row in session.scalars(wanted.execution_options(yield_per=500)):
            if patterns is None or names(patterns, row.name):
                found.append((row.name, results.current(row, now)[0]))
            if len(found) > query.limit:
                break
    return found


def _verdict(
    service: Service, bound: BoundPolicy, host: str, tier: str
) -> Verdict:
    try:
        with service.db.read() as session:
            shown = measurements.load(session, host)
            found = rejudge(bound, shown.state, shown.files)
    except (errors.Unavailable, api.Lost):
        raise
    except errors.KororaError as exc:
        # Not a word about trust: of another release, or not there.
        return Verdict(host, tier, None, [exc.reason])
    except (zlib.error, ValueError, LookupError, TypeError):
        LOG.exception('What is stored of %s cannot be read', host)
        return Verdict(host, tier, None, [_R.INTERNAL])
    reasons = dict.fromkeys(one.reason for one in found)
    return Verdict(host, tier, not found, list(reasons))
