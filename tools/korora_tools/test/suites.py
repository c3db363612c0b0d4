# SPDX-License-Identifier: Apache-2.0
"""What there is to run. Everything returns Totals."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from korora_tools import checkout, children, older_nova, ui
from korora_tools.lab import paths
from korora_tools.test import documents, series
from korora_tools.test.stream import Totals, count

ROOT = checkout.ROOT
BIN = pathlib.Path(sys.executable).parent
TESTS = ROOT / 'tests'

WORKERS = 2
# A suite that waits half of its time, for what Nova polls.
MORE_WORKERS = {'nova': 3}
# Lines of a runner's output that are shown if it did not run its tests.
TAIL = 40
# Nova's own tests of its driver, on ours. Functional fixtures of that release
# are for eventlet; the lab has its services as they are.
OLDER_NOVA = 'test_nova_driver_suite'
# Where tests have their databases, if it has so many bytes of room.
MEMORY = '/dev/shm'
ROOM = 8 << 30
# Seconds; a hanging suite must not hide the results of the others.
SUITE_TIMEOUT = 900.0
INTEGRATION_TIMEOUT = 1500.0


def environment(
    python: pathlib.Path = pathlib.Path(sys.executable),
) -> dict[str, str]:
    """The caller's, without what could change the outcome of a test."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(('OS_', 'PYTHON', 'STESTR'))
    }
    return {
        **kept,
        'PATH': f'{python.parent}:/usr/sbin:/usr/bin:/sbin:/bin',
        'PYTHON': str(python),
        'PYTHONPATH': str(ROOT),
        'PYTHONDONTWRITEBYTECODE': '1',
        'LANG': 'C.UTF-8',
    }


def command(name: str, *argv: str) -> Totals:
    """A check that passes or fails as a whole."""
    totals = Totals()
    with _step(name, totals):
        if children.run(argv, environment(), str(ROOT)):
            totals.fail(name, 'see its output above')
        else:
            totals.passed += 1
    return totals


def pep8() -> Totals:
    """Three checks: ruff twice, mypy."""
    ruff = f'{BIN}/ruff'
    totals = command('ruff check', ruff, 'check', '--quiet')
    totals.add(command('ruff format', ruff, 'format', '--check', '--quiet'))
    totals.add(command('mypy', sys.executable, '-m', 'mypy'))
    return totals


def docs() -> Totals:
    """The site, the manual pages, the API reference, and their style."""
    totals = Totals()
    python = documents.ensure()
    documents.clean()
    for name, argv in documents.checks(python).items():
        one = Totals()
        with _step(name, one):
            outcome = documents.check(name, argv, environment())
            if outcome.warnings:
                one.fail(name, outcome.output)
            else:
                one.passed += 1
        totals.add(one)
    return totals


def environments() -> Totals:
    """What :func:`functional` runs in besides; pip waits much."""
    if BIN == checkout.BIN:
        older_nova.ensure()
        for one in series.distinct():
            one.ensure()
    return Totals()


def unit(verbose: bool) -> Totals:
    return stestr('unit', TESTS / 'unit', verbose)


def functional(verbose: bool) -> Totals:
    """One process group per directory: Nova's fixtures patch their own."""
    totals = Totals()
    for path in sorted((TESTS / 'functional').iterdir()):
        if any(path.rglob('test_*.py')):
            totals.add(
                stestr(
                    f'functional/{path.name}',
                    path,
                    verbose,
                    workers=MORE_WORKERS.get(path.name, WORKERS),
                )
            )
    if BIN == checkout.BIN:  # tox has an environment of its own for these
        # The latter is one test, which keeps one core busy.
        for one in children.together(
            lambda: constrained(verbose), lambda: on_older_nova(verbose)
        ):
            totals.add(one)
    if not totals.ran:
        totals.fail('functional', 'no tests were found')
    return totals


def constrained(verbose: bool) -> Totals:
    """What talks to TPMs, with the versions of each series."""
    totals = Totals()
    for one in series.distinct():
        python = one.ensure()
        for name, pattern in series.SUITES.items():
            totals.add(
                stestr(
                    f'functional/{name}@{one.name}',
                    TESTS / 'functional' / name,
                    verbose,
                    python=python,
                    pattern=pattern,
                )
            )
    return totals


