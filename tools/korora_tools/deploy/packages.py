# SPDX-License-Identifier: Apache-2.0
"""The Debian packages of HEAD, built on a bare system and kept.

Only what is committed counts. ``git clone`` is needed as pbr asks git which
files belong to the project.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import subprocess
from dataclasses import dataclass

from korora_tools import checkout, ui
from korora_tools.deploy import base
from korora_tools.deploy.machine import Machine, Network, layer
from korora_tools.fresh import root

ADDRESS = '127.0.79.2'
KEPT = 2
"""Of how many trees the packages are kept."""
NAMES = ('korora-agent', 'korora-common', 'korora-nova', 'korora-service')
TOOLS = """\
apt-get -q update
apt-get -q install build-essential lintian {}
"""
_SOURCE = '/srv/korora-nova'
# What is in the packages, or says how they are made.
_PARTS = (
    'debian',
    'etc',
    'korora_nova',
    'korora_tempest_plugin',
    'nova',
    'pyproject.toml',
    'README.rst',
    'requirements.txt',
    'setup.cfg',
    'setup.py',
    'tools/korora_tools/constraints.txt',
)


_RENEW = """\
set -e
mkdir {new}
cd {new}
for deb in {old}/*.deb; do
    dpkg-deb -R "$deb" tree
    version=$(dpkg-deb -f "$deb" Version)
    sed -i "s/$version/$version+newer/" tree/DEBIAN/control
    [ ! -e tree/etc/korora/agent.conf ] ||
        echo '# a new default' >> tree/etc/korora/agent.conf
    name=$(basename "$deb" | sed s/_/+newer_/2)
    dpkg-deb -Zgzip -z1 -b tree "$name" >/dev/null
    rm -rf tree
done
"""


@dataclass(frozen=True)
class Built:
    """Packages, by name, and what lintian says of them.

    :param lintian: its lines, such as ``E: korora-agent: tag ...``.
    """

    files: dict[str, pathlib.Path]
    lintian: tuple[str, ...]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.lintian if line.startswith('E:')]


def ensure(net: Network) -> Built:
    """Those of HEAD, from an earlier run if there was one.

    :raises Problem: they cannot be built.
    """
    parts = _git('rev-parse', *(f'HEAD:{part}' for part in _PARTS))
    kept = net.where / 'debs'
    made = kept / hashlib.sha256(parts).hexdigest()[:16]
    if not (made / 'lintian.json').exists():
        root.remove(made)
        made.mkdir(parents=True)
        _build(net, made)
        for old in sorted(kept.iterdir(), key=lambda p: p.stat().st_mtime)[
            :-KEPT
        ]:
            root.remove(old)
    return Built(
        {path.name.split('_')[0]: path for path in made.glob('*.deb')},
        tuple(json.loads((made / 'lintian.json').read_text())),
    )


def _git(*arguments: str) -> bytes:
    return subprocess.run(
        ['git', '-C', str(checkout.ROOT), *arguments],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout


def _build(net: Network, made: pathlib.Path) -> None:
    tools = layer(net, 'build-tools', TOOLS.format(' '.join(needed())))
    with Machine(net, 'build', ADDRESS, (tools,)) as machine:
        machine.write('/srv/head', _git('bundle', 'create', '-', 'HEAD'))
        machine.must(f'git clone -q /srv/head {_SOURCE}')
        with ui.step('build: dpkg-buildpackage (minutes)'):
            said = machine.run(f'cd {_SOURCE} && dpkg-buildpackage -b -uc -us')
            (net.where / 'deb.log').write_text(said[1])
            if said[0]:
                raise ui.Problem(
                    'dpkg-buildpackage failed:\n  '
                    + '\n  '.join(said[1].splitlines()[-15:])
                )
        with ui.step('build: lintian'):
            lines = lint(machine)
        for name in machine.must('cd /srv && ls *.deb').split():
            (made / name).write_bytes(machine.read(f'/srv/{name}'))
    (made / 'lintian.json').write_text(json.dumps(lines))


def renew(machine: Machine, old: str, new: str) -> None:
    """Make a release that comes after the one in a directory inside.

    It differs in its version, and in a default of agent.conf.
    """
    machine.must(_RENEW.format(old=old, new=new))


def needed() -> list[str]:
    """Names of the packages in Build-Depends."""
    control = (checkout.ROOT / 'debian/control').read_text()
    block = control.partition('Build-Depends:\n')[2].partition('\nRules')[0]
    names = [line.split()[0].rstrip(',') for line in block.splitlines()]
    return [name.replace('debhelper-compat', 'debhelper') for name in names]


def lint(machine: Machine) -> list[str]:
    """What lintian finds, overridden tags left out.

    :raises Problem: it did not run.
    """
    code, said = machine.run(
        'cd /srv && lintian --allow-root --no-tag-display-limit *.changes'
    )
    lines = [line for line in said.splitlines() if re.match('[EWIP]: ', line)]
    if code not in (0, 2) or (code == 2 and not lines):
        raise ui.Problem('lintian failed: ' + said[-500:])
    return lines


def prepare() -> pathlib.Path:
    """What this needs of the machine; the scratch directory.

    :raises Problem: no root, or apt-get failed.
    """
    from korora_tools import setup

    ui.require_root()
    setup.install(base.TOOLS)
    return base.directory()
