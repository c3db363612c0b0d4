# SPDX-License-Identifier: Apache-2.0
"""Compiled policies: once for all threads, no more than count."""

import concurrent.futures
import threading
import time
from unittest import mock

import testtools

from korora_nova.verifier import cache

KEY = ('uuid', 1)


class Loader:
    """Makes policies that remember what they were bound to."""

    def __init__(self) -> None:
        self.loaded: list[cache.Key] = []
        self.bound: list[tuple] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, key: cache.Key):
        self.gate.wait(5)
        self.loaded.append(key)
        made = mock.Mock()
        made.bind = self.bind
        return made

    def bind(self, references):
        self.bound.append(references)
        return object()


class TestBoundPolicies(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cache = cache.BoundPolicies()
        self.load = Loader()

    def get(self, *keys: cache.Key, **references):
        return self.cache.get(keys, references, self.load)

    def test_order_is_that_of_the_question(self):
        one, two = self.get(KEY, ('other', 1))
        self.assertEqual((two, one), self.get(('other', 1), KEY))

    def test_once(self):
        first = self.get(KEY, a=1)
        self.assertEqual(first, self.get(KEY, a=1))
        self.assertEqual([(1,)], self.load.bound)

    def test_new_references_bind_anew(self):
        first = self.get(KEY, a=1)
        self.assertNotEqual(first, self.get(KEY, a=1, b=2))
        self.assertEqual([(1,), (1, 2)], self.load.bound)
        self.assertEqual([KEY], self.load.loaded)
        self.assertEqual(1, len(self.cache._bound))

    def test_new_revision(self):
        self.get(KEY)
        self.cache.keep([('uuid', 2)])
        self.get(('uuid', 2))
        self.assertEqual({('uuid', 2)}, set(self.cache._policies))
        self.assertEqual({('uuid', 2)}, set(self.cache._bound))

    def test_many_threads_load_once(self):
        self.load.gate.clear()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(self.get, KEY) for _ in range(8)]
            time.sleep(0.05)
            self.load.gate.set()
            self.assertEqual(1, len({call.result() for call in calls}))
        self.assertEqual([KEY], self.load.loaded)

    def test_one_that_cannot_be_loaded(self):
        def refuse(key):
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.cache.get, [KEY], {}, refuse)
        self.assertEqual(1, len(self.get(KEY)))
