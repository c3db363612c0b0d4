# SPDX-License-Identifier: Apache-2.0
"""Hosts that have to do with a key: what they said, and when."""

from __future__ import annotations

import dataclasses

from sqlalchemy import orm

from korora_nova.custody.words import Role
from korora_nova.rats.words import Tier
from korora_nova.verifier import results, windows
from korora_nova.verifier.custody import reports
from korora_nova.verifier.db import models
from korora_nova.verifier.service import MAX_SKEW, Service

#: The role of a server's holder while no hand-over is under way.
HOLDER = 'holder'
#: Seconds within which all of a report is noted.
_NOTED = 10.0


@dataclasses.dataclass(frozen=True)
class End:
    """One host, as operators see it beside a key; times since 1970.

    :param role: 'holder', 'source' or 'dest'.
    :param known: whether it is enrolled.
    :param last_heard: when it last attested.
    :param evicted_at: when an operator gave it up.
    :param rebooted: whether it has booted since it was last let open the
        key; None: that is not known.
    :param copy: 'yes' or 'no' as the host reported it, 'unknown'.
    :param reported_at: when it did.
    :param word: its last word on the hand-over.
    :param offline_until: when its offline window ends; None: it has none.
    """

    role: str
    host: str
    known: bool
    tier: Tier
    last_heard: float | None
    evicted_at: float | None
    rebooted: bool | None
    copy: str
    reported_at: float | None
    word: str | None
    offline_until: float | None

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


def end(
    service: Service,
    session: orm.Session,
    role: str,
    host: str,
    *,
    server: models.Server | None = None,
    word: str | None = None,
) -> End:
    """How one host stands.

    :param server: if the host is its holder.
    """
    row = session.get(models.Host, host)
    tier, _ = (
        results.current(row, service.clock())
        if row is not None
        else (Tier.NONE, [])
    )
    return End(
        role=role,
        host=host,
        known=row is not None,
        tier=tier,
        last_heard=row.attested_at if row is not None else None,
        evicted_at=row.evicted_at if row is not None else None,
        rebooted=_rebooted(service, row, server),
        copy=_copy(service, session, row, server),
        reported_at=server.reported_at if server is not None else None,
        word=word,
        offline_until=windows.until(row, service.clock()),
    )


def both(
    service: Service,
    session: orm.Session,
    row: models.Migration,
    server: models.Server | None,
) -> list[End]:
    """Source and destination of a hand-over."""
    found = []
    for role, host, word in (
        (Role.SOURCE, row.source, row.source_word),
        (Role.DEST, row.dest, row.dest_word),
    ):
        holds = server is not None and server.holder == host
        found.append(
            end(
                service,
                session,
                role,
                host,
                server=server if holds else None,
                word=word,
            )
        )
    return found


def _copy(
    service: Service,
    session: orm.Session,
    host: models.Host | None,
    server: models.Server | None,
) -> str:
    if server is None:
        return 'unknown'
    since = server.reported_at
    if since is None:
        head = session.get(models.Document, server.head)
        since = head.stored_at if head is not None else None
    if host is not None and is_missing(host, server, since, service.clock()):
        return 'no'
    return 'unknown' if server.approval_kid is None else 'yes'


def is_missing(
    host: models.Host,
    server: models.Server,
    since: float | None,
    now: float,
) -> bool:
    """Whether the holder said, now or by silence, that it has no copy.

    :param since: when it last reported one, or got it; None: not known.
    """
    if server.approval_kid == '':
        return True
    tier, _ = results.current(host, now)
    return (
        tier == Tier.AFFIRMING
        and since is not None
        and host.reported_at is not None
        # What is reported is noted anew every FRESH seconds, and late.
        and host.reported_at > since + 2 * reports.FRESH
        and now > host.reported_at + _NOTED
    )


def _rebooted(
    service: Service, host: models.Host | None, server: models.Server | None
) -> bool | None:
    """Whether the TPM was reset since.

    A restart is none: guests survive a suspension of their host. Nor does it
    count if the service was started between the two boots: its database may
    have been restored then, and lack what was opened after the second one.
    """
    if host is None or server is None or server.opened_boot is None:
        return None
    if host.reset_count is None:
        return None
    if host.reset_count <= int(server.opened_boot[:8], 16):
        return False
    heard, now = host.prior_boot_at or 0.0, service.clock()
    # One from the future was noted by a clock that was ahead.
    return True if service.started <= heard <= now + MAX_SKEW else None
