# SPDX-License-Identifier: Apache-2.0
"""The bare Debian that nodes start from: systemd, git, a user "stack"."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

from korora_tools import ui
from korora_tools.devstack import paths
from korora_tools.fresh import sources

RELEASE = 'bookworm'
PACKAGES = (
    'systemd',
    'systemd-sysv',
    'dbus',
    'sudo',
    'ca-certificates',
    'git',
    'python3',
    'python3-venv',
    'python3-pip',
    'python3-dev',
    'iproute2',
    'procps',
    'kmod',
    'bridge-utils',
    'lsb-release',
    'curl',
    'wget',
    'openssl',
    'gnupg',
    'locales',
    'iputils-ping',
    'netbase',
    'hostname',
    'apt-utils',
    'udev',
    'psmisc',
    'libpam-systemd',
    'ncurses-bin',
    'tar',
    'util-linux',
    'gettext',
    'e2fsprogs',
    'kpartx',
    'openssh-server',
)
# They manage hardware, networks and clocks, which are the machine's here.
MASKED = (
    'systemd-networkd',
    'systemd-resolved',
    'systemd-timesyncd',
    'systemd-networkd-wait-online',
    'systemd-udevd',
    'systemd-udev-trigger',
    'systemd-modules-load',
    'getty@tty1',
    'console-getty',
    'systemd-logind',
)
# Without iSCSI in the kernel iscsid ends at once, and whether DevStack's
# restart of it then fails is a race.
ISCSID = """\
[Service]
Type=oneshot
RemainAfterExit=yes
PIDFile=
ExecStartPre=
ExecStart=
ExecStart=/bin/true
"""
INSIDE = """\
set -e
update-ca-certificates >/dev/null 2>&1
echo 'en_US.UTF-8 UTF-8' > /etc/locale.gen
locale-gen >/dev/null
groupadd stack
useradd -g stack -s /bin/bash -d /opt/stack -m stack
cp -r /etc/skel/. /opt/stack
chmod 755 /opt/stack
echo 'stack ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/50_stack_sh
chmod 440 /etc/sudoers.d/50_stack_sh
install -d -o stack -g stack -m 700 /opt/stack/.ssh
ssh-keygen -q -t ed25519 -N '' -f /opt/stack/.ssh/id_ed25519
cp /opt/stack/.ssh/id_ed25519.pub /opt/stack/.ssh/authorized_keys
printf 'Host *\\n  StrictHostKeyChecking no\\n  LogLevel ERROR\\n' \\
  > /opt/stack/.ssh/config
cp -r /opt/stack/.ssh /root/
chown -R stack:stack /opt/stack
echo 'man-db man-db/auto-update boolean false' | debconf-set-selections
mkdir -p /opt/git /opt/images
"""


def ensure(work: paths.Work) -> pathlib.Path:
    """Make it once; a half-made one is made anew.

    :raises Problem: debootstrap or a command in it failed.
    """
    made = work.debian
    if made.exists():
        return made
    unfinished = made.with_name('debian.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    with ui.step(f'a bare Debian ({RELEASE}) by debootstrap'):
        _run(
            work,
            [
                'debootstrap',
                '--variant=minbase',
                '--include=' + ','.join(PACKAGES),
                RELEASE,
                str(unfinished),
                sources.this_mirror().archive,
            ],
        )
        _as_this_machine(unfinished)
        _configure(unfinished)
        _run(work, ['chroot', str(unfinished), 'bash', '-c', INSIDE])
        unfinished.rename(made)
    return made


def _run(work: paths.Work, argv: list[str]) -> None:
    path = work.log / 'debian.log'
    with path.open('a') as log:
        code = subprocess.call(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    if code:
        tail = '\n  '.join(path.read_text().splitlines()[-8:])
        raise ui.Problem(f'{argv[0]} ended with {code}:\n  {tail}')


def _as_this_machine(root: pathlib.Path) -> None:
    """Package sources, certificates and pip's options as they are here."""
    apt = root / 'etc/apt'
    (apt / 'sources.list').write_text(sources.this_mirror().sources(RELEASE))
    (apt / 'apt.conf.d/90machine').write_text(
        sources.this_apt_settings() + 'APT::Install-Recommends "false";\n'
        'DPkg::Options { "--force-confdef"; "--force-confold"; };\n'
    )
    if sources.CERTIFICATES.is_dir():
        shutil.copytree(
            sources.CERTIFICATES,
            root / str(sources.CERTIFICATES).lstrip('/'),
            dirs_exist_ok=True,
        )
    # Its files are bound; its variables become the user's own file, since
    # DevStack's scripts do not hand them on.
    options = ''.join(
        f'{name.removeprefix("PIP_").lower().replace("_", "-")} = {value}\n'
        for name, value in sources.variables(os.environ).items()
        if name.startswith('PIP_')
    )
    own = root / 'opt/stack/.config/pip/pip.conf'
    own.parent.mkdir(parents=True)
    own.write_text('[global]\n' + options)


def _configure(root: pathlib.Path) -> None:
    etc = root / 'etc'
    (etc / 'gitconfig').write_text(
        '[safe]\n\tdirectory = *\n[advice]\n\tdetachedHead = false\n'
    )
    # The name server that slirp4netns offers.
    (etc / 'resolv.conf').unlink(missing_ok=True)
    (etc / 'resolv.conf').write_text('nameserver 10.0.2.3\n')
    units = etc / 'systemd/system'
    for name in MASKED:
        (units / f'{name}.service').unlink(missing_ok=True)
        (units / f'{name}.service').symlink_to('/dev/null')
    (units / 'default.target').unlink(missing_ok=True)
    (units / 'default.target').symlink_to(
        '/lib/systemd/system/multi-user.target'
    )
    (units / 'iscsid.service.d').mkdir()
    (units / 'iscsid.service.d/korora.conf').write_text(ISCSID)
