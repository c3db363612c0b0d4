# SPDX-License-Identifier: Apache-2.0
"""Files of what the database does not keep, and the table that names them.

A file has one JSON object in a line, and the SHA-256 of all of it in its
name. It is on disk before the transaction that names it and deletes the rows;
what is written again has the same name.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy import orm

from korora_nova import errors
from korora_nova.verifier.db import models

#: Kinds of archives.
AUDIT, DOCUMENTS = 'audit', 'documents'


def write(
    directory: pathlib.Path, kind: str, rows: Iterable[Mapping[str, object]]
) -> str:
    """Write a file, for good; returns its digest, hex.

    :raises OSError: it cannot be written, and nothing may be deleted.
    """
    text = ''.join(
        json.dumps(dict(row), sort_keys=True, separators=(',', ':')) + '\n'
        for row in rows
    ).encode()
    digest = hashlib.sha256(text).hexdigest()
    target = path(directory, kind, digest)
    part = target.with_suffix('.part')
    with open(part, 'wb', opener=_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, target)
    _sync(directory)
    return digest


def path(directory: pathlib.Path, kind: str, digest: str) -> pathlib.Path:
    """Where an archive is."""
    return directory / f'korora-{kind}-{digest}.jsonl'


def check(directory: pathlib.Path | None) -> pathlib.Path:
    """Insist on a directory in which files can be made.

    :raises Invalid: INVALID_REQUEST.
    """
    if directory is None or not directory.is_dir():
        raise errors.Invalid(
            errors.Reason.INVALID_REQUEST,
            'What auditors ask for is deleted only from --archive on: name a '
            'directory that is there.',
        )
    return directory


def note(
    session: orm.Session,
    *,
    kind: str,
    digest: str,
    rows: int,
    first: int,
    last: int,
    head: str,
    at: float,
) -> None:
    """Name an archive in the transaction that rests on it.

    :param first: number of its first row; ``last`` of its last one.
    :param head: of the log of documents at ``last``; '' of other kinds.
    """
    session.execute(
        sa.insert(models.table(models.Archive)),
        {
            'digest': digest,
            'kind': kind,
            'row_count': rows,
            'first': first,
            'last': last,
            'head': head,
            'archived_at': at,
        },
    )


def newest(session: orm.Session, kind: str) -> models.Archive | None:
    """The archive of a kind that reaches furthest."""
    table = models.Archive
    return session.scalars(
        sa.select(table)
        .where(table.kind == kind)
        .order_by(table.last.desc())
        .limit(1)
    ).one_or_none()


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _sync(directory: pathlib.Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
