# SPDX-License-Identifier: Apache-2.0
"""Horizon in a virtual environment of its own, with the panel installed.

What is done here by hand is what doc/source/install/horizon.rst says.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from korora_tools import checkout, environment, setup, ui

VENV = checkout.ROOT / '.venv-horizon'
#: What a browser is here, and what drives it.
PACKAGES = ('chromium', 'chromium-driver')
HERE = pathlib.Path(__file__).resolve().parent
#: Files of the panel that Horizon reads -> where it looks for them.
_PLACED = {
    'enabled': 'local/enabled',
    'local_settings.d': 'local/local_settings.d',
}


def ensure(*, browser: bool = True) -> pathlib.Path:
    """Horizon and the panel as this checkout has it.

    :param browser: whether one is wanted as well.
    :returns: the environment's Python.
    :raises Problem: apt-get or pip failed.
    """
    if browser:
        setup.install(PACKAGES)
    python = environment.ensure(
        VENV, HERE / 'requirements.txt', HERE / 'constraints.txt'
    )
    with (
        setup.exclusive(),
        ui.step('install korora-nova beside Horizon'),
    ):
        # setuptools would put modules since deleted into the wheel again.
        shutil.rmtree(checkout.ROOT / 'build' / 'lib', ignore_errors=True)
        environment.install(
            python,
            '--no-deps',
            '--no-build-isolation',
            '--force-reinstall',
            str(checkout.ROOT),
        )
        _place(python)
    return python


def _place(python: pathlib.Path) -> None:
    """Copy the files that enable the panel."""
    site = python.parents[1] / 'lib'
    (packages,) = site.glob('python3.*/site-packages')
    for ours, theirs in _PLACED.items():
        target = packages / 'openstack_dashboard' / theirs
        target.mkdir(exist_ok=True)
        for path in (packages / 'korora_dashboard' / ours).glob('_[0-9]*.py'):
            shutil.copy(path, target)


def run(
    python: pathlib.Path,
    arguments: Sequence[str],
    env: Mapping[str, str],
    cwd: pathlib.Path = checkout.ROOT,
) -> subprocess.CompletedProcess[str]:
    """One command of the environment, whatever comes of it."""
    argv = [str(python), *arguments]
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env={
            'PATH': f'{python.parent}:/usr/sbin:/usr/bin:/sbin:/bin',
            'HOME': os.environ.get('HOME', '/root'),
            'LANG': 'C.UTF-8',
            'PYTHONDONTWRITEBYTECODE': '1',
            'PYTHONWARNINGS': 'ignore',
            **env,
        },
        start_new_session=True,
    )
    try:
        out, err = process.communicate()
    except BaseException:
        # A browser outlives the tests that drive it.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def tests(
    python: pathlib.Path, directory: str, into: pathlib.Path, **env: str
) -> dict[str, Any]:
    """Run those of a directory, to their end; see :mod:`.runner`.

    :param directory: below the checkout. ``into`` is for the report.
    :raises Problem: they did not run.
    """
    report = into / f'{pathlib.Path(directory).name}.json'
    tree = {'PYTHONPATH': f'{checkout.ROOT}:{checkout.ROOT}/tools'}
    done = run(
        python,
        ['-m', 'korora_tools.horizon.runner', directory, str(report)],
        {**tree, **env},
    )
    if not report.exists():
        lines = (done.stdout + done.stderr).splitlines()[-8:]
        raise ui.Problem(f'{directory} did not run:\n  ' + '\n  '.join(lines))
    found: dict[str, Any] = json.loads(report.read_text())
    return found
