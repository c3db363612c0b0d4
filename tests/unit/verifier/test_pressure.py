# SPDX-License-Identifier: Apache-2.0
"""Periodic attestations are put off before there are too many."""

import contextlib

import testtools

from korora_nova import errors
from korora_nova.verifier import limits


class TestPressure(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 1000.0
        self.pressure = limits.Pressure(4, lambda: self.now)
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def enter(self, host: str) -> None:
        self.stack.enter_context(self.pressure.of(host))

    def refused(self, host: str) -> int:
        return self.assertRaises(errors.Busy, self.enter, host).retry_after

    def test_so_many(self) -> None:
        for number in range(4):
            self.enter(f'h{number}')
        self.refused('h9')
        self.stack.close()
        self.enter('h9')

    def test_who_was_heard_comes_later(self) -> None:
        for host in ('h1', 'h2'):
            with self.pressure.of(host):
                pass
        self.enter('h3')
        self.enter('h4')
        self.refused('h1')
        self.enter('h5')
        self.now += limits.Pressure.RECENT
        self.enter('h1')

    def test_a_challenge_is_not_yet_heard(self) -> None:
        """Its evidence comes at once, and would be refused for it."""
        with self.pressure.of('h1', last=False):
            pass
        for host in ('h2', 'h3', 'h1'):
            self.enter(host)

    def test_the_longer_the_later(self) -> None:
        for number in range(4):
            self.enter(f'h{number}')
        times = [self.refused(f'g{number}') for number in range(400)]
        self.assertEqual(sorted(times), times)
        self.assertEqual((2, 30), (times[0], times[-1]))
        self.stack.close()
        for number in range(400):
            with self.pressure.of(f'i{number}'):
                pass
        for number in range(4):
            self.enter(f'j{number}')
        self.assertEqual(2, self.refused('k'))

    def test_a_place_is_free_after_a_failure(self) -> None:
        for _ in range(9):
            with contextlib.suppress(ZeroDivisionError):
                with self.pressure.of('h1'):
                    raise ZeroDivisionError
        for number in range(4):
            self.enter(f'h{number + 2}')

    def test_any_number(self) -> None:
        pressure = limits.Pressure(0)
        for _ in range(100):
            self.stack.enter_context(pressure.of('h1'))

    def test_what_is_remembered_is_bounded(self) -> None:
        self.pressure.KNOWN = 10  # type: ignore[misc]
        for number in range(100):
            with self.pressure.of(f'h{number}'):
                pass
        self.assertEqual(10, len(self.pressure._heard))
