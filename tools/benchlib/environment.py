# SPDX-License-Identifier: Apache-2.0
"""Keylime in a virtual environment of its own.

The wheel of keylime names no dependencies, and its own list is longer than
what appraising an IMA list imports: keylime.txt has that, pinned.
"""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys
import venv

from lablib import paths, ui

PEER = paths.CHECKOUT / '.venv-keylime'
PYTHON = PEER / 'bin' / 'python'

_LIST = pathlib.Path(__file__).with_name('keylime.txt')
_STAMP = PEER / 'installed'


def ensure() -> None:
    """Make it; cheap when it is there. Raises LabError."""
    want = hashlib.sha256(
        f'{sys.version}\0{PEER}\0'.encode() + _LIST.read_bytes()).hexdigest()
    if _STAMP.exists() and _STAMP.read_text() == want:
        return
    with ui.step(f'virtual environment {PEER}'):
        shutil.rmtree(PEER, ignore_errors=True)
        venv.create(PEER, with_pip=True)
        done = subprocess.run(
            [str(PYTHON), '-m', 'pip', 'install', '-q', '--no-deps',
             '--disable-pip-version-check', '-r', str(_LIST)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            lines = done.stderr.splitlines()[-12:]
            raise ui.LabError('pip install of keylime failed:\n  '
                              + '\n  '.join(lines))
        _STAMP.write_text(want)
