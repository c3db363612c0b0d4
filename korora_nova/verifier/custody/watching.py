# SPDX-License-Identifier: Apache-2.0
"""Streams under way: their source asks whether they may go on.

Hosts only push otherwise, and QEMU needs no more of us once it streams. So
the source has a request wait here, and is answered as soon as an end is not
what it was when the stream began. What an end *says* does not count: a
destination that lies can neither end a stream that is not to it, nor keep one
to it from being ended.

A request that waits keeps a thread, and nothing else: the database is asked
anew each time, in a transaction of its own.
"""

from __future__ import annotations

import contextlib
import time

from oslo_log import log as logging
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.custody.watch import Watched
from korora_nova.custody.words import MigrationState, Statement
from korora_nova.verifier import audit
from korora_nova.verifier.custody import migrations, trusted
from korora_nova.verifier.db import api, models
from korora_nova.verifier.service import Service

LOG = logging.getLogger(__name__)

_R = errors.Reason

#: Seconds between two looks for a request that waits.
LOOK = 0.5
#: Seconds after which to ask again, for a request that finds no place.
AGAIN = 1.0
#: The same once there is nothing to end.
SELDOM = 10.0

_GONE = (Statement.ENDED_HERE, Statement.STREAM_COMPLETED)


def watch(
    service: Service,
    migration: str,
    *,
    wait: float,
    heard: float,
    threads: bool,
) -> Watched:
    """Whether a stream may go on; waits while it may.

    :param wait: seconds, at most.
    :param heard: seconds for which the source has reached the service
        without a break.
    :param threads: whether this process serves others while it waits.
    :raises NotFound: MIGRATION_UNKNOWN.
    :raises Unavailable: DATABASE_UNAVAILABLE.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        admitted = threads and stack.enter_context(service.waits.place())
        while True:
            waited = time.monotonic() - began
            found = look(service, migration, heard + waited)
            if found.ends:
                _note(service, migration, found)
                return found
            if found.retry_after:
                return found
            if not admitted and wait:
                return Watched(retry_after=AGAIN)
            if waited >= wait:
                return found
            time.sleep(min(LOOK, wait - waited))


def look(service: Service, migration: str, heard: float) -> Watched:
    """The same as it stands, without waiting.

    :raises NotFound, Unavailable: as :func:`watch`.
    """
    with service.db.read() as session:
        known = migrations.get(session, migration)
        if known.source_word in _GONE:
            # Said by the source itself, or by who has given it up.
            return Watched(retry_after=SELDOM)
        found = _judge(service, session, known)
        aborted = known.status == MigrationState.ABORTED
    if found.is_silence and heard < patience(service):
        # The service was out of reach for all, it may be.
        found = Watched()
    if aborted and not found.ends:
        # An operator may have decided so.
        return Watched(_R.MIGRATION_SPENT)
    return found


def patience(service: Service) -> float:
    """Seconds in which a host that is there attests, surely."""
    return service.settings.result_ttl / 2


def _judge(
    service: Service, session: orm.Session, known: models.Migration
) -> Watched:
    for host, check in (
        (known.dest, trusted.check_destination),
        (known.source, trusted.check_source),
    ):
        try:
            check(service, session, known)
        except errors.Untrusted as exc:
            why = exc.details.get('reasons', '').split() or [exc.reason]
            return Watched.lost(host, why)
    return Watched()


def _note(service: Service, migration: str, found: Watched) -> None:
    """Let operators see it; the source is told in any case."""
    if found.reason != _R.TRUST_LOST_IN_FLIGHT:
        return
    try:
        _store(service, migration, found)
    except errors.KororaError as exc:
        LOG.error('Migration %s: %s not noted: %s', migration, found, exc)


@api.retried
def _store(service: Service, migration: str, found: Watched) -> None:
    with service.db.write() as session:
        known = migrations.get(session, migration)
        if (
            known.status not in migrations.OPEN
            or _R.TRUST_LOST_IN_FLIGHT in known.taint
        ):
            return
        taint = sorted({*known.taint, found.reason, *found.reasons})
        migrations.change(service, session, known, taint=taint)
        audit.record(
            service,
            session,
            actor=found.host,
            action='trust lost',
            subject=migration,
            note=' '.join((known.instance, *found.reasons)),
        )
