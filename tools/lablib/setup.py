# SPDX-License-Identifier: Apache-2.0
"""Set-up shared by tools/lab, tools/demo and tools/test.

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

from lablib import paths, ui

HERE = pathlib.Path(__file__).resolve().parent
STAMP = paths.VENV / 'lab-setup.json'
LOG = paths.VENV / 'lab-setup.log'

PACKAGES = (
    'ca-certificates', 'git', 'gcc', 'pkg-config', 'python3-dev',
    'python3-venv', 'iproute2', 'util-linux', 'tcpdump', 'tcpflow',
    'mariadb-server',
    'rabbitmq-server', 'memcached', 'libvirt-daemon-system',
    'libvirt-clients', 'libvirt-dev', 'qemu-system-x86', 'qemu-utils',
    'swtpm', 'swtpm-tools', 'tpm2-tools', 'libtss2-dev', 'busybox-static',
)
# Split out of the packages above in newer releases only.
OPTIONAL = ('libvirt-daemon-driver-qemu', 'libvirt-daemon-log')

POLICY = pathlib.Path('/usr/sbin/policy-rc.d')


def ensure() -> None:
    """Make the machine ready; cheap when it is. Raises LabError."""
    ui.require_root()
    if not shutil.which('apt-get') or not shutil.which('dpkg-query'):
        raise ui.LabError(
            'this set-up needs Debian or Ubuntu (no apt-get here)'
        )
    _packages()
    with open('/run/korora-lab-setup.lock', 'w') as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _environment()
        _project()


# -- Debian packages ------------------------------------------------------

def _installed(names: Sequence[str]) -> set[str]:
    out = subprocess.run(
        ['dpkg-query', '-W', '-f', '${binary:Package} ${db:Status-Abbrev}\n',
         *names], capture_output=True, text=True,
    ).stdout
    pairs = (line.split()[:2] for line in out.splitlines())
    return {name.split(':')[0] for name, state in pairs if state == 'ii'}


def _available(names: Sequence[str]) -> set[str]:
    """Those names for which apt knows a version to install."""
    out = subprocess.run(
        ['apt-cache', 'policy', *names], capture_output=True, text=True,
        env={**os.environ, 'LC_ALL': 'C'},
    ).stdout
    found, name = set(), ''
    for line in out.splitlines():
        if not line.startswith(' '):
            name = line.rstrip(':')
        elif 'Candidate:' in line and '(none)' not in line:
            found.add(name)
    return found


def _packages() -> None:
    missing = [p for p in PACKAGES if p not in _installed(PACKAGES)]
    if not missing:
        return
    try:
        with ui.step('apt-get update'):
            _apt('update', '-q')
    except ui.LabError as error:
        # One broken source of many is no reason to give up.
        ui.note(f'{error}\ngoing on with the lists of packages at hand')
    wanted = missing + [p for p in OPTIONAL if p not in _installed(OPTIONAL)]
    available = _available(wanted)
    if absent := sorted(set(missing) - available):
        raise ui.LabError(
            'apt-get has no package ' + ', '.join(absent)
            + ' on this machine; check its package sources '
            '(supported: Debian 12, Debian 13, Ubuntu 24.04)'
        )
    wanted = [p for p in wanted if p in available]
    with ui.step('install Debian packages: ' + ' '.join(wanted)):
        with _no_services():
            _apt('install', '-y', '-q', '--no-install-recommends', *wanted)


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ['apt-get', '-o', 'DPkg::Lock::Timeout=300', *arguments],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'},
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-12:]
        raise ui.LabError(
            'apt-get {} failed:\n  {}'.format(arguments[0], '\n  '.join(lines))
        )


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Keep dpkg from starting daemons on the machine itself."""
    ours = "#!/bin/sh\n# Korora's lab, during its set-up\nexit 101\n"
    if POLICY.exists() and POLICY.read_text() != ours:
        yield
        return
    POLICY.write_text(ours)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


# -- Python ---------------------------------------------------------------

def _stamp() -> dict[str, str]:
    try:
        return json.loads(STAMP.read_text())  # type: ignore[no-any-return]
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
    lists = [HERE / 'requirements.txt', HERE / 'constraints.txt']
    # A venv cannot be moved, and breaks when the system's Python changes.
    want = _digest(lists, sys.version, str(paths.VENV))
    if _stamp().get('environment') == want:
        return
    with ui.step(f'virtual environment {paths.VENV} (a minute or two)'):
        if _stamp().get('environment') or not (paths.BIN / 'pip').exists():
            shutil.rmtree(paths.VENV, ignore_errors=True)
            venv.create(paths.VENV, with_pip=True)
        _pip('-c', str(lists[1]), '-r', str(lists[0]))
        _set_stamp(environment=want)


def _sources() -> list[pathlib.Path]:
    top = [
        paths.CHECKOUT / name
        for name in ('setup.cfg', 'setup.py', 'pyproject.toml')
    ]
    trees = [paths.CHECKOUT / 'korora_nova', paths.CHECKOUT / 'nova']
    inside = [
        path for tree in trees for path in sorted(tree.rglob('*'))
        if path.is_file() and '__pycache__' not in path.parts
    ]
    return [path for path in top if path.exists()] + inside


def _project() -> None:
    want = _digest(_sources())
    if _stamp().get('project') == want:
        return
    with ui.step('install korora-nova into the virtual environment'):
        # setuptools would put modules since deleted into the wheel again.
        shutil.rmtree(paths.CHECKOUT / 'build' / 'lib', ignore_errors=True)
        _pip(
            '--no-deps', '--no-build-isolation', '--force-reinstall',
            str(paths.CHECKOUT),
        )
        _set_stamp(project=want)


def _pip(*arguments: str) -> None:
    env = {
        **os.environ,
        'SKIP_GENERATE_AUTHORS': '1', 'SKIP_WRITE_GIT_CHANGELOG': '1',
    }
    if subprocess.run(
        ['git', '-C', str(paths.CHECKOUT), 'rev-parse', 'HEAD'],
        capture_output=True,
    ).returncode:
        env['PBR_VERSION'] = '0.0.0'
    with open(LOG, 'a') as log:
        process = subprocess.Popen(
            [str(paths.BIN / 'python'), '-m', 'pip', 'install', '-q',
             '--disable-pip-version-check', *arguments],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
            cwd=paths.CHECKOUT,
        )
        try:
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    if code:
        lines = [
            line for line in LOG.read_text().splitlines()
            if not line.startswith('WARNING')
        ]
        raise ui.LabError(
            f'pip install failed ({LOG}):\n  ' + '\n  '.join(lines[-12:])
        )
