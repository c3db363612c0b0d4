# SPDX-License-Identifier: Apache-2.0
"""The last release, as it was: out of this clone's history."""

from __future__ import annotations

import pathlib
import subprocess

from korora_tools import checkout, ui

#: The tag, and what it names: a clone may lack tags.
VERSION = '1.0.0.0rc1'
COMMIT = '71a9f3169a3d9f03a36513b3372df1920f68cc4e'
#: What is run of it. Recorded boots are what its software TPMs have booted.
PARTS = (
    'korora_nova',
    'nova',
    'tools',
    'tests/__init__.py',
    'tests/support',
    'tests/vectors/uefi',
)


def unpack(
    directory: pathlib.Path,
    repository: pathlib.Path = checkout.ROOT,
    commit: str = COMMIT,
) -> pathlib.Path:
    """Write its files below a directory; returns that.

    :raises Problem: the clone does not have it.
    """
    if not _git(repository, 'cat-file', '-e', f'{commit}^{{commit}}'):
        raise ui.Problem(
            f'The commit {commit} of release {VERSION} is not in this clone, '
            'perhaps because it is shallow: git fetch --unshallow'
        )
    done = subprocess.run(
        ['git', '-C', str(repository), 'archive', commit, *PARTS],
        capture_output=True,
    )
    if done.returncode:
        raise ui.Problem(f'git archive: {done.stderr.decode().strip()}')
    directory.mkdir(exist_ok=True)
    subprocess.run(
        ['tar', '-x', '-C', str(directory)], input=done.stdout, check=True
    )
    return directory


def _git(repository: pathlib.Path, *argv: str) -> bool:
    return not subprocess.run(
        ['git', '-C', str(repository), *argv], capture_output=True
    ).returncode


def path_of(tree: pathlib.Path) -> str:
    """PYTHONPATH of a tree's code and tools."""
    return f'{tree}:{tree / "tools"}'
