# SPDX-License-Identifier: Apache-2.0
"""Debian packages that the tools need: installed, recorded, removed again.

What is installed starts no service, neither now nor at the next boot; the
tools run their own. A record of this machine says which packages came with
it, so that `remove` leaves alone what was there before or is needed by
something that came later.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from korora_tools import ui

RECORD = pathlib.Path('/var/lib/korora-setup.json')
POLICY = pathlib.Path('/usr/sbin/policy-rc.d')
UNITS = pathlib.Path('/etc/systemd/system')
SCRIPTS = pathlib.Path('/etc')
DATABASES = pathlib.Path('/var/lib/mysql')
BOOTED = pathlib.Path('/run/systemd/system')
"""There if systemd is what this machine was booted with."""
# Lists of packages and their downloads are not kept for our sake.
_APT = (
    'apt-get',
    '-o',
    'DPkg::Lock::Timeout=300',
    '-o',
    'APT::Keep-Downloaded-Packages=false',
)


def install(names: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Install what is missing; cheap when nothing is.

    :param optional: installed only where the release has them.
    :raises Problem: there is no apt-get, or it cannot install them.
    """
    if not shutil.which('apt-get') or not shutil.which('dpkg-query'):
        raise ui.Problem(
            'this set-up needs apt-get; README.rst says on which releases '
            'the tools run'
        )
    _finish()
    absent = missing(names)
    if not absent:
        return
    try:
        with ui.step('apt-get update'):
            _apt('update', '-q')
    except ui.Problem as exc:
        # One broken source of many is no reason to give up.
        ui.note(f'{exc}\ngoing on with the lists of packages at hand')
    available = _available([*absent, *missing(optional)])
    if unknown := sorted(set(absent) - available):
        raise ui.Problem(
            'apt-get has no package '
            + ', '.join(unknown)
            + ' on this machine; check its package sources '
            '(README.rst says on which releases the tools run)'
        )
    wanted = ['--no-install-recommends', *sorted(available)]
    simulation = _apt('install', '-s', *wanted)
    if conflicts := _removals(simulation):
        raise ui.Problem(
            'what is to be installed conflicts with what is there: '
            + ', '.join(sorted(conflicts))
            + '; remove that first, or use another machine'
        )
    new = planned(simulation)
    with ui.step(f'install {len(new)} Debian packages'):
        # Before, so that an interrupted installation is known, too.
        _record(
            packages=sorted({*_recorded('packages'), *new}),
            links=sorted(links()),
        )
        with _no_services():
            _apt('install', '-y', '-q', *wanted)
    _finish()


def missing(names: Sequence[str]) -> list[str]:
    """Those that are not installed."""
    have = _installed(names)
    return [name for name in names if name not in have]


def planned(simulation: str) -> list[str]:
    """Packages that a simulated installation would add, not upgrade.

    >>> planned('Inst new (1 Debian:12)\\nInst old [1] (2 Debian:12)\\n')
    ['new']
    """
    words = (line.split() for line in simulation.splitlines())
    return [
        found[1]
        for found in words
        if len(found) > 2 and found[0] == 'Inst' and found[2][0] == '('
    ]


def _installed(names: Sequence[str]) -> set[str]:
    out = subprocess.run(
        [
            'dpkg-query',
            '-W',
            '-f',
            '${binary:Package} ${db:Status-Abbrev}\n',
            *names,
        ],
        capture_output=True,
        text=True,
    ).stdout
    pairs = (line.split()[:2] for line in out.splitlines())
    return {name.split(':')[0] for name, state in pairs if state == 'ii'}


def _available(names: Sequence[str]) -> set[str]:
    """Those names for which apt knows a version to install."""
    out = subprocess.run(
        ['apt-cache', 'policy', *names],
        capture_output=True,
        text=True,
        env={**os.environ, 'LC_ALL': 'C'},
    ).stdout
    found, name = set(), ''
    for line in out.splitlines():
        if not line.startswith(' '):
            name = line.rstrip(':')
        elif 'Candidate:' in line and '(none)' not in line:
            found.add(name)
    return found


def _apt(*arguments: str) -> str:
    done = subprocess.run(
        [*_APT, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, 'DEBIAN_FRONTEND': 'noninteractive', 'LC_ALL': 'C'},
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-12:]
        raise ui.Problem(
            'apt-get {} failed:\n  {}'.format(arguments[0], '\n  '.join(lines))
        )
    return done.stdout


# -- the record -----------------------------------------------------------


