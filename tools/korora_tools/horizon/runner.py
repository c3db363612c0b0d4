# SPDX-License-Identifier: Apache-2.0
"""Run the tests of a directory inside Horizon's environment.

``python -m korora_tools.horizon.runner DIRECTORY REPORT`` writes JSON:
``n``, ``failed`` and ``wrong``, the last lines of each failure.
"""

from __future__ import annotations

import json
import pathlib
import sys
import unittest

from korora_tools import checkout

#: Lines of a failure that are told.
_LINES = 4


def main(directory: str, report: str) -> int:
    suite = unittest.defaultTestLoader.discover(
        directory, top_level_dir=str(checkout.ROOT)
    )
    found = unittest.TextTestRunner(verbosity=2).run(suite)
    wrong = [
        f'{test}: ' + ' '.join(text.splitlines()[-_LINES:])
        for test, text in (*found.failures, *found.errors)
    ]
    pathlib.Path(report).write_text(
        json.dumps({'n': found.testsRun, 'failed': len(wrong), 'wrong': wrong})
    )
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
