# SPDX-License-Identifier: Apache-2.0
"""Nova's own tests of the libvirt driver pass on ours (about 30 s)."""

import json
import subprocess
import sys

import testtools


class TestNovaDriverSuite(testtools.TestCase):
    def test_relevant_part(self):
        done = subprocess.run(
            [sys.executable, '-m', 'tests.functional.nova.suite'],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        summary = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual([], summary['bad'], done.stderr[-20000:])
        self.assertEqual('KororaLibvirtDriver', summary['class'])
        self.assertGreater(summary['ran'], 300)
        self.assertEqual(0, done.returncode)
