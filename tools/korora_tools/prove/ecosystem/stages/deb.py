# SPDX-License-Identifier: Apache-2.0
"""Debian packages: built, checked by lintian, installed, upgraded, purged."""

from __future__ import annotations

from korora_tools import ui
from korora_tools.deploy import packages
from korora_tools.deploy.machine import Machine, Network
from korora_tools.fresh import root
from korora_tools.prove.ecosystem import stage

ABOUT = 'Debian packages are built, installed, upgraded and purged'
ADDRESS = '127.0.79.3'
DEBS = '/srv/debs'
NEWER = '/srv/newer'
EDITED = '# an operator was here'

#: What has to be so once they are installed: a sentence, and its command.
INSTALLED = {
    'the user korora has no shell': (
        'getent passwd korora | grep -q "/nonexistent:/usr/sbin/nologin$"'
    ),
    'units are valid': (
        'systemd-analyze verify /lib/systemd/system/korora-*.service '
        '/lib/systemd/system/korora-*.timer'
    ),
    'nothing is enabled before it was configured': (
        'for unit in api agent enforcer metrics sources; do '
        '! systemctl -q is-enabled korora-$unit && '
        '! systemctl -q is-active korora-$unit || exit 1; done'
    ),
    'korora-manage runs as its user': (
        'runuser -u korora -- korora-manage --version'
    ),
    'the other programs run': (
        'for name in agent enforcer sources status; do '
        'korora-$name --help >/dev/null || exit 1; done'
    ),
    'openstack has our commands': (
        '/usr/lib/korora/bin/openstack help attestation host list'
    ),
    'samples are conffiles': (
        "dpkg-query -W -f '${Conffiles}\\n' 'korora-*' > /tmp/conffiles; "
        'for name in agent.conf korora.conf enforcer.conf korora-uwsgi.ini; '
        'do grep -q "/etc/korora/$name " /tmp/conffiles || exit 1; done'
    ),
    'passwords are not for everybody': (
        'test "$(cd /etc/korora && stat -c "%n %a %U:%G" '
        'agent.conf korora.conf enforcer.conf private | xargs)" = '
        '"agent.conf 600 root:root korora.conf 640 root:korora '
        'enforcer.conf 640 root:korora private 700 korora:korora"'
    ),
    'all files are compiled, and dpkg finds them unchanged': (
        'test -e /usr/lib/korora/lib/python3*/site-packages/korora_nova/'
        '__pycache__/conf.*.pyc && '
        'dpkg --verify korora-agent korora-common korora-service'
    ),
}
#: With a database of SQLite, the smallest service that there is.
SERVES = {
    'a service is configured': (
        'printf "[database]\\nconnection = '
        'sqlite:////var/lib/korora-service/korora.db\\n" '
        '> /etc/korora/korora.conf && '
        'install -d -o korora -m 0700 /var/lib/korora-service && '
        'korora-manage keys create && '
        'runuser -u korora -- korora-manage db sync'
    ),
    'its keys are its own': (
        'test "$(stat -c %U /etc/korora/private/* | sort -u)" = korora'
    ),
    'it serves': (
        'systemctl enable --now korora-api && python3 -c "import urllib.'
        "request as r; r.urlopen('http://127.0.0.1:8999/healthcheck')\""
    ),
}
UPGRADED = {
    'a newer version is installed': (
        f'echo "{EDITED}" >> /etc/korora/agent.conf && '
        f'apt-get -q -o DPkg::Options::=--force-confold install {NEWER}/*.deb'
    ),
    'what was edited stays, with its mode': (
        f'grep -q "{EDITED}" /etc/korora/agent.conf && '
        'test "$(stat -c %a /etc/korora/agent.conf)" = 600 && '
        'test "$(stat -c %a:%G /etc/korora/korora.conf)" = 640:korora && '
        'test -e /etc/korora/agent.conf.dpkg-dist'
    ),
    'what runs was restarted, and nothing else was started': (
        'systemctl -q is-active korora-api && '
        '! systemctl -q is-active korora-agent && '
        'test "$(systemctl show -P ActiveEnterTimestampMonotonic '
        'korora-api)" -gt "$(cat /srv/before)"'
    ),
}
PURGED = {
    'they are purged': 'apt-get -q purge "korora-*"',
    'nothing is left but the private keys': (
        'test "$(find /etc/korora /usr/lib/korora /var/lib/korora '
        '/var/log/korora /var/log/korora-agent -type f 2>/dev/null | '
        'grep -v ^/etc/korora/private/)" = ""'
    ),
    'the private keys are': 'test -n "$(ls /etc/korora/private)"',
    'no unit is left': '! systemctl cat korora-api korora-agent 2>/dev/null',
}


def run() -> stage.Outcome:
    where = packages.prepare()
    with root.exclusive(where), Network(where) as net:
        built = packages.ensure(net)
        with Machine(net, 'bare', ADDRESS) as bare:
            wrong = _install(bare, built)
    missing = sorted(set(packages.NAMES) - set(built.files))
    wrong += [f'There is no package {name}.' for name in missing]
    report = {
        'packages': len(built.files),
        'lintian_errors': len(built.errors),
        'installed': not wrong,
    }
    return stage.Outcome(report, [*built.errors, *wrong])


def _install(bare: Machine, built: packages.Built) -> list[str]:
    bare.copy({f'{DEBS}/{p.name}': p for p in built.files.values()})
    bare.installs(f'{DEBS}/*.deb')
    wrong = _checked(bare, INSTALLED | SERVES)
    bare.must(
        'systemctl show -P ActiveEnterTimestampMonotonic korora-api '
        '> /srv/before'
    )
    packages.renew(bare, DEBS, NEWER)
    return wrong + _checked(bare, UPGRADED | PURGED)


def _checked(bare: Machine, checks: dict[str, str]) -> list[str]:
    """A sentence for each that does not hold."""
    wrong = []
    for what, command in checks.items():
        code, said = bare.run(command)
        ui.say(f'{"ok " if not code else "!!!"} {what}')
        if code:
            wrong.append(f'It is not so that {what}: {said.strip()[-600:]}')
    return wrong
