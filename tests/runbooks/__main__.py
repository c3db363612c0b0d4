# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.runbooks FILE``: run all, write which alerts passed.

An alert has passed if each test whose name begins with ``test_`` and the
alert in lower case has; others of its tests have more after a low line.
"""

import pathlib
import sys
import unittest

from tests import runbooks


def tests(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found: list[unittest.TestCase] = []
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            found += tests(one)
        else:
            found.append(one)
    return found


def alert(test: unittest.TestCase) -> str:
    name = test.id().rpartition('.test_')[2]
    return name.split('_')[0]


def main() -> int:
    folder = str(pathlib.Path(runbooks.__file__).parent)
    suite = unittest.TestLoader().discover(
        folder, top_level_dir=str(pathlib.Path(folder).parents[1])
    )
    every = {alert(one) for one in tests(suite)}
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    bad = {alert(one) for one, _ in (*result.failures, *result.errors)}
    bad |= {alert(one) for one, _ in result.skipped}
    pathlib.Path(sys.argv[1]).write_text('\n'.join(sorted(every - bad)))
    return 0 if result.wasSuccessful() else 1


if __name__ == '__main__':
    sys.exit(main())
