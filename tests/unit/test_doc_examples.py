# SPDX-License-Identifier: Apache-2.0
import doctest
import os
import pathlib
import unittest

ROOT = pathlib.Path(__file__).parents[2]
APPRAISAL = ROOT / 'doc' / 'source' / 'contributor' / 'appraisal.rst'
OPERATIONS = ROOT / 'doc' / 'source' / 'admin' / 'operations.rst'


class DocExamplesTest(unittest.TestCase):
    def test_appraisal(self):
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(ROOT)
        result = doctest.testfile(str(APPRAISAL), module_relative=False)
        self.assertEqual(0, result.failed)
        self.assertGreater(result.attempted, 20)

    def test_servers_that_did_not_start_at_boot(self):
        """L7: the guide started servers in ERROR; mended."""
        text = OPERATIONS.read_text(encoding='utf-8')
        _, _, section = text.partition('\nReboot a host\n')
        section, _, _ = section.partition('\nChange a policy\n')
        self.assertIn('ERROR', section)
        self.assertIn('--hard', section)
