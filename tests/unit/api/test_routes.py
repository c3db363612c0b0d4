# SPDX-License-Identifier: Apache-2.0
"""Which paths name a thing."""

import testtools

from korora_nova import errors
from korora_nova.api import routes


class TestNames(testtools.TestCase):
    def test_names_that_paths_swallow(self) -> None:
        for bad in ('.', '..', '', 'a' * 256, 'a b', 'a\n', 'a\0', '\xe4'):
            for path in (
                f'/v1/hosts/{bad}',
                f'/v1/hosts/{bad}/approval',
                f'/v1/references/{bad}',
            ):
                raised = self.assertRaises(errors.NotFound, routes.match, path)
                self.assertEqual('NOT_FOUND', raised.reason)

    def test_names(self) -> None:
        for good in ('a', '...', '..a', 'a..', '.a', 'a' * 255, 'a.b-c_d:e'):
            for path in (f'/v1/hosts/{good}', f'/v1/hosts/{good}/approval'):
                self.assertEqual({'host': good}, routes.match(path)[0])
