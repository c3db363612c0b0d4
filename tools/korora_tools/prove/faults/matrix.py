# SPDX-License-Identifier: Apache-2.0
"""Run the matrix of tests/faults: a process for each database."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from korora_tools import checkout, children, ui

#: Seconds between lines about the progress.
EVERY = 15.0
#: Failed runs that the report tells of in full.
SHOWN = 50
BAD = ('lost', 'double', 'stuck')

Row = dict[str, Any]


class _Tally:
    """What the workers have said so far."""

    def __init__(self, runs: int) -> None:
        self._lock = threading.Lock()
        self._expected = runs
        self._told = time.monotonic()
        self.points: set[str] = set()
        self.cells: dict[str, int] = {}
        self.rows: list[Row] = []
        self.failed: list[Row] = []

    def add(self, row: Row) -> None:
        with self._lock:
            if 'matrix' in row:
                self.points |= set(row['points'])
                self.cells[row['database']] = row['matrix']
                return
            self.rows.append(row)
            if any(row[what] for what in BAD):
                self.failed.append(row)
                what = next(what for what in BAD if row[what])
                ui.say(
                    f'!!! {row["database"]}: {row["fault"]}: {what}: '
                    f'{row[what][-1]}'
                )
            if time.monotonic() - self._told > EVERY:
                self._told = time.monotonic()
                ui.say(
                    f'... {len(self.rows)} of {self._expected} runs, '
                    f'{len(self.failed)} failed'
                )

    def report(self, seed: int) -> Row:
        return {
            'points': len(self.points),
            'cells': max(self.cells.values(), default=0),
            'runs': len(self.rows),
            'met': sum(bool(row['met']) for row in self.rows),
            'operated': sum(bool(row.get('operated')) for row in self.rows),
            **{
                what: sum(bool(row[what]) for row in self.rows) for what in BAD
            },
            'databases': sorted(self.cells),
            'by_kind': dict(
                sorted(
                    collections.Counter(
                        row['fault'].rpartition(': ')[2] for row in self.rows
                    ).items()
                )
            ),
            'seed': seed,
            'failures': self.failed[:SHOWN],
        }


def run(runs: int, seed: int, only: str | None = None) -> Row:
    """The report's part: what was run, and what came of it.

    :param only: what the names of runs must have in them, if not all.
    :raises Problem: a worker ended early.
    """
    from tests.faults import worker

    names = sorted(worker.DATABASES)
    tally = _Tally(runs)
    with ui.step(f'{runs} runs on {" and ".join(names)}'):
        threads = [
            _Follower(tally, name, _share(runs, names, name), seed, only)
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for thread in threads:
        if thread.trouble:
            raise ui.Problem(thread.trouble)
    return tally.report(seed)


def _share(runs: int, names: list[str], name: str) -> int:
    return runs // len(names) + (names.index(name) < runs % len(names))


class _Follower(threading.Thread):
    """One worker's process, and what it prints."""

    def __init__(
        self,
        tally: _Tally,
        database: str,
        runs: int,
        seed: int,
        only: str | None,
    ) -> None:
        super().__init__(daemon=True)
        self._tally = tally
        self._database = database
        # Another sample on each database
        self._argv = [
            sys.executable,
            '-m',
            'tests.faults.worker',
            database,
            str(runs),
            str(2 * seed + (database == 'mariadb')),
            *([only] if only else []),
        ]
        self.trouble = ''

    def run(self) -> None:
        with tempfile.TemporaryFile() as noise:
            with children.child(
                self._argv,
                _environment(),
                str(checkout.ROOT),
                stdout=subprocess.PIPE,
                stderr=noise,
            ) as process:
                for row in _rows(process.stdout):
                    self._tally.add(row)
            if process.returncode:
                noise.seek(0)
                tail = noise.read().decode(errors='replace').splitlines()[-15:]
                self.trouble = (
                    f'the runs on {self._database} ended with '
                    f'{process.returncode}:\n  ' + '\n  '.join(tail)
                )


def _rows(lines: IO[bytes] | None) -> Iterator[Row]:
    assert lines is not None
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            ui.note(line.decode(errors='replace').rstrip())


def _environment() -> dict[str, str]:
    from korora_tools.test import suites

    return {
        **suites.environment(),
        'PYTHONWARNINGS': 'ignore',
        'TMPDIR': os.environ.get('TMPDIR', str(pathlib.Path('/tmp'))),
    }
