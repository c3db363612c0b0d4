# SPDX-License-Identifier: Apache-2.0
"""A virtual environment for one tool, beside that of the project."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence

from korora_tools import setup, ui


def ensure(
    directory: pathlib.Path,
    requirements: pathlib.Path,
    constraints: pathlib.Path | None = None,
    options: Sequence[str] = (),
) -> pathlib.Path:
    """Make it; cheap when it is there.

    :param options: more arguments of pip install.
    :returns: its Python.
    :raises Problem: pip failed.
    """
    python, stamp = directory / 'bin' / 'python', directory / 'installed'
    lists = ['-r', str(requirements)]
    if constraints is not None:
        lists += ['-c', str(constraints)]
    # An environment cannot be moved, and breaks when Python changes.
    digest = hashlib.sha256(
        '\0'.join([sys.version, str(directory), *options]).encode()
    )
    for path in filter(None, (requirements, constraints)):
        digest.update(path.read_bytes())
    want = digest.hexdigest()
    with setup.exclusive():
        if stamp.exists() and stamp.read_text() == want:
            return python
        with ui.step(f'virtual environment {directory}'):
            shutil.rmtree(directory, ignore_errors=True)
            venv.create(directory, with_pip=True)
            install(python, *options, *lists)
            stamp.write_text(want)
    return python


def share(python: pathlib.Path) -> None:
    """Let an environment see what this one has, after what is its own."""
    here = sysconfig.get_path('purelib')
    for site in python.parents[1].glob('lib/python*/site-packages'):
        (site / 'project.pth').write_text(f'{here}\n')


def install(python: pathlib.Path, *arguments: str) -> None:
    """Install into an environment.

    :raises Problem: pip failed.
    """
    done = subprocess.run(
        [
            str(python),
            '-m',
            'pip',
            'install',
            '-q',
            '--disable-pip-version-check',
            *arguments,
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=setup.pip_environment(),
    )
    if done.returncode:
        lines = [
            f'pip install {" ".join(arguments)} failed:',
            *done.stderr.splitlines()[-12:],
        ]
        raise ui.Problem('\n  '.join(lines))
