# SPDX-License-Identifier: Apache-2.0
"""When Nova is done with a server, read where Nova keeps it.

Each GET of a server costs Nova's API a tenth of a second on the lab: to poll
it delays what is measured, and Kororā's own questions to Nova with it.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import sqlalchemy as sa

from korora_tools import ui
from korora_tools.lab import database, paths

#: Seconds between two looks, and for all of them.
PERIOD = 0.01
TIMEOUT = 120.0

_SERVER = sa.text(
    'SELECT host, vm_state, task_state FROM instances WHERE uuid = :uuid'
)


class Server(NamedTuple):
    """A row of Nova's table of servers."""

    host: str
    state: str
    task: str | None


class Records:
    """The lab's cell."""

    def __init__(self, lab: paths.Lab) -> None:
        self._engine = sa.create_engine(
            database.url(lab, 'nova_cell1'), isolation_level='AUTOCOMMIT'
        )

    def server(self, uuid: str) -> Server:
        with self._engine.connect() as connection:
            row = connection.execute(_SERVER, {'uuid': uuid}).one()
        return Server(*row)

    def idle(self, uuid: str, since: float) -> tuple[Server, float]:
        """Wait until a server is active and without a task.

        :param since: of ``time.monotonic``.
        :returns: the server, and how long it took.
        :raises Problem: it is in another state, or takes too long.
        """
        while True:
            found, took = self.server(uuid), time.monotonic() - since
            if found.task is None and found.state == 'active':
                return found, took
            if found.state == 'error' or took > TIMEOUT:
                raise ui.Problem(
                    f'the server is {found.state}, its task {found.task}'
                )
            time.sleep(PERIOD)
