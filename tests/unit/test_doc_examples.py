# SPDX-License-Identifier: Apache-2.0
import doctest
import os
import pathlib
import unittest

ROOT = pathlib.Path(__file__).parents[2]
APPRAISAL = ROOT / 'doc' / 'source' / 'contributor' / 'appraisal.rst'


class DocExamplesTest(unittest.TestCase):

    def test_appraisal(self):
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(ROOT)
        result = doctest.testfile(str(APPRAISAL), module_relative=False)
        self.assertEqual(0, result.failed)
        self.assertGreater(result.attempted, 20)
