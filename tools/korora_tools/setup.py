# SPDX-License-Identifier: Apache-2.0
"""The set-up that the commands share.

Debian packages by apt-get, a virtual environment in the checkout with
pinned versions, and this project installed into it as a normal wheel (an
editable install would not merge nova/virt/korora into Nova's package).
Every part is skipped when it has been done already.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from typing import NoReturn

from korora_tools import checkout, packages, ui
from korora_tools.lab import paths

HERE = pathlib.Path(__file__).resolve().parent
STAMP = checkout.VENV / 'lab-setup.json'
LOG = checkout.VENV / 'lab-setup.log'
LOCK = pathlib.Path('/run/korora-lab-setup.lock')
# What the tools make, beside a lab's own directory.
LEFT = (
    *(
        checkout.ROOT / name
        for name in (
            '.venv',
            '.venv-keylime',
            '.venv-keylime-services',
            '.venv-horizon',
            '.fuzz',
            'build',
            'korora_nova.egg-info',
            '.mypy_cache',
            '.ruff_cache',
            '.hypothesis',
            'doc/build',
            'api-ref/build',
        )
    ),
    pathlib.Path('/var/tmp/korora-deploy'),
    pathlib.Path('/var/tmp/korora-fresh'),
    pathlib.Path('/var/tmp/korora-vectors'),
)

PACKAGES = (
    'ca-certificates',
    'git',
    'gcc',
    'pkg-config',
    'python3-dev',
    'python3-venv',
    'iproute2',
    'openssh-server',
    'util-linux',
    'tcpdump',
    'tcpflow',
    'mariadb-server',
    'galera-4',
    'rsync',
    'haproxy',
    'postgresql',
    'rabbitmq-server',
    'memcached',
    'etcd-server',
    'libvirt-daemon-system',
    'libvirt-clients',
    'libvirt-dev',
    'qemu-system-x86',
    'qemu-utils',
    'ovmf',
    'dosfstools',
    'mtools',
    'swtpm',
    'swtpm-tools',
    'tpm2-tools',
    'softhsm2',
    'libtss2-dev',
    'libmariadb-dev',
    'busybox-static',
)
# Split out of the packages above in newer releases only.
OPTIONAL = ('libvirt-daemon-driver-qemu', 'libvirt-daemon-log')


def ensure() -> None:
    """Make the machine ready; cheap when it is.

    :raises Problem: apt-get or pip failed.
    """
    ui.require_root()
    with exclusive():
        packages.install(PACKAGES, OPTIONAL)
        _environment()
        _project()


def install(names: Sequence[str]) -> None:
    """Only packages, for a tool that needs no more.

    :raises Problem: apt-get failed.
    """
    ui.require_root()
    if packages.missing(names):
        with exclusive():
            packages.install(names)


def again_in_the_venv(command: str) -> NoReturn:
    """Replace this process by one that can import the project."""
    python = str(checkout.BIN / 'python')
    sys.stdout.flush()
    os.execv(
        python,
        [
            python,
            str(checkout.ROOT / 'tools/launch.py'),
            command,
            '--no-setup',
            *sys.argv[1:],
        ],
    )


def undo(lab: paths.Lab) -> None:
    """Remove all that `ensure` and its callers have left.

    :param lab: one that is down.
    :raises Problem: apt-get cannot remove packages.
    """
    with exclusive():
        for path in (*LEFT, lab.cache):
            if path.exists():
                with ui.step(f'remove {path}'):
                    shutil.rmtree(path)
        with contextlib.suppress(OSError):
            lab.root.rmdir()  # not there, or holds what is not ours
        if kept := packages.remove():
            ui.note(
                'kept, since packages that came later need them: '
                + ', '.join(kept)
            )
    LOCK.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Whoever sets something up waits until nobody else does."""
    with LOCK.open('w') as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# -- Python ---------------------------------------------------------------


def _stamp() -> dict[str, str]:
    try:
        return json.loads(STAMP.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _set_stamp(**values: str) -> None:
    STAMP.write_text(json.dumps({**_stamp(), **values}))


def _digest(files: Sequence[pathlib.Path], *words: str) -> str:
    digest = hashlib.sha256('\0'.join(words).encode())
    for path in files:
        digest.update(b'%s\0' % str(path).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _environment() -> None:
    lists = [HERE / 'requirements.txt', checkout.CONSTRAINTS]
    # A venv cannot be moved, and breaks when the system's Python changes.
    want = _digest(lists, sys.version, str(checkout.VENV))
    if _stamp().get('environment') == want:
        return
    with ui.step('virtual environment .venv (a few minutes)'):
        if _stamp().get('environment') or not (checkout.BIN / 'pip').exists():
            shutil.rmtree(checkout.VENV, ignore_errors=True)
            venv.create(checkout.VENV, with_pip=True)
        _pip('-c', str(lists[1]), '-r', str(lists[0]))
        _set_stamp(environment=want)


def _sources() -> list[pathlib.Path]:
    top = [
        checkout.ROOT / name
        for name in ('setup.cfg', 'setup.py', 'pyproject.toml')
    ]
    trees = [checkout.ROOT / 'korora_nova', checkout.ROOT / 'nova']
    inside = [
        path
        for tree in trees
        for path in sorted(tree.rglob('*'))
        if path.is_file() and '__pycache__' not in path.parts
    ]
    return [path for path in top if path.exists()] + inside


def _project() -> None:
    want = _digest(_sources())
    if _stamp().get('project') == want:
        return
    with ui.step('install korora-nova into the virtual environment'):
        # setuptools would put modules since deleted into the wheel again.
        shutil.rmtree(checkout.ROOT / 'build' / 'lib', ignore_errors=True)
        _pip(
            '--no-deps',
            '--no-build-isolation',
            '--force-reinstall',
            str(checkout.ROOT),
        )
        _set_stamp(project=want)


def pip_environment() -> dict[str, str]:
    """The caller's, with a cache of our own, which `undo` removes."""
    cache = paths.Lab.default().cache / 'pip'
    return {'PIP_CACHE_DIR': str(cache), **os.environ}


def _pip(*arguments: str) -> None:
    env = {
        **pip_environment(),
        'SKIP_GENERATE_AUTHORS': '1',
        'SKIP_WRITE_GIT_CHANGELOG': '1',
    }
    if subprocess.run(
        ['git', '-C', str(checkout.ROOT), 'rev-parse', 'HEAD'],
        capture_output=True,
    ).returncode:
        env['PBR_VERSION'] = '0.0.0'
    with open(LOG, 'a') as log:
        process = subprocess.Popen(
            [
                str(checkout.BIN / 'python'),
                '-m',
                'pip',
                'install',
                '-q',
                '--disable-pip-version-check',
                *arguments,
            ],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=env,
            cwd=checkout.ROOT,
        )
        try:
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    if code:
        lines = [
            line
            for line in LOG.read_text().splitlines()
            if not line.startswith('WARNING')
        ]
        raise ui.Problem(
            f'pip install failed ({LOG}):\n  ' + '\n  '.join(lines[-12:])
        )