def on_older_nova(verbose: bool) -> Totals:
    """What is inherited from the driver of the release before."""
    return stestr(
        f'functional/nova@{older_nova.RELEASE}',
        TESTS / 'functional' / 'nova',
        verbose,
        python=older_nova.ensure(),
        pattern=OLDER_NOVA,
    )


def integration(verbose: bool) -> Totals:
    """On the lab, one test after the other.

    The scenarios run for minutes before the first test is judged; what they
    write about their progress is shown meanwhile.
    """
    totals = Totals()
    with lab(totals) as ready:
        if not ready:
            totals.fail('lab up', 'the lab did not come up')
            return totals
        log = paths.Lab.default().log / 'scenarios.out'
        with children.follow(log, lambda line: ui.note(f'          {line}')):
            totals.add(
                stestr(
                    'integration',
                    TESTS / 'integration',
                    verbose,
                    workers=1,
                    timeout=INTEGRATION_TIMEOUT,
                )
            )
    return totals


@contextlib.contextmanager
def lab(totals: Totals) -> Iterator[bool]:
    """A fresh lab, taken down on every way out; logs stay after a failure."""
    argv = [str(ROOT / 'tools' / 'lab')]
    env = {**environment(), 'PYTHONPATH': ''}
    children.run([*argv, 'down'], env, str(ROOT))
    try:
        yield children.run([*argv, 'up'], env, str(ROOT)) == 0
    finally:
        keep = ['--keep'] if totals.failed else []
        children.run([*argv, 'down', *keep], env, str(ROOT))
        if keep:
            ui.say(f"the lab's logs are in {paths.Lab.default().log}")


def stestr(
    name: str,
    path: pathlib.Path,
    verbose: bool,
    workers: int = WORKERS,
    timeout: float = SUITE_TIMEOUT,
    python: pathlib.Path = pathlib.Path(sys.executable),
    only: Sequence[str] = (),
    pattern: str = '',
) -> Totals:
    """Run the tests below a directory; none at all counts as a failure.

    :param only: ids of the tests that are run, if not all; ``pattern`` is
        what a part of each id matches.
    """
    totals = Totals()
    place = _memory()
    with (
        _step(name, totals),
        tempfile.TemporaryDirectory(dir=place) as scratch,
    ):
        argv = [
            f'{python.parent}/stestr',
            '--repo-url',
            scratch,
            '--test-path',
            str(path),
            '--top-dir',
            str(ROOT),
            'run',
            '--subunit',
            '--concurrency',
            str(workers),
        ]
        if only:
            chosen = pathlib.Path(scratch, 'chosen')
            chosen.write_text(''.join(f'{name}\n' for name in only))
            argv += ['--load-list', str(chosen)]
        if pattern:
            argv.append(pattern)
        env = {**environment(python), 'TMPDIR': scratch}
        noise = pathlib.Path(scratch, 'output')
        with (
            noise.open('wb') as other,
            children.child(
                argv, env, str(ROOT), subprocess.PIPE, other, timeout
            ) as process,
        ):
            assert process.stdout is not None
            totals.add(count(process.stdout, name, verbose, other))
        _account_for(process, name, totals, noise)
    # A test's own name does not say with which versions it failed.
    totals.failures = [
        (what if what == name else f'{name}: {what}', why)
        for what, why in totals.failures
    ]
    return totals


def _memory() -> str | None:
    """A directory in memory; None if this machine has none that will do.

    A test of the service waits for two hundred writes to disk, for nothing.
    """
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return None
    roomy = found.f_bavail * found.f_frsize >= ROOM
    # Tests start programs that they have made.
    return MEMORY if roomy and not found.f_flag & os.ST_NOEXEC else None


def _account_for(
    process: subprocess.Popen[bytes],
    name: str,
    totals: Totals,
    output: pathlib.Path,
) -> None:
    """Add what the stream cannot say: nothing ran, or the runner died."""
    if totals.ran and (not process.returncode or totals.failed):
        return
    why = f'stestr ended with {process.returncode}'
    tail = output.read_text(errors='replace').splitlines()[-TAIL:]
    totals.fail(name, '\n'.join([why, *tail]))


@contextlib.contextmanager
def _step(name: str, totals: Totals) -> Iterator[None]:
    """Announce a suite, then say what came of it and how long it took."""
    children.proceed()
    began = time.monotonic()
    ui.say(f'... {name}')
    yield
    word = 'BAD' if totals.failed else 'ok '
    ui.say(f'{word} {name}: {totals} ({time.monotonic() - began:.1f} s)')
