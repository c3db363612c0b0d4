# SPDX-License-Identifier: Apache-2.0
"""Which servers have an offline window, as Nova said some time ago."""

from __future__ import annotations

import threading
from collections.abc import Callable

import testtools

from korora_nova import errors
from korora_nova.verifier import places
from tests.support.service import Clock, FakeNova


class PlacesTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.nova = FakeNova()
        self.nova.flavors_of = {'a': 'small', 'b': 'plain'}
        self.nova.in_aggregates = {
            'edge': frozenset(('h1',)),
            'other': frozenset(('h2',)),
        }
        self.clock = Clock()
        self.jobs: list[Callable[[], None]] = []

    def naming(self, *flavors: str, **more) -> places.Places:
        aggregates = more.get('aggregates', ())
        return places.Places(
            self.nova, flavors, aggregates, self.jobs.append, self.clock
        )

    def work(self) -> None:
        while self.jobs:
            self.jobs.pop(0)()

    def choose(self, made: places.Places, host: str = 'h1') -> list[str]:
        """What is known after all questions were answered."""
        try:
            made.choose(host, ['a', 'b', 'c'])
        except errors.Unavailable:
            self.work()
        return made.choose(host, ['a', 'b', 'c'])

    def test_flavors(self) -> None:
        self.assertEqual(['a'], self.choose(self.naming('small', 'large')))
        self.assertEqual([], self.choose(self.naming('large')))

    def test_aggregates(self) -> None:
        made = self.naming(aggregates=('edge', 'unknown'))
        self.assertEqual(['a', 'b', 'c'], self.choose(made))
        self.assertEqual([], self.choose(made, 'h2'))

    def test_either(self) -> None:
        made = self.naming('small', aggregates=('edge',))
        self.assertEqual(['a', 'b', 'c'], self.choose(made))
        self.assertEqual(['a'], self.choose(made, 'h2'))

    def test_nobody_is_named(self) -> None:
        self.assertEqual([], self.naming().choose('h1', ['a']))
        self.assertEqual([], self.jobs)

    def test_asked_once_at_a_time(self) -> None:
        made = self.naming('small')
        for _ in range(3):
            self.assertRaises(errors.Unavailable, made.choose, 'h1', ['a'])
        self.assertEqual(1, len(self.jobs))
        self.assertEqual(['a'], self.choose(made))
        self.assertEqual([], self.jobs)

    def test_old_answer_counts_for_a_while(self) -> None:
        made = self.naming('small')
        self.choose(made)
        self.nova.flavors_of = {}
        self.clock.advance(places.AGAIN)
        self.assertEqual(['a'], made.choose('h1', ['a']))
        self.work()
        self.assertEqual([], made.choose('h1', ['a']))

    def test_nova_is_down(self) -> None:
        made = self.naming('small')
        self.choose(made)
        self.nova.down = True
        self.clock.advance(places.AGAIN)
        for _ in range(2):
            # It is asked again and again
            self.assertEqual(['a'], made.choose('h1', ['a']))
            self.assertEqual(1, len(self.jobs))
            self.work()
        self.clock.advance(places.LAST)
        self.assertRaises(errors.Unavailable, made.choose, 'h1', ['a'])
        self.nova.down = False
        self.work()
        self.assertEqual(['a'], made.choose('h1', ['a']))

    def test_in_a_thread_of_its_own(self) -> None:
        asked, go_on = threading.Event(), threading.Event()

        def answer() -> None:
            asked.set()
            go_on.wait(10)

        self.nova.before_answer = answer
        made = places.Places(self.nova, ['small'], [])
        self.assertRaises(errors.Unavailable, made.choose, 'h1', ['a'])
        self.assertTrue(asked.wait(10))
        go_on.set()
