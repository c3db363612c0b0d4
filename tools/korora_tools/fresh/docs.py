# SPDX-License-Identifier: Apache-2.0
"""``tools/fresh RELEASE docs``: follow the installation guide, literally.

The bare system gets the lab, which is the cloud that the guide takes for
granted; two more bare systems in it, where nothing but the guide's own
commands installs anything, are the nodes that follow the guide.
:mod:`korora_tools.fresh.walk` does it there, up to a running protected server.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

from korora_tools import ui
from korora_tools.fresh import sources, stranger
from korora_tools.fresh.root import Root

NODES = 'srv/nodes'
REPORT = 'srv/report.json'
# Not files of a system, or not yet there on one that is installed.
_NOT_COPIED = frozenset(('srv', 'proc', 'sys', 'dev', 'run', 'tmp'))


def lay_out(bare: Root) -> None:
    """Copy the bare system, before anything is installed on it."""
    with ui.step('two more bare systems'):
        for name in ('controller', 'compute'):
            _copy(bare.path, bare.path / NODES / name)


def _copy(system: pathlib.Path, target: pathlib.Path) -> None:
    target.mkdir(parents=True)
    for entry in sorted(system.iterdir()):
        if entry.name in _NOT_COPIED:
            (target / entry.name).mkdir(mode=entry.stat().st_mode & 0o7777)
            (target / entry.name).chmod(entry.stat().st_mode & 0o7777)
            continue
        done = subprocess.run(
            ['cp', '-a', '--one-file-system', str(entry), str(target)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ui.Problem(f'cannot copy {entry}: {done.stderr.strip()}')


def run(bare: Root, log: pathlib.Path) -> stranger.Outcome:
    """Follow the guide; what is said is shown, and kept in `log`."""
    shown = ' '.join(sources.binds(os.environ))
    with log.open('w') as kept:
        rc, _ = bare.run(
            'PYTHONPATH=tools python3 -m korora_tools.fresh.walk '
            f'--nodes /{NODES} --show {shown} --json /{REPORT}',
            stranger.Tee(kept),
            stranger.CLONE,
        )
    try:
        report = json.loads((bare.path / REPORT).read_text())
    except (FileNotFoundError, ValueError):
        report = {'passed': 0, 'failed': 1, 'versions': {}}
    return stranger.Outcome(
        rc,
        report['passed'],
        report['failed'],
        {**stranger.versions(bare), **report['versions']},
    )
