# SPDX-License-Identifier: Apache-2.0
"""Count the results of a subunit stream, and show them as they come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import IO, Any

import subunit
import testtools

from korora_tools import ui

QUIET = 15.0
"""Seconds without a line after which progress is shown."""

# A test that was started and never ended has failed: its worker died.
PASSED = frozenset({'success', 'xfail'})
FAILED = frozenset({'fail', 'uxsuccess', 'inprogress', 'unknown'})
MENDED = (
    'it succeeded: take away the mark that it fails (tests/support/faults.py)'
)


@dataclass
class Totals:
    """Numbers of tests, and what there is to say about some of them."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    skips: list[tuple[str, str]] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    """What subunit said of each test."""

    @property
    def ran(self) -> int:
        return self.passed + self.failed + self.skipped

    def fail(self, name: str, why: str) -> None:
        self.failed += 1
        self.failures.append((name, why))

    def add(self, other: Totals) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.skips += other.skips
        self.statuses |= other.statuses

    def __str__(self) -> str:
        return (
            f'{self.passed} passed, {self.failed} failed, '
            f'{self.skipped} skipped'
        )


class Counter:
    """Takes one finished test at a time."""

    def __init__(self, suite: str, verbose: bool) -> None:
        self.suite = suite
        self.verbose = verbose
        self.totals = Totals()
        self._told = time.monotonic()

    def __call__(self, test: Any) -> None:
        name, status = test['id'], test['status']
        self.totals.statuses[name] = status
        if status in PASSED:
            self.totals.passed += 1
        elif status == 'skip':
            self.totals.skipped += 1
            self.totals.skips.append((name, _detail(test, 'reason')))
        elif status in FAILED:
            self.totals.fail(
                name,
                MENDED
                if status == 'uxsuccess'
                else _detail(test, 'traceback'),
            )
        else:  # "exists": a listing, nothing ran
            return
        self._tell(name, status, _seconds(test))

    def _tell(self, name: str, status: str, seconds: float) -> None:
        now = time.monotonic()
        if self.verbose or status not in PASSED:
            word = 'ok' if status in PASSED else status.upper()
            ui.say(f'    {word:4} {name} ({seconds:.1f} s)')
        elif now - self._told > QUIET:
            ui.say(f'... {self.suite}: {self.totals} so far')
        else:
            return
        self._told = now


def _seconds(test: Any) -> float:
    start, stop = test['timestamps']
    return (stop - start).total_seconds() if start and stop else 0.0


def _detail(test: Any, wanted: str) -> str:
    """The text of a test's details, its logs only when nothing else is."""
    texts = {
        name: content.as_text() for name, content in test['details'].items()
    }
    chosen = [t for n, t in texts.items() if wanted in n and t.strip()]
    text = '\n'.join(chosen or texts.values()).strip()
    return text or 'it started and did not end'


def count(
    stream: IO[bytes], suite: str, verbose: bool, other: IO[bytes]
) -> Totals:
    """Read a subunit v2 stream to its end; the rest goes to `other`."""
    counter = Counter(suite, verbose)
    result = testtools.StreamToDict(counter)
    router = testtools.StreamResultRouter(result)
    router.add_rule(_Text(other), 'test_id', test_id=None)
    router.startTestRun()
    try:
        subunit.ByteStreamToStreamResult(
            stream, non_subunit_name='output'
        ).run(router)
    finally:
        router.stopTestRun()
    return counter.totals


class _Text(testtools.StreamResult):
    """Output that belongs to no test: warnings, or a crash of the runner."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def status(self, *args: Any, **event: Any) -> None:
        if event.get('file_bytes'):
            self._file.write(bytes(event['file_bytes']))
