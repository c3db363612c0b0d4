# SPDX-License-Identifier: Apache-2.0
"""Atheris in a virtual environment of its own, small and without root."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys
import venv

from lablib import paths, ui

#: The environment, the corpora that runs have found, and what failed.
STATE = paths.CHECKOUT / '.fuzz'
VENV = STATE / 'venv'
PYTHON = VENV / 'bin' / 'python'

_LIST = pathlib.Path(__file__).with_name('requirements.txt')
_PINS = pathlib.Path(paths.__file__).with_name('constraints.txt')
_STAMP = VENV / 'installed'


def ensure() -> None:
    """Make it; cheap when it is there. Raises LabError."""
    digest = hashlib.sha256(f'{sys.version}\0{VENV}\0'.encode())
    for path in (_LIST, _PINS):
        digest.update(path.read_bytes())
    want = digest.hexdigest()
    if _STAMP.exists() and _STAMP.read_text() == want:
        return
    with ui.step(f'virtual environment {VENV}'):
        shutil.rmtree(VENV, ignore_errors=True)
        venv.create(VENV, with_pip=True)
        done = subprocess.run(
            [str(PYTHON), '-m', 'pip', 'install', '-q',
             '--disable-pip-version-check', '-c', str(_PINS), '-r',
             str(_LIST)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            lines = done.stderr.splitlines()[-12:]
            raise ui.LabError('pip install of atheris failed:\n  '
                              + '\n  '.join(lines))
        _STAMP.write_text(want)
