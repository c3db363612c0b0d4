# SPDX-License-Identifier: Apache-2.0
"""Feeds one target in this process; run by ``cli`` with atheris' Python."""

from __future__ import annotations

import atexit
import hashlib
import json
import pathlib
import sys
import time
import traceback
import warnings
from typing import Any

import atheris

with atheris.instrument_imports(include=['korora_nova']):
    from korora_tools.fuzz import targets

from korora_nova import errors
from korora_tools.fuzz import environment, mutate

#: Failures that are told apart; one input of each is kept.
MAX_FAILURES = 50


class Run:
    """Counts, and remembers what failed and what was slowest."""

    def __init__(self, name: str, limit: float) -> None:
        self.target = targets.TARGETS[name]
        self.name, self.limit = name, limit
        self.inputs = self.accepted = self.slow = 0
        self.slowest, self.slowest_input = 0.0, b''
        self.failures: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        self.inputs += 1
        began = time.process_time()
        try:
            self.target.run(data)
            self.accepted += 1
        except errors.KororaError:
            pass
        # Any other exception is what is looked for.
        except BaseException as exc:  # noqa: BLE001
            self._fail(exc, data)
        took = time.process_time() - began
        if took > self.slowest:
            self.slowest, self.slowest_input = took, data
        if took > self.limit:
            self.slow += 1

    def _fail(self, exc: BaseException, data: bytes) -> None:
        if isinstance(exc, (KeyboardInterrupt, SystemExit)):
            raise exc
        frames = [
            frame
            for frame in traceback.extract_tb(exc.__traceback__)
            if '/korora_nova/' in frame.filename
        ]
        where = (
            f'{pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno}'
            if frames
            else 'outside'
        )
        what = f'{type(exc).__name__} at {where}'
        if what not in self.failures and len(self.failures) < MAX_FAILURES:
            self.failures[what] = f'{exc!s:.120} [{self._keep(data)}]'

    def _keep(self, data: bytes) -> str:
        directory = environment.STATE / 'failed'
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / (
            f'{self.name}-{hashlib.sha256(data).hexdigest()[:16]}'
        )
        path.write_bytes(data)
        return str(path)

    def report(self) -> dict[str, Any]:
        if self.slow:
            self.failures['slow'] = self._keep(self.slowest_input)
        return {
            'target': self.name,
            'inputs': self.inputs,
            'accepted': self.accepted,
            'failures': self.failures,
            'slow': self.slow,
            'slowest_s': round(self.slowest, 4),
            'slowest_bytes': len(self.slowest_input),
        }


def corpus(name: str) -> list[str]:
    """Directories of inputs: what earlier runs found, and the seeds."""
    found, seeds = (
        environment.STATE / kind / name for kind in ('corpus', 'seeds')
    )
    for directory in (found, seeds):
        directory.mkdir(parents=True, exist_ok=True)
    for data in targets.TARGETS[name].seeds():
        (seeds / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return [str(found), str(seeds)]


def main() -> None:
    name, report, inputs, limit, seed, hang, rss = sys.argv[1:]
    warnings.simplefilter('ignore')
    run = Run(name, float(limit))
    atexit.register(
        lambda: pathlib.Path(report).write_text(json.dumps(run.report()))
    )
    atheris.Setup(
        [
            sys.argv[0],
            f'-atheris_runs={inputs}',
            f'-seed={seed}',
            f'-timeout={hang}',
            f'-rss_limit_mb={rss}',
            f'-max_len={run.target.size}',
            '-print_final_stats=0',
            *corpus(name),
        ],
        run.feed,
        **({'custom_mutator': mutate.document} if run.target.json else {}),
    )
    atheris.Fuzz()


if __name__ == '__main__':
    main()
