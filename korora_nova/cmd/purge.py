# SPDX-License-Identifier: Apache-2.0
"""``korora-manage db purge``: what the database keeps no longer."""

from __future__ import annotations

import argparse
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

from oslo_config import cfg

from korora_nova.verifier.custody import log
from korora_nova.verifier.db import api
from korora_nova.verifier.retention import (
    archives,
    history,
    leftovers,
    trail,
)

#: Rows of one transaction, and of one archive.
BATCH = 1000
DAY = 86400.0


def add_arguments(parser: Any) -> None:
    """The command line."""
    parser.add_argument(
        '--archive',
        type=pathlib.Path,
        metavar='DIRECTORY',
        help='where files are made of what --audit and --documents delete',
    )
    for name, what in (
        ('audit', 'rows of the audit table'),
        ('documents', 'documents of hand-overs that are over'),
        ('evidence', 'evidence of hosts that were not heard since'),
    ):
        parser.add_argument(
            f'--{name}',
            type=_days,
            metavar='DAYS',
            help=f'delete {what} older than this',
        )
    parser.add_argument(
        '--batch',
        type=_rows,
        default=BATCH,
        metavar='ROWS',
        help=f'in one transaction, default {BATCH}',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='say what would be deleted, and change nothing',
    )


def purge(conf: cfg.ConfigOpts) -> None:
    """Delete what is not needed any more; what auditors need is archived."""
    wanted, db, now = conf.command, api.Database(conf), time.time()
    if wanted.audit is not None or wanted.documents is not None:
        archives.check(wanted.archive)
    for kind in leftovers.kinds():
        if wanted.dry_run:
            found = leftovers.count(db, kind, now)
        else:
            found = _all(
                functools.partial(
                    leftovers.delete, db, kind, wanted.batch, now
                )
            )
        _say(wanted, kind, found)
    if wanted.evidence is not None:
        _evidence(wanted, db, now - wanted.evidence)
    if wanted.audit is not None:
        _audit(wanted, db, now)
    if wanted.documents is not None:
        _documents(wanted, db, now)


def _evidence(wanted: Any, db: api.Database, before: float) -> None:
    hosts = leftovers.silent(db, before)
    if not wanted.dry_run:
        hosts = [one for one in hosts if leftovers.forget(db, one, before)]
    _say(wanted, 'evidence of hosts', len(hosts))


def _audit(wanted: Any, db: api.Database, now: float) -> None:
    before = now - wanted.audit
    if wanted.dry_run:
        found = trail.count(db, before)
    else:
        found = _all(
            functools.partial(
                trail.archive, db, wanted.archive, before, wanted.batch, now
            )
        )
    _say(wanted, 'audit', found)


def _documents(wanted: Any, db: api.Database, now: float) -> None:
    before = now - wanted.documents
    if not wanted.dry_run:
        log.extend(db)
        written = _all(
            functools.partial(
                history.archive, db, wanted.archive, before, wanted.batch, now
            )
        )
        print(f'documents: {written} archived')
    documents = moves = 0
    after = ''
    while page := history.servers(db, after, wanted.batch):
        after = page[-1]
        for instance in page:
            found = history.delete(
                db, instance, before, dry_run=wanted.dry_run
            )
            documents, moves = documents + found[0], moves + found[1]
    _say(wanted, 'documents', documents)
    _say(wanted, 'hand-overs', moves)


def _all(step: Callable[[], int]) -> int:
    """Run a step until it finds nothing; returns how much it found."""
    whole = 0
    while found := step():
        whole += found
    return whole


def _say(wanted: Any, what: str, count: int) -> None:
    print(f'{what}: {count} {"would be " if wanted.dry_run else ""}deleted')


def _days(text: str) -> float:
    """Days as seconds; a day at least, which no clock is wrong by."""
    days = float(text)
    if not 1 <= days < 1e5:
        raise argparse.ArgumentTypeError('a number of days, 1 or more')
    return days * DAY


def _rows(text: str) -> int:
    rows = int(text)
    if not 1 <= rows <= 10000:
        raise argparse.ArgumentTypeError('a number of rows, 1 to 10000')
    return rows
