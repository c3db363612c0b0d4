# SPDX-License-Identifier: Apache-2.0
"""The life of a host, a policy and a hand-over, in YAML: see gabbits/."""

import testtools

from tests.support import gabbits


class TestGabbi(testtools.TestCase):
    def life(self, name):
        result = gabbits.run(name)
        for test, text in [*result.failures, *result.errors]:
            self.fail(f'{test}\n{text}')
        self.assertEqual(gabbits.count(name), result.testsRun)

    def test_host(self):
        self.life('host')

    def test_policy(self):
        self.life('policy')

    def test_migration(self):
        self.life('migration')

    def test_there_are_enough_and_each_is_run(self):
        self.assertEqual(['host', 'migration', 'policy'], gabbits.names())
        self.assertLessEqual(40, sum(map(gabbits.count, gabbits.names())))
