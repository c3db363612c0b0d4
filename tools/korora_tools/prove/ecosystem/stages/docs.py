# SPDX-License-Identifier: Apache-2.0
"""The documents are built without a warning, and every runbook was tried.

*Tried* is what ``tests/runbooks`` does for each alert. Its state is brought
about in a real service, agent loop or scheduler filter in memory, with
software TPMs; what is exported then is given to Prometheus's own evaluation
of the rule (promtool), which must fire, and must not before; the commands
that the page names are typed against that service; and what the page says is
done, until the alert is quiet. What only a whole node has (systemd, virsh) is
not tried.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

from korora_tools import checkout, setup, ui
from korora_tools.prove.ecosystem import stage

ABOUT = 'no warning in the documents; each runbook was tried'
RUNBOOKS = 8


def run() -> stage.Outcome:
    from korora_tools.test import documents, suites

    setup.install(('prometheus',))
    report: dict[str, object] = {'warnings': 0}
    wrong = []
    python = documents.ensure()
    documents.clean()
    warnings = 0
    for name, argv in documents.checks(python).items():
        outcome = documents.check(name, argv, suites.environment())
        warnings += outcome.warnings
        if outcome.warnings:
            wrong.append(f'{name}: {outcome.output}')
    report['warnings'] = warnings
    alerts, passed = _runbooks()
    tried = [one for one in alerts if one.lower() in passed]
    report['runbooks'], report['tried'] = len(alerts), len(tried)
    report['not_tried'] = sorted(set(alerts) - set(tried))
    if report['not_tried']:
        wrong.append(f'These runbooks fail: {report["not_tried"]}')
    return stage.Outcome(
        report, [*wrong, *stage.too_few(report, tried=RUNBOOKS)]
    )


def _runbooks() -> tuple[list[str], set[str]]:
    """All alerts, and those, in lower case, whose tests all pass."""
    from tests.support import promtool

    with tempfile.TemporaryDirectory() as scratch:
        log = pathlib.Path(scratch, 'passed')
        with ui.step('runbooks'):
            done = subprocess.run(
                [sys.executable, '-m', 'tests.runbooks', str(log)],
                cwd=checkout.ROOT,
                env={
                    **os.environ,
                    'PYTHONPATH': f'{checkout.ROOT}:{checkout.ROOT}/tools',
                    'PYTHONWARNINGS': 'ignore',
                },
                capture_output=True,
                text=True,
            )
        if not log.exists():
            raise ui.Problem(f'tests.runbooks: {done.stderr[-2000:]}')
        if done.returncode:
            ui.note(done.stderr)
        return list(promtool.rules()), set(log.read_text().split())
