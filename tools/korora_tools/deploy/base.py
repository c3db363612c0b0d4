# SPDX-License-Identifier: Apache-2.0
"""The bare Debian that machines start from; made once a week."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import time

from korora_tools import ui
from korora_tools.fresh import root, sources

RELEASE = 'bookworm'
"""The oldest release that packages are built for."""
TOOLS = ('debootstrap', 'slirp4netns', 'systemd-container', 'iproute2')
PACKAGES = (
    'systemd',
    'systemd-sysv',
    'dbus',
    'ca-certificates',
    'iproute2',
    'openssh-server',
    'python3',
)
# They manage hardware, networks and sessions, which are the machine's here.
MASKED = (
    'console-getty',
    'getty@tty1',
    'systemd-logind',
    'systemd-networkd',
    'systemd-resolved',
    'systemd-timesyncd',
)


def directory() -> pathlib.Path:
    return pathlib.Path(
        os.environ.get('KORORA_DEPLOY_DIR', '/var/tmp/korora-deploy')
    ).absolute()


def ensure(where: pathlib.Path) -> pathlib.Path:
    """The root of the bare system; nobody writes to it.

    :raises Problem: debootstrap failed.
    """
    made, stamp = where / 'base', where / 'base.from'
    mirror = sources.this_mirror()
    wanted = ' '.join((RELEASE, mirror.archive, *PACKAGES))
    with contextlib.suppress(FileNotFoundError):
        age = time.time() - stamp.stat().st_mtime
        if stamp.read_text() == wanted and 0 <= age < root.WEEK:
            return made
    stamp.unlink(missing_ok=True)
    root.remove(made)
    with ui.step(f'debootstrap {RELEASE} with systemd (a minute or two)'):
        root.call(
            'debootstrap',
            '--variant=minbase',
            '--include=' + ','.join(PACKAGES),
            RELEASE,
            str(made),
            mirror.archive,
        )
        _configure(made, mirror)
        root.call(
            'chroot', str(made), 'sh', '-c', 'update-ca-certificates 2>&1'
        )
    stamp.write_text(wanted)
    return made


def _configure(made: pathlib.Path, mirror: sources.Mirror) -> None:
    """Packages come from where this machine gets its own."""
    etc = made / 'etc'
    (etc / 'apt/sources.list').write_text(mirror.sources(RELEASE))
    (etc / 'apt/apt.conf.d/90machine').write_text(
        sources.this_apt_settings()
        + 'APT::Install-Recommends "false";\nAPT::Get::Assume-Yes "true";\n'
    )
    if sources.CERTIFICATES.is_dir():
        shutil.copytree(
            sources.CERTIFICATES,
            made / str(sources.CERTIFICATES).lstrip('/'),
            dirs_exist_ok=True,
        )
    (etc / 'resolv.conf').unlink(missing_ok=True)
    (etc / 'resolv.conf').write_text(f'nameserver {root.RESOLVER}\n')
    units = etc / 'systemd/system'
    for name in MASKED:
        (units / f'{name}.service').unlink(missing_ok=True)
        (units / f'{name}.service').symlink_to('/dev/null')
    (units / 'multi-user.target.wants/ssh.service').unlink(missing_ok=True)
    (units / 'default.target').unlink(missing_ok=True)
    (units / 'default.target').symlink_to(
        '/lib/systemd/system/multi-user.target'
    )
