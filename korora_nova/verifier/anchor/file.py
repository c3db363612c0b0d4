# SPDX-License-Identifier: Apache-2.0
"""The anchor in a file, which is an SQLite database.

SQLite locks it between processes, replaces old values by new ones as a
whole, and has them on disk when it has committed. A file is easily restored
together with everything else, so there is no guarantee.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import ClassVar

import sqlalchemy as sa
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova.verifier.anchor import base, sql


class FileAnchor:
    """See :class:`base.Anchor`.

    :raises Unavailable: ANCHOR_UNAVAILABLE, ``[anchor] path`` is not set.
    """

    GUARANTEES: ClassVar[bool] = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        group = conf[options.ANCHOR]
        self._path = path(group.path)
        self._where = f'the file {self._path}'
        self._marks = sql.Marks(url(self._path), self._where, group.timeout)

    def create(self, incarnation: str) -> None:
        """See :meth:`base.Anchor.create`; its directory exists."""
        make(self._path, self._where)
        self._marks.create(incarnation)

    def get(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, base.Mark]:
        """See :meth:`base.Anchor.get`."""
        check(self._path, self._where)
        return self._marks.get(incarnation, instances)

    def servers(
        self, incarnation: str, after: str, limit: int
    ) -> Sequence[str]:
        """See :meth:`base.Anchor.servers`."""
        check(self._path, self._where)
        return self._marks.servers(incarnation, after, limit)

    def rise(self, incarnation: str, instance: str, mark: base.Mark) -> None:
        """See :meth:`base.Anchor.rise`."""
        check(self._path, self._where)
        self._marks.rise(incarnation, instance, mark)


def path(configured: str | None) -> str:
    """The absolute path of ``[anchor] path``."""
    if not configured:
        raise base.misconfigured(
            'The anchor is to be a file, but [anchor] path is not set.'
        )
    return os.path.abspath(configured)


def url(path: str) -> sa.URL:
    """How SQLAlchemy opens a file that must be there."""
    return sa.URL.create(
        'sqlite',
        database=f'file:{urllib.parse.quote(path)}',
        query={'mode': 'rw', 'uri': 'true'},
    )


def make(path: str, where: str) -> None:
    """Make the file, empty and for this user only, unless it is there."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o600))
    except OSError as exc:
        raise base.unavailable(where, str(exc.strerror)) from None


def check(path: str, where: str) -> None:
    """Refuse a file that is gone.

    :raises Conflict: ANCHOR_MISSING.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise base.missing(where) from None
    except OSError as exc:
        raise base.unavailable(where, str(exc.strerror)) from None
