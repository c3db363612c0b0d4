# SPDX-License-Identifier: Apache-2.0
"""Where a bare system gets its packages: from where this machine does.

Debian's mirror, apt's network settings, certificates and pip's index are
taken over as they are found; nothing is assumed of any of them.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

RELEASES = ('bookworm', 'trixie')
DEFAULT = 'http://deb.debian.org/debian'
SECURITY = 'http://deb.debian.org/debian-security'
CERTIFICATES = pathlib.Path('/usr/local/share/ca-certificates')
# What apt fetches of an index, and how; not which indexes there are.
_NOT_OURS = ('Acquire::IndexTargets', 'Acquire::cdrom')
_LOCAL = re.compile(r'(?:(?<=\s)|(?<=[=,])|(?<=file://)|^)(/[^\s,:]+)')


@dataclass(frozen=True)
class Mirror:
    """URLs of the archive and of its security updates."""

    archive: str = DEFAULT
    security: str = SECURITY

    def sources(self, release: str) -> str:
        """sources.list of a minimal system of this release."""
        return (
            f'deb {self.archive} {release} main\n'
            f'deb {self.archive} {release}-updates main\n'
            f'deb {self.security} {release}-security main\n'
        )


def mirror(targets: str) -> Mirror:
    """The mirror in apt's list of indexes, else Debian's own.

    :param targets: lines of "ORIGIN SUITE URL", see :func:`this_mirror`.
    """
    found: dict[str, str] = {}
    for line in targets.splitlines():
        origin, _, rest = line.partition(' ')
        suite, _, url = rest.partition(' ')
        if origin == 'Debian' and url.startswith(('http:', 'https:')):
            kind = 'security' if 'security' in suite else 'archive'
            found.setdefault(kind, url.rstrip('/'))
    return Mirror(**found)


def this_mirror() -> Mirror:
    """This machine's; Debian's own if it does not run Debian."""
    query = (
        'apt-get',
        'indextargets',
        '--format',
        '$(ORIGIN) $(CODENAME) $(REPO_URI)',
        'Created-By: Packages',
    )
    targets = _output(*query)
    if 'Debian ' not in targets:
        # Whom a source belongs to is in what apt has fetched from it.
        _output('apt-get', 'update', '-q')
        targets = _output(*query)
    return mirror(targets)


def apt_settings(dump: str) -> str:
    """Proxies, time-outs and the like out of ``apt-config dump``."""
    return ''.join(
        line + '\n'
        for line in dump.splitlines()
        if line.startswith('Acquire::') and not line.startswith(_NOT_OURS)
    )


def this_apt_settings() -> str:
    return apt_settings(_output('apt-config', 'dump', '--no-empty'))


def _output(*argv: str) -> str:
    if not shutil.which(argv[0]):
        return ''
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'LC_ALL': 'C'},
    ).stdout


# -- pip ------------------------------------------------------------------


def pip_files(environ: Mapping[str, str]) -> list[pathlib.Path]:
    """Files and directories where pip looks for its configuration."""
    home = pathlib.Path(environ.get('HOME', '/root'))
    shared = environ.get('XDG_CONFIG_DIRS') or '/etc/xdg'
    own = environ.get('XDG_CONFIG_HOME') or home / '.config'
    places = [pathlib.Path(p, 'pip') for p in shared.split(':')]
    places += [
        pathlib.Path('/etc/pip.conf'),
        home / '.pip',
        pathlib.Path(own, 'pip'),
    ]
    if name := environ.get('PIP_CONFIG_FILE'):
        places.append(pathlib.Path(name))
    return [place for place in places if place.exists()]


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's options in the environment, and proxies."""
    return {
        k: v
        for k, v in environ.items()
        if k.startswith('PIP_') or k.lower().endswith('_proxy')
    }


def named_paths(texts: Iterable[str]) -> list[str]:
    """Absolute paths in configuration files and variables, each once.

    >>> named_paths(['find-links = /a/b file:///c', 'index-url=https://d/e'])
    ['/a/b', '/c']
    """
    return sorted(
        {
            path.rstrip('/')
            for text in texts
            for line in text.splitlines()
            if not line.lstrip().startswith(('#', ';'))
            for path in _LOCAL.findall(line)
            if path.strip('/')
        }
    )


def binds(
    environ: Mapping[str, str],
    system: Sequence[str] = ('/etc/ssl',),
) -> list[str]:
    """What is to be seen, read-only, at the same place in the bare system.

    pip's configuration and whatever exists of what that names. The
    certificates of the system are its own.
    """
    files = pip_files(environ)
    texts = list(variables(environ).values())
    for place in files:
        for path in [place] if place.is_file() else place.rglob('*.conf'):
            texts.append(path.read_text(errors='replace'))
    wanted = [str(place) for place in files] + [
        # The pages of a local index link to files beside it.
        os.path.dirname(path) if path.endswith('/simple') else path
        for path in named_paths(texts)
        if os.path.exists(path) and not path.startswith(tuple(system))
    ]
    return [
        path
        for path in dict.fromkeys(wanted)
        if not any(
            pathlib.PurePath(path).is_relative_to(other)
            for other in wanted
            if other != path
        )
    ]
