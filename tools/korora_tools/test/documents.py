# SPDX-License-Identifier: Apache-2.0
"""The documents, built as they are published; a warning is a failure.

Sphinx and its like are in an environment of their own: nothing that runs
needs them. What they write tables out of is in the project's.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from korora_tools import checkout, environment

ROOT = checkout.ROOT
DOC = ROOT / 'doc'
#: What doc8 reads.
TEXTS = (
    'doc/source',
    'doc/adr',
    'api-ref/source',
    'README.rst',
    'CONTRIBUTING.rst',
    'HACKING.rst',
)
_WARNING = re.compile(r'(?:WARNING|ERROR|CRITICAL):')


@dataclass(frozen=True)
class Site:
    """One run of Sphinx.

    :param source: directory; ``builder`` what is made of it.
    """

    name: str
    source: str
    builder: str

    @property
    def output(self) -> pathlib.Path:
        """Where it goes; Sphinx keeps what it has read beside it."""
        return ROOT / pathlib.Path(self.source).parent / 'build' / self.builder

    def argv(self, python: pathlib.Path) -> list[str]:
        """Every page is read anew by the first of a source."""
        return [
            str(python),
            '-m',
            'sphinx',
            '-W',
            '--keep-going',
            '-q',
            '-b',
            self.builder,
            '-d',
            str(self.output.with_name('doctrees')),
            str(ROOT / self.source),
            str(self.output),
        ]


SITES = (
    Site('docs', 'doc/source', 'html'),
    Site('docs man', 'doc/source', 'man'),
    Site('docs api-ref', 'api-ref/source', 'html'),
)


@dataclass(frozen=True)
class Outcome:
    """What came of one check.

    :param warnings: lines that are one; a run that failed without any
        counts as one.
    """

    name: str
    warnings: int
    output: str


def ensure() -> pathlib.Path:
    """The Python that has Sphinx, and sees what this one has."""
    if pathlib.Path(sys.executable).parent != checkout.BIN:
        return pathlib.Path(sys.executable)  # tox has made one already
    python = environment.ensure(
        checkout.VENV / 'docs',
        DOC / 'requirements.txt',
        DOC / 'constraints.txt',
    )
    environment.share(python)
    return python


def checks(python: pathlib.Path) -> dict[str, list[str]]:
    """Name -> command, in the order in which they are run."""
    return {
        **{site.name: site.argv(python) for site in SITES},
        'doc8': [str(python), '-m', 'doc8', '--quiet', *TEXTS],
        'reno lint': [str(python.with_name('reno')), '-q', 'lint'],
    }


def check(name: str, argv: list[str], env: Mapping[str, str]) -> Outcome:
    """Run one of them."""
    done = subprocess.run(
        argv,
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    found = len(_WARNING.findall(done.stdout))
    return Outcome(name, found or int(done.returncode != 0), done.stdout)


def clean() -> None:
    """Forget what earlier runs have read and written."""
    for site in SITES:
        shutil.rmtree(site.output.parent, ignore_errors=True)
