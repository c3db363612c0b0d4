# SPDX-License-Identifier: Apache-2.0
"""A virtual environment for one tool, beside that of the project."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence

from korora_tools import setup, ui


def ensure(
    directory: pathlib.Path,
    requirements: pathlib.Path,
    constraints: pathlib.Path | None = None,
    options: Sequence[str] = (),
) -> pathlib.Path:
    """Make it; cheap when it is there. Raises Problem.

    :param options: more arguments of pip install.
    :returns: its Python.
    """
    python, stamp = directory / 'bin' / 'python', directory / 'installed'
    lists = [('-r', requirements)]
    if constraints is not None:
        lists.append(('-c', constraints))
    # An environment cannot be moved, and breaks when Python changes.
    digest = hashlib.sha256(
        '\0'.join([sys.version, str(directory), *options]).encode()
    )
    for _, path in lists:
        digest.update(path.read_bytes())
    want = digest.hexdigest()
    if stamp.exists() and stamp.read_text() == want:
        return python
    with ui.step(f'virtual environment {directory}'):
        shutil.rmtree(directory, ignore_errors=True)
        venv.create(directory, with_pip=True)
        done = subprocess.run(
            [
                str(python),
                '-m',
                'pip',
                'install',
                '-q',
                '--disable-pip-version-check',
                *options,
                *(
                    word
                    for option, path in lists
                    for word in (option, str(path))
                ),
            ],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=setup.pip_environment(),
        )
        if done.returncode:
            lines = done.stderr.splitlines()[-12:]
            raise ui.Problem(
                f'pip install of {requirements} failed:\n  '
                + '\n  '.join(lines)
            )
        stamp.write_text(want)
    return python
