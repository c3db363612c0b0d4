# SPDX-License-Identifier: Apache-2.0
"""Runs of the matrix on one database; prints one JSON object a line.

``python -m tests.faults.worker DATABASE RUNS SEED [FAULT]``
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import fixtures

from tests.faults import life, matrix
from tests.faults.run import Fault, Run
from tests.faults.world import World
from tests.support import mariadb, postgresql

DATABASES: dict[str, Callable[[], Any]] = {
    'mariadb': mariadb.MariaDb,
    'postgresql': postgresql.PostgreSql,
}
#: Lines of each process's log that are kept of a run that failed.
LOG_LINES = 40

Row = dict[str, Any]


class Worker(fixtures.Fixture):
    """A database server, and worlds on it: a new one after a failure."""

    def __init__(self, database: str) -> None:
        super().__init__()
        self.database = database

    def _setUp(self) -> None:
        self._server = self.useFixture(DATABASES[self.database]())
        self._world: World | None = None
        self.addCleanup(self._end)

    def _end(self) -> None:
        world, self._world = self._world, None
        if world is not None:
            world.cleanUp()

    def world(self) -> World:
        if self._world is None:
            world = World(self._server.database())
            world.setUp()
            self._world = world
        return self._world

    def every(self, only: str = '') -> list[Fault]:
        """The whole matrix, of what the stories pass today.

        :param only: that of one story, if it begins with its name and ':'.
        """
        named = only.partition(':')[0] if ':' in only else ''
        return [
            fault
            for story in ([named] if named in life.STORIES else life.STORIES)
            for fault in matrix.faults(
                story, matrix.trace(self.world(), story)
            )
        ]

    def run(self, fault: Fault) -> Row:
        """What came of one run."""
        began = time.monotonic()
        row: Row = {'fault': str(fault), 'database': self.database}
        try:
            one = Run(self.world(), fault)
            verdict = one.verdict()
            row |= {
                'met': one.met,
                'operated': one.life.operated,
                'lost': verdict.lost,
                'double': verdict.double,
                'stuck': verdict.stuck,
            }
            if not verdict.good:
                row |= {
                    'told': one.life.told,
                    'log': self.world().logs(LOG_LINES).splitlines(),
                }
                self._end()
        except Exception:  # noqa: BLE001 it counts as stuck
            row |= {
                'met': True,
                'lost': [],
                'double': [],
                'stuck': traceback.format_exc().splitlines()[-12:],
            }
            self._end()
        row['seconds'] = round(time.monotonic() - began, 2)
        return row


def rows(
    database: str, runs: int, seed: int, only: str | None = None
) -> Iterator[Row]:
    """First what the matrix is, then a row for each run."""
    with Worker(database) as worker:
        every = worker.every(only or '')
        yield {
            'database': database,
            'matrix': len(every),
            'points': sorted({fault.point for fault in every}),
        }
        meant = [fault for fault in every if (only or '') in str(fault)]
        for fault in matrix.chosen(meant, runs, seed):
            yield worker.run(fault)


def main() -> None:
    database, runs, seed, *only = sys.argv[1:]
    for row in rows(database, int(runs), int(seed), *only):
        print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()
