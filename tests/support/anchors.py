# SPDX-License-Identifier: Apache-2.0
"""What holds for every anchor that remembers anything."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import multiprocessing
import random
import uuid
from collections.abc import Iterator
from typing import Any

import fixtures
import testtools
from oslo_config import cfg

from korora_nova import conf as options
from korora_nova import errors
from korora_nova.verifier.anchor import base, loading

LEDGER = str(uuid.UUID(int=1))
OTHER = str(uuid.UUID(int=2))
SERVER = str(uuid.UUID(int=3))


def mark(version: int, of: str = '') -> base.Mark:
    """The mark of a document; ``of`` tells two of a version apart."""
    return base.Mark(version, f'{of}{version:x}'.rjust(64, '0'))


def conf(**settings: Any) -> cfg.ConfigOpts:
    """A configuration with these options of ``[anchor]``."""
    made = options.parse([], [])
    options.register_verifier_opts(made)
    for name, value in settings.items():
        made.set_override(name, value, options.ANCHOR)
    return made


def load(settings: dict[str, Any]) -> base.Anchor:
    return loading.load(conf(**settings))


def climb(settings: dict[str, Any], server: str, versions: list[int]) -> int:
    """Raise a mark again and again; how often it was refused as a fork."""
    anchor = load(settings)
    forks = 0
    of = ''
    if versions[0] < 0:  # another history than everyone else's
        versions, of = [-version for version in versions], 'f'
    for version in versions:
        try:
            anchor.rise(LEDGER, server, mark(version, of))
        except errors.Conflict as exc:
            if exc.reason != errors.Reason.LEDGER_FORKED:
                raise
            forks += 1
    return forks


class Refusals(testtools.TestCase):
    """What a test says of errors."""

    @contextlib.contextmanager
    def refused(self, reason: str, *words: str) -> Iterator[None]:
        try:
            yield
        except errors.KororaError as exc:
            self.assertEqual(reason, exc.reason, str(exc))
            for word in words:
                self.assertIn(word, exc.message)
        else:
            self.fail(f'not refused with {reason}')


class AnchorMixin(Refusals):
    """A test case of one driver has :meth:`settings`, and these tests."""

    def settings(self) -> dict[str, Any]:
        """Options of ``[anchor]`` for an anchor that is not made yet."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.options = {'timeout': 30, **self.settings()}
        self.anchor = self.another()

    def another(self, **changes: Any) -> base.Anchor:
        """A driver as another process would have one."""
        return load({**self.options, **changes})

    def assertMark(self, expected: base.Mark | None, server: str = SERVER):
        found = self.another().get(LEDGER, [server])
        self.assertEqual({} if expected is None else {server: expected}, found)

    def test_never_made(self) -> None:
        with self.refused('ANCHOR_MISSING', 'korora-manage anchor create'):
            self.anchor.get(LEDGER, [SERVER])
        with self.refused('ANCHOR_MISSING'):
            self.anchor.get(LEDGER, [])
        with self.refused('ANCHOR_MISSING'):
            self.anchor.rise(LEDGER, SERVER, mark(1))
        # Asking did not make it
        with self.refused('ANCHOR_MISSING'):
            self.another().get(LEDGER, [SERVER])

    def test_made_twice(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(1))
        for ledger in (LEDGER, OTHER):
            with self.refused('ANCHOR_EXISTS'):
                self.another().create(ledger)
        self.assertMark(mark(1))

    def test_of_another_ledger(self) -> None:
        self.anchor.create(OTHER)
        with self.refused('ANCHOR_MISSING', OTHER, LEDGER):
            self.anchor.get(LEDGER, [SERVER])
        with self.refused('ANCHOR_MISSING', OTHER, LEDGER):
            self.anchor.rise(LEDGER, SERVER, mark(1))
        self.assertEqual({}, self.anchor.get(OTHER, [SERVER]))

    def test_knows_what_it_was_told(self) -> None:
        self.anchor.create(LEDGER)
        self.assertEqual({}, self.anchor.get(LEDGER, []))
        self.assertMark(None)
        other = str(uuid.uuid4())
        self.anchor.rise(LEDGER, SERVER, mark(1))
        self.anchor.rise(LEDGER, other, mark(7))
        self.anchor.rise(LEDGER, SERVER, mark(2))
        self.assertEqual(
            {SERVER: mark(2), other: mark(7)},
            self.another().get(LEDGER, [SERVER, other, str(uuid.uuid4())]),
        )

    def test_only_rises(self) -> None:
        self.anchor.create(LEDGER)
        for version in (5, 5, 4, 1, 5):
            self.another().rise(LEDGER, SERVER, mark(version))
            self.assertMark(mark(5))
        # Whatever the lower one is; it cannot be told any more
        self.anchor.rise(LEDGER, SERVER, mark(4, 'f'))
        self.assertMark(mark(5))

    def test_fork(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(5))
        with self.refused('LEDGER_FORKED', SERVER, 'document 5'):
            self.another().rise(LEDGER, SERVER, mark(5, 'f'))
        self.assertMark(mark(5))

    def test_large_versions(self) -> None:
        self.anchor.create(LEDGER)
        self.anchor.rise(LEDGER, SERVER, mark(2**62))
        self.anchor.rise(LEDGER, SERVER, mark(9))
        self.assertMark(mark(2**62))

    def test_a_thousand_servers_in_one_call(self) -> None:
        self.anchor.create(LEDGER)
        servers = [str(uuid.uuid4()) for _ in range(1000)]
        known = servers[::97]
        for number, server in enumerate(known, 1):
            self.anchor.rise(LEDGER, server, mark(number))
        self.assertEqual(
            {server: mark(n) for n, server in enumerate(known, 1)},
            self.anchor.get(LEDGER, servers),
        )

    def test_servers_in_order(self) -> None:
        with self.refused('ANCHOR_MISSING'):
            self.anchor.servers(LEDGER, '', 1)
        self.anchor.create(LEDGER)
        self.assertEqual([], list(self.anchor.servers(LEDGER, '', 10)))
        names = sorted(str(uuid.uuid4()) for _ in range(5))
        for name in reversed(names):
            self.anchor.rise(LEDGER, name, mark(1))
        for after, limit, expected in (
            ('', 10, names),
            ('', 2, names[:2]),
            (names[1], 2, names[2:4]),
            (names[4], 2, []),
            (names[1][:-1], 1, [names[1]]),
        ):
            found = self.another().servers(LEDGER, after, limit)
            self.assertEqual(expected, list(found))

    def test_threads(self) -> None:
        """Whoever looks never sees it go back, nor a mixture of two."""
        self.anchor.create(LEDGER)
        versions = list(range(1, 25))
        seen: list[base.Mark] = []

        def climb_and_look(number: int) -> None:
            random.Random(number).shuffle(mine := versions[:])
            for version in mine:
                self.anchor.rise(LEDGER, SERVER, mark(version))
                held = self.anchor.get(LEDGER, [SERVER])[SERVER]
                self.assertLessEqual(version, held.version)
                self.assertEqual(mark(held.version), held)

        def look() -> None:
            for _ in range(20):
                seen.extend(self.anchor.get(LEDGER, [SERVER]).values())

        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            waits = [pool.submit(climb_and_look, number) for number in (1, 2)]
            waits += [pool.submit(climb_and_look, 3), pool.submit(look)]
            for wait in waits:
                wait.result()
        self.assertEqual(seen, sorted(seen))
        self.assertMark(mark(24))

    def test_processes(self) -> None:
        """Two at once, and a third with another history: it is told."""
        self.anchor.create(LEDGER)
        context = multiprocessing.get_context('spawn')
        run = functools.partial(climb, self.options, SERVER)
        with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
            honest = [list(range(1, 30)), list(range(29, 0, -1))]
            self.assertEqual([0, 0], list(pool.map(run, honest)))
            self.assertMark(mark(29))
            forked = list(pool.map(run, [[30, 31, 32], [-30, -31, -32]]))
        # Whoever comes second with the last version is told
        self.assertGreaterEqual(sum(forked), 1)
        held = self.another().get(LEDGER, [SERVER])[SERVER]
        self.assertIn(held, [mark(32), mark(32, 'f')])
