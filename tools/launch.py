# SPDX-License-Identifier: Apache-2.0
"""Run a command of tools/ with this Python: ``launch.py demo --help``."""

import importlib
import pathlib
import sys

TOOLS = pathlib.Path(__file__).resolve().parent

if __name__ == '__main__':
    _, name, *arguments = sys.argv
    sys.argv = [f'tools/{name}', *arguments]
    if name in ('bench', 'fleet', 'prove', 'vectors'):
        # They use helpers of the tests.
        sys.path.insert(1, str(TOOLS.parent))
    command = importlib.import_module(f'korora_tools.{name}.cli')
    sys.exit(command.main())
