# SPDX-License-Identifier: Apache-2.0
"""Each state of vault, ledger and migration has an exit that works.

tests/functional/api/test_exits.py takes every exit of every state of
korora_nova/custody/exits.py, and counts.
"""

from __future__ import annotations

import json
import subprocess
import sys

from korora_tools import checkout, ui

MODULE = 'tests.functional.api.test_exits'


def run() -> dict[str, int]:
    """The report's part.

    :raises Problem: the test did not say its figures.
    """
    # Only the virtual environment has what this imports.
    from korora_tools.test import suites

    with ui.step('every exit of every state'):
        done = subprocess.run(
            [sys.executable, '-m', MODULE],
            cwd=checkout.ROOT,
            env=suites.environment(),
            capture_output=True,
            text=True,
            errors='replace',
        )
        try:
            found: dict[str, int] = json.loads(done.stdout)
        except ValueError:
            tail = (done.stdout + done.stderr).splitlines()[-15:]
            raise ui.Problem(
                f'{MODULE} failed:\n  ' + '\n  '.join(tail)
            ) from None
    return found
