# SPDX-License-Identifier: Apache-2.0
"""Points of fault: nothing while they are off."""

from __future__ import annotations

from unittest import mock

import testtools

from korora_nova import faultpoints


class FaultpointsTest(testtools.TestCase):
    def test_off_is_one_shared_nothing(self) -> None:
        self.assertIsNone(faultpoints.hook)
        with faultpoints.step('v.permit'):
            pass
        self.assertIs(
            faultpoints.step('v.permit'), faultpoints.step('v.start')
        )
        self.assertEqual(7, faultpoints.call('bus.wrap', lambda: 7))

    def test_hook_sees_before_and_after(self) -> None:
        seen: list[object] = []
        with mock.patch.object(
            faultpoints, 'hook', lambda *at: seen.append(at)
        ):
            with faultpoints.step('v.permit'):
                seen.append('commit')
        self.assertEqual(
            [('v.permit', 'before'), 'commit', ('v.permit', 'after')], seen
        )

    def test_no_after_of_what_failed(self) -> None:
        seen = []

        def fail() -> None:
            with faultpoints.step('v.permit'):
                raise OSError

        with mock.patch.object(
            faultpoints, 'hook', lambda *at: seen.append(at)
        ):
            self.assertRaises(OSError, fail)
        self.assertEqual([('v.permit', 'before')], seen)

    def test_call_is_made_again(self) -> None:
        answers = iter((1, 2))
        with mock.patch.object(
            faultpoints,
            'hook',
            lambda _name, moment: moment == faultpoints.AGAIN,
        ):
            answer = faultpoints.call('bus.wrap', lambda: next(answers))
        self.assertEqual(2, answer)
