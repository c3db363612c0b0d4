# SPDX-License-Identifier: Apache-2.0
"""Run a command of tools/ with this Python: ``launch.py demo --help``."""

import importlib
import pathlib
import sys

TOOLS = pathlib.Path(__file__).resolve().parent
PACKAGES = {'vectors': 'vectorlib'}

if __name__ == '__main__':
    _, name, *arguments = sys.argv
    sys.argv = [f'tools/{name}', *arguments]
    if name == 'bench':
        # It uses a simulated TPM of the tests.
        sys.path.insert(1, str(TOOLS.parent))
    package = PACKAGES.get(name, name + 'lib')
    sys.exit(importlib.import_module(package + '.cli').main())
