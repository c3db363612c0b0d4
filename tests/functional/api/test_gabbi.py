# SPDX-License-Identifier: Apache-2.0
"""The life of a host, a policy and a hand-over, in YAML: see gabbits/."""

import ddt
import testtools

from tests.support import gabbits


@ddt.ddt
class TestGabbi(testtools.TestCase):
    @ddt.data(*gabbits.names())
    def test_life(self, name):
        result = gabbits.run(name)
        for test, text in [*result.failures, *result.errors]:
            self.fail(f'{test}\n{text}')
        self.assertEqual(gabbits.count(name), result.testsRun)

    def test_there_are_enough(self):
        self.assertLessEqual(40, sum(map(gabbits.count, gabbits.names())))
