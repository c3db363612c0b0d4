# SPDX-License-Identifier: Apache-2.0
"""Git repositories for GIT_BASE, out of a directory of local mirrors."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from korora_tools import checkout, ui
from korora_tools.devstack import paths

NAMES = (
    'devstack',
    'nova',
    'keystone',
    'glance',
    'neutron',
    'placement',
    'requirements',
    'barbican',
    'tempest',
    'os-test-images',
)
DEPTH = 3
# Enough for pbr to find a release's tag.
SINCE = '--shallow-since=2025-09-01'
PLUGIN = 'korora-nova'
PLUGIN_BRANCH = 'tested'
OVS_NETDEV = pathlib.Path(__file__).with_name('ovs-netdev')

HOW_TO = """\
--mirror names a directory with bare clones, for instance
    for n in {names}; do
        git clone --mirror https://opendev.org/openstack/$n DIR/$n.git
    done"""


def find(directory: pathlib.Path) -> dict[str, pathlib.Path]:
    """Repositories below a directory by the last word of their names.

    ``openstack/nova.git``, ``openstack/nova``, ``nova.git`` and
    ``openstack+nova/repo`` are all nova.
    """
    found: dict[str, pathlib.Path] = {}
    for path in _repositories(directory, DEPTH):
        inside = path.relative_to(directory)
        if inside.name in ('repo', '.git') and len(inside.parts) > 1:
            inside = inside.parent
        name = inside.name.rpartition('+')[2].removesuffix('.git')
        found.setdefault(name, path)
    return found


def _repositories(
    directory: pathlib.Path, depth: int
) -> Iterator[pathlib.Path]:
    if (directory / 'HEAD').is_file() and (directory / 'objects').is_dir():
        yield directory
    elif depth and directory.is_dir():
        for path in sorted(directory.iterdir()):
            if path.is_dir() and not path.is_symlink():
                yield from _repositories(path, depth - 1)


def lay_out(
    work: paths.Work, mirror: pathlib.Path, branches: Iterable[str]
) -> None:
    """Make GIT_BASE; what has not changed is left.

    :raises Problem: a repository or its branch is not in the mirror.
    """
    found = find(mirror)
    if missing := sorted(set(NAMES) - set(found)):
        raise ui.Problem(
            f'no mirror of {", ".join(missing)} in {mirror}\n'
            + HOW_TO.format(names=' '.join(missing))
        )
    with ui.step(f'git repositories out of {mirror}'):
        for name, source in sorted(found.items()):
            if chosen := present(source, branches):
                target = work.git / 'openstack' / f'{name}.git'
                _serve(source, target, chosen)
            elif name in NAMES:
                raise ui.Problem(f'{source} has none of its branches')
        _plugin(work.git / f'{PLUGIN}.git')
        _ovs_netdev(work.git / 'ovs-netdev.git')


def _serve(
    source: pathlib.Path, target: pathlib.Path, chosen: Sequence[str]
) -> None:
    """A bare clone of branches, with what is there of their history.

    Mirrors may lack old objects; a clone that leaves out the oldest history
    works all the same.
    """
    heads = git('rev-parse', *chosen, at=source)
    stamp = target / 'korora-served'
    if stamp.exists() and stamp.read_text() == heads:
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    git('init', '-q', '--bare', at=target)
    refs = [f'+{name}:{name}' for name in chosen]
    try:
        git('fetch', '-q', '--tags', f'file://{source}', *refs, at=target)
    except ui.Problem:
        # Without --tags: old ones lead to old objects.
        git('fetch', '-q', SINCE, f'file://{source}', *refs, at=target)
    git('symbolic-ref', 'HEAD', f'refs/heads/{chosen[0]}', at=target)
    stamp.write_text(heads)


def present(source: pathlib.Path, branches: Iterable[str]) -> list[str]:
    """Those of the branches that a repository has, master always first."""
    there = set(
        git(
            'for-each-ref',
            '--format=%(refname:short)',
            'refs/heads',
            at=source,
        ).split()
    )
    return [
        name for name in dict.fromkeys(('master', *branches)) if name in there
    ]


def _plugin(target: pathlib.Path) -> None:
    """HEAD of this checkout: commits count, the work tree does not."""
    shutil.rmtree(target, ignore_errors=True)
    git('clone', '-q', '--bare', str(checkout.ROOT), str(target))
    head = git('rev-parse', 'HEAD', at=checkout.ROOT).strip()
    git('update-ref', f'refs/heads/{PLUGIN_BRANCH}', head, at=target)


def _ovs_netdev(target: pathlib.Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(OVS_NETDEV, target)
    git('init', '-q', '-b', 'master', at=target)
    git('add', '-A', at=target)
    git(
        '-c',
        'user.name=korora',
        '-c',
        'user.email=korora@localhost',
        'commit',
        '-q',
        '-m',
        'User-space datapath',
        at=target,
    )


def git(*arguments: str, at: pathlib.Path | None = None) -> str:
    where = ['-C', str(at)] if at else []
    done = subprocess.run(
        ['git', '-c', 'safe.directory=*', *where, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise ui.Problem(
            f'git {arguments[0]} in {at}: {done.stderr.strip()[-300:]}'
        )
    return done.stdout
