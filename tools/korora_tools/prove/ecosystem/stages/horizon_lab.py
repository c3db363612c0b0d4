# SPDX-License-Identifier: Apache-2.0
"""The panel against the lab, at the address that ``lab up --horizon`` prints.

Three hosts with nova-compute and agents, one of them tampered with, and a
protected server that moves from h1 to h2; then Chromium looks at them.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from korora_tools import checkout, ui
from korora_tools.prove.ecosystem import stage

ABOUT = 'the panel in Chromium, against the lab'
#: What must be there at least.
BROWSER_TESTS = 7

_LAB = str(checkout.ROOT / 'tools' / 'lab')


def run() -> stage.Outcome:
    """See the package."""
    # Only the virtual environment has what these import.
    from korora_tools.demo import cli as demo
    from korora_tools.horizon import environment
    from korora_tools.lab import dashboard, paths

    python = environment.ensure()
    with (
        tempfile.TemporaryDirectory(prefix='korora-horizon-') as scratch,
        _lab(),
    ):
        into = pathlib.Path(scratch)
        with ui.step('a protected server moves from h1 to h2'):
            facts = demo.inside('korora_tools.horizon.moved')
        path = into / 'panel.json'
        path.touch(mode=0o600)
        path.write_text(
            json.dumps(
                {
                    **facts,
                    'url': dashboard.URL,
                    'password': paths.Lab.default().password,
                }
            )
        )
        with ui.step('tests in the browser'):
            found = environment.tests(
                python, 'tests/horizon/lab', into, KORORA_PANEL=str(path)
            )
    return outcome(found)


def outcome(found: dict[str, Any]) -> stage.Outcome:
    """Of what the tests say."""
    report = {'browser_tests': found['n'], 'failed': found['failed']}
    return stage.Outcome(
        report,
        [
            *found['wrong'],
            *stage.too_few(report, browser_tests=BROWSER_TESTS),
        ],
    )


@contextlib.contextmanager
def _lab() -> Iterator[None]:
    """One of its own, that is taken down whatever happens."""
    try:
        _run('down')
        _run('up', '--horizon')
        yield
    finally:
        _run('down')


def _run(*arguments: str) -> None:
    if code := subprocess.call([_LAB, *arguments], cwd=checkout.ROOT):
        raise ui.Problem(f'lab {" ".join(arguments)} ended with {code}')