def _read() -> dict[str, Any]:
    try:
        return json.loads(RECORD.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _recorded(what: str) -> list[str]:
    found: list[str] = _read().get(what, [])
    return found


def _record(**values: Sequence[str] | None) -> None:
    kept = {k: v for k, v in {**_read(), **values}.items() if v is not None}
    new = RECORD.with_suffix('.new')
    new.write_text(json.dumps(kept, indent=1) + '\n')
    new.rename(RECORD)


# -- services -------------------------------------------------------------


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


def links() -> set[str]:
    """The links by which services start at boot: systemd's and SysV's."""
    found = [*UNITS.rglob('*'), *SCRIPTS.glob('rc[2345].d/S*')]
    return {str(path) for path in found if path.is_symlink()}


def _finish() -> None:
    """Disable what the recorded installation has enabled."""
    if 'links' not in _read():
        return
    disable(links() - set(_recorded('links')), _files(_recorded('packages')))
    _record(links=None)


def disable(new: Iterable[str], files: Iterable[str]) -> None:
    """Remove those links that lead to a unit or init script in `files`.

    Not by ``systemctl disable``: a bare system may have none, and it would
    take along what ``Also=`` names, whoever enabled that. dpkg takes a unit
    without its link for one that was disabled, and leaves it so.
    """
    owned = {
        pathlib.PurePath(path).name
        for path in files
        if '/systemd/system/' in path or path.startswith('/etc/init.d/')
    }
    for path in map(pathlib.Path, new):
        if not {path.name, path.readlink().name} & owned:
            continue
        if path.parent.name.startswith('rc'):
            # As update-rc.d does: without any link it would make new ones.
            path.rename(path.with_name('K' + path.name[1:]))
        else:
            path.unlink()


def _files(packages: Sequence[str]) -> list[str]:
    """What belongs to packages, but those of systemd itself."""
    names = [p for p in packages if not p.startswith('systemd')]
    if not names:
        return []
    return subprocess.run(
        ['dpkg-query', '-L', *names],
        capture_output=True,
        text=True,
    ).stdout.splitlines()


# -- removal --------------------------------------------------------------


def remove() -> list[str]:
    """Purge what `install` has installed.

    :returns: packages that stay, since others by now need them.
    :raises Problem: apt-get cannot purge them.
    """
    ours = set(_recorded('packages'))
    going = _known(ours)
    kept: set[str] = set()
    if BOOTED.is_dir():
        kept = going & {'systemd-sysv', *_needs(['systemd-sysv'])}
        going -= kept
    while going and (others := _removed(going) - ours):
        needed = _needs(others) & going
        if not needed:
            raise ui.Problem(
                'apt-get would remove, too, what was not installed here: '
                + ', '.join(sorted(others))
            )
        going -= needed
        kept |= needed
    if going:
        with ui.step(f'remove {len(going)} Debian packages'):
            # On a system that came without an init, systemd is one of ours.
            _apt(
                'purge', '-y', '-q', '--allow-remove-essential', *sorted(going)
            )
            if 'mariadb-server' in going:
                _remove_empty_database()
    RECORD.unlink(missing_ok=True)
    return sorted(kept)


def _remove_empty_database() -> None:
    """What MariaDB's package makes and keeps, unless somebody used it."""
    inside = {path.name for path in DATABASES.glob('*') if path.is_dir()}
    if inside <= {'mysql', 'performance_schema', 'sys'}:
        shutil.rmtree(DATABASES, ignore_errors=True)


def _known(names: set[str]) -> set[str]:
    """Those of which dpkg has anything left."""
    if not names:
        return set()  # dpkg-query would list all there are
    out = subprocess.run(
        ['dpkg-query', '-W', '-f', '${Package} ${db:Status-Status}\n', *names],
        capture_output=True,
        text=True,
    ).stdout
    pairs = (line.split() for line in out.splitlines())
    return {name for name, state in pairs if state != 'not-installed'}


def _removed(names: Iterable[str]) -> set[str]:
    return _removals(_apt('purge', '-s', *sorted(names)))


def _removals(simulation: str) -> set[str]:
    words = (line.split() for line in simulation.splitlines())
    return {w[1] for w in words if w and w[0] in ('Remv', 'Purg')}


def _needs(names: Iterable[str]) -> set[str]:
    """All that these depend on, however indirectly."""
    out = subprocess.run(
        [
            'apt-cache',
            'depends',
            '--recurse',
            '--installed',
            '--no-recommends',
            '--no-suggests',
            '--no-conflicts',
            '--no-breaks',
            '--no-replaces',
            '--no-enhances',
            *sorted(names),
        ],
        capture_output=True,
        text=True,
    ).stdout
    return {
        line.split()[-1].split(':')[0] for line in out.splitlines() if line
    }
