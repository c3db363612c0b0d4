# SPDX-License-Identifier: Apache-2.0
"""The service's word on a stream under way."""

import testtools

from korora_nova import errors
from korora_nova.custody.watch import Watched

LOST = Watched.lost('h2', ('PCR_NOT_GOLDEN', 'IMA_UNKNOWN_FILE'))


class TestWatched(testtools.TestCase):
    def test_there_and_back(self) -> None:
        for one in (Watched(), Watched(retry_after=1.5), LOST):
            self.assertEqual(one, Watched.from_json(one.to_json()))

    def test_a_later_service_says_more(self) -> None:
        said = {**LOST.to_json(), 'more': 1}
        self.assertEqual(LOST, Watched.from_json(said))

    def test_what_is_none(self) -> None:
        for name, value in (
            ('reason', None),
            ('reason', 'X' * 65),
            ('host', 1),
            ('reasons', 'X'),
            ('reasons', ['']),
            ('retry_after', -1),
            ('retry_after', 61),
            ('retry_after', True),
        ):
            said = {**LOST.to_json(), name: value}
            error = self.assertRaises(
                errors.Unavailable, Watched.from_json, said
            )
            self.assertEqual('SERVICE_UNAVAILABLE', error.reason)
        for name in LOST.to_json():
            said = LOST.to_json()
            del said[name]
            self.assertRaises(errors.Unavailable, Watched.from_json, said)

    def test_silence(self) -> None:
        for reasons, silent in (
            ((), False),
            (('RESULT_EXPIRED',), True),
            (('RESULT_EXPIRED', 'ENFORCER_ABSENT'), True),
            (('RESULT_EXPIRED', 'PCR_NOT_GOLDEN'), False),
            (('HOST_UNTRUSTED',), False),
        ):
            found = Watched.lost('h2', reasons)
            self.assertIs(silent, found.is_silence, reasons)
            self.assertTrue(found.ends)
        self.assertFalse(Watched().ends)
