# SPDX-License-Identifier: Apache-2.0
"""systemd's units where there is no systemd: one service, as it would start.

The nodes share network, process ids and sockets with the lab's cloud, which
a systemd booted in a container of its own would not see. So what our units
say of users, directories, credentials, mounts and limits is done here by
util-linux; what only takes something away is left to a real systemd
(``tools/prove ecosystem --only systemd-security``); and a unit with any other
directive is refused.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

# Order among units, and what happens after the first start.
PASSED = frozenset(
    (
        'Unit.Description',
        'Unit.After',
        'Unit.Before',
        'Unit.Wants',
        'Install.WantedBy',
        'Service.Restart',
        'Service.RestartSec',
        'Service.NotifyAccess',
    )
)
# Restrictions: what runs without them is to run with them.
LEFT_TO_SYSTEMD = frozenset(
    'Service.' + name
    for name in (
        'CapabilityBoundingSet',
        'DeviceAllow',
        'DevicePolicy',
        'LockPersonality',
        'MemoryDenyWriteExecute',
        'PrivateDevices',
        'PrivateIPC',
        'PrivateMounts',
        'PrivateUsers',
        'ProcSubset',
        'ProtectClock',
        'ProtectControlGroups',
        'ProtectHostname',
        'ProtectKernelLogs',
        'ProtectKernelModules',
        'ProtectKernelTunables',
        'ProtectProc',
        'RestrictAddressFamilies',
        'RestrictNamespaces',
        'RestrictRealtime',
        'RestrictSUIDSGID',
        'SystemCallArchitectures',
        'SystemCallErrorNumber',
        'SystemCallFilter',
    )
)
DONE = frozenset(
    'Service.' + name
    for name in (
        'Type',
        'User',
        'Group',
        'ExecStart',
        'ExecStartPost',
        'UMask',
        'LimitCORE',
        'LimitMEMLOCK',
        'LoadCredential',
        'LoadCredentialEncrypted',
        'LogsDirectory',
        'LogsDirectoryMode',
        'NoNewPrivileges',
        'PrivateTmp',
        'ProtectHome',
        'ProtectSystem',
        'ReadWritePaths',
        'RuntimeDirectory',
        'StateDirectory',
        'StateDirectoryMode',
    )
)
# Of "strict" what a node has outside of /run and /srv.
_READ_ONLY = {
    'full': '/usr /boot /etc',
    'strict': '/usr /boot /etc /opt /var',
    'yes': '/usr /boot',
}
_CREDENTIALS = '/run/credentials'
_OWN = {'Runtime': '/run', 'State': '/var/lib', 'Logs': '/var/log'}


class UnitError(Exception):
    """The unit cannot be started as systemd would."""


@dataclass(frozen=True)
class Unit:
    """A service. `script` is shell that becomes its main process."""

    script: str
    notify: bool
    after: str | None


def read(text: str) -> Unit:
    """Take a unit's text apart.

    :raises UnitError: it has a directive that is not known here.
    """
    found: dict[str, str] = {}
    section = ''
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in '#;':
            continue
        if line.startswith('['):
            section = line.strip('[]')
            continue
        name, _, value = line.partition('=')
        name = f'{section}.{name}'
        if name in LEFT_TO_SYSTEMD:
            continue
        if name not in PASSED | DONE:
            raise UnitError(f'no way here to do {name}={value}')
        if name == 'Service.LoadCredentialEncrypted':
            continue  # nothing is encrypted here
        if name in found:
            raise UnitError(f'{name} stands there twice')
        found[name] = value
    if 'Install.WantedBy' not in found:
        raise UnitError('nothing to enable: no WantedBy')
    service = {
        name.partition('.')[2]: value
        for name, value in found.items()
        if name.startswith('Service.')
    }
    kind = service.get('Type', 'simple')
    if kind not in ('simple', 'notify'):
        raise UnitError(f'no way here to do Type={kind}')
    return Unit(
        _script(service), kind == 'notify', service.get('ExecStartPost')
    )


def _script(service: dict[str, str]) -> str:
    user, group = service.get('User', 'root'), service.get('Group')
    group = group or user
    lines = ['set -e', f'umask {service.get("UMask", "0022")}']
    own = []
    for kind, where in _OWN.items():
        if name := service.get(f'{kind}Directory'):
            mode = service.get(f'{kind}DirectoryMode', '0755')
            lines.append(
                f'install -d -o {user} -g {group} -m {mode} {where}/{name}'
            )
            own.append(f'{where}/{name}')
    lines += _credential(service.get('LoadCredential'), user)
    lines += _sandbox(service, own)
    # As systemd does, which takes the closest that it may set.
    lines += [
        f'prlimit --pid $$ --{kind.lower()}='
        f'{value.replace("infinity", "unlimited")} 2>/dev/null || :'
        for kind in ('CORE', 'MEMLOCK')
        if (value := service.get(f'Limit{kind}'))
    ]
    words = [
        'exec',
        'setpriv',
        f'--reuid={user}',
        f'--regid={group}',
        '--init-groups',
    ]
    if service.get('NoNewPrivileges') == 'yes':
        words.append('--no-new-privs')
    try:
        words += shlex.split(service['ExecStart'])
    except KeyError:
        raise UnitError('no ExecStart') from None
    return '\n'.join([*lines, shlex.join(words)])


def _credential(wanted: str | None, user: str) -> list[str]:
    """What /etc/credstore has of it, where the service finds it."""
    if wanted is None:
        return []
    name, _, source = wanted.partition(':')
    where = f'{_CREDENTIALS}/{user}-{source or name}'
    return [
        f'install -d -o {user} -m 0700 {where}',
        f'[ ! -e /etc/credstore/{source or name} ] || '
        f'install -o {user} -m 0400 /etc/credstore/{source or name} '
        f'{where}/{name}',
        f'export CREDENTIALS_DIRECTORY={where}',
    ]


def _sandbox(service: dict[str, str], own: list[str]) -> list[str]:
    """Mounts, to be made in a mount namespace of the service's own.

    :param own: directories that stay writable.
    """
    lines = []
    if service.get('ProtectHome') == 'yes':
        lines += [
            f'[ ! -d {path} ] || mount -t tmpfs -o ro tmpfs {path}'
            for path in ('/home', '/root', '/run/user')
        ]
    if service.get('PrivateTmp') == 'yes':
        lines += [
            f'mount -t tmpfs tmpfs {path}' for path in ('/tmp', '/var/tmp')
        ]
    kind = service.get('ProtectSystem')
    if kind is not None:
        if kind not in _READ_ONLY:
            raise UnitError(f'no way here to do ProtectSystem={kind}')
        lines += [
            f'mount --rbind {path} {path}; mount -o remount,bind,ro {path}'
            for path in _READ_ONLY[kind].split()
        ]
    for word in [*own, *service.get('ReadWritePaths', '').split()]:
        path = word.removeprefix('-')
        skip = f'[ ! -d {path} ] || ' if word != path else ''
        lines.append(
            f'{skip}{{ mount --bind {path} {path}; '
            f'mount -o remount,bind,rw {path}; }}'
        )
    return lines
