# SPDX-License-Identifier: Apache-2.0
"""The panel in a real Horizon, looked at with a real browser.

Horizon and the panel as it is packaged are installed in an environment of
their own. Its views are tested against the service in one process; then
Horizon is served with DEBUG off, with a real Keystone and a real service, and
Chromium goes through its pages and takes the pictures of the documents.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import tempfile
from typing import Any

from korora_tools import ui
from korora_tools.prove.ecosystem import stage

ABOUT = "the panel of Horizon, in Debian's Chromium"
#: What must be there at least.
PAGES, BROWSER_TESTS = 5, 12

_TESTS = 'tests/horizon'


def run() -> stage.Outcome:
    """See the package."""
    # Only the virtual environment has what these import.
    from korora_tools.horizon import environment, messages, pages

    python = environment.ensure()
    report: dict[str, Any] = {'pages': pages.count(), **messages.check(python)}
    with tempfile.TemporaryDirectory(prefix='korora-horizon-') as scratch:
        into = pathlib.Path(scratch)
        with ui.step('tests of views'):
            views = environment.tests(
                python,
                f'{_TESTS}/views',
                into,
                DJANGO_SETTINGS_MODULE='tests.horizon.settings',
            )
        browser = _browse(python, into)
    report |= {
        'view_tests': views['n'],
        'browser_tests': browser['n'],
        'failed': views['failed'] + browser['failed'],
        'screenshots': pages.screenshots(),
    }
    wrong = [
        *views['wrong'],
        *browser['wrong'],
        *report.pop('untranslated'),
        *stage.too_few(report, pages=PAGES, browser_tests=BROWSER_TESTS),
    ]
    if not report['screenshots']:
        wrong.append('There is no screenshot.')
    return stage.Outcome(report, wrong)


def _browse(python: pathlib.Path, into: pathlib.Path) -> dict[str, Any]:
    from korora_tools.fleet import whole
    from korora_tools.horizon import environment, serving, world

    with contextlib.ExitStack() as life:
        life.enter_context(whole.quietly())
        made = world.World(life)
        facts = made.facts()
        horizon = serving.Horizon(
            made.scratch,
            python,
            keystone=facts.keystone,
            memcached=facts.memcached,
            keys=facts.keys,
        )
        horizon.process.wait()
        path = into / 'panel.json'
        path.write_text(
            json.dumps({**dataclasses.asdict(facts), 'url': horizon.url})
        )
        with ui.step('tests in the browser'):
            return environment.tests(
                python, f'{_TESTS}/browser', into, KORORA_PANEL=str(path)
            )
