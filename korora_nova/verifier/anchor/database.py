# SPDX-License-Identifier: Apache-2.0
"""The anchor in a second database, of MariaDB, MySQL or PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import sqlalchemy as sa
from oslo_config import cfg
from oslo_log import log as logging

from korora_nova import conf as options
from korora_nova.verifier.anchor import base, sql
from korora_nova.verifier.db import api

LOG = logging.getLogger(__name__)
WHERE = 'the database of [anchor] connection'


class DatabaseAnchor:
    """See :class:`base.Anchor`.

    :raises Unavailable: ANCHOR_UNAVAILABLE, ``[anchor] connection`` is
        missing, malformed, or the service's own database.
    """

    GUARANTEES: ClassVar[bool] = True

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        api.register_opts(conf)
        group = conf[options.ANCHOR]
        url = _url(group.connection)
        watched = conf.database.connection
        if watched:
            _keep_apart(url, sa.make_url(watched))
        try:
            self._marks = sql.Marks(url, WHERE, group.timeout)
        except (sa.exc.ArgumentError, ImportError) as exc:
            raise base.misconfigured(
                'The driver that [anchor] connection names cannot be loaded: '
                f'{type(exc).__name__}.'
            ) from None

    def create(self, incarnation: str) -> None:
        """See :meth:`base.Anchor.create`; the database itself exists."""
        self._marks.create(incarnation)

    def get(
        self, incarnation: str, instances: Sequence[str]
    ) -> Mapping[str, base.Mark]:
        """See :meth:`base.Anchor.get`."""
        return self._marks.get(incarnation, instances)

    def servers(
        self, incarnation: str, after: str, limit: int
    ) -> Sequence[str]:
        """See :meth:`base.Anchor.servers`."""
        return self._marks.servers(incarnation, after, limit)

    def rise(self, incarnation: str, instance: str, mark: base.Mark) -> None:
        """See :meth:`base.Anchor.rise`."""
        self._marks.rise(incarnation, instance, mark)


def _url(connection: str | None) -> sa.URL:
    if not connection:
        raise base.misconfigured(
            'The anchor is to be a database, but [anchor] connection is not '
            'set.'
        )
    try:
        return sa.make_url(connection)
    except (sa.exc.ArgumentError, ValueError):
        # Its text may hold the password
        raise base.misconfigured(
            '[anchor] connection is not an URL of a database.'
        ) from None


def _keep_apart(anchor: sa.URL, watched: sa.URL) -> None:
    """Refuse the database that is to be watched; warn of its server."""
    if _server(anchor) != _server(watched):
        return
    if anchor.database == watched.database:
        raise base.misconfigured(
            '[anchor] connection is the database of [database] connection: '
            'whoever restores that takes the anchor along.'
        )
    LOG.warning(
        '[anchor] connection is on the server of [database] connection: the '
        'anchor is worth nothing if both are restored from one backup'
    )


def _server(url: sa.URL) -> tuple[object, ...]:
    place = url.query.get('unix_socket') or url.query.get('host')
    return url.get_backend_name(), place or url.host or 'localhost', url.port
