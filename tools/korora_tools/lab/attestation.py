# SPDX-License-Identifier: Apache-2.0
"""The attestation service: configuration, keys, schema, process."""

from __future__ import annotations

import pathlib
import shutil

from korora_tools import ui
from korora_tools.lab import (
    config,
    database,
    hostconfig,
    machine,
    paths,
    processes,
)

ENFORCER = 'korora-enforcer'


def directory(lab: paths.Lab) -> pathlib.Path:
    """Stands for the control plane's /etc/korora."""
    return lab.etc / 'korora'


def configure(lab: paths.Lab) -> None:
    """Write korora.conf and the hosts' agent.conf."""
    etc = directory(lab)
    config.write(
        etc / 'korora.conf',
        {
            'DEFAULT': config.log(lab, 'korora'),
            'database': config.db(lab, 'korora'),
            'anchor': {
                'backend': 'database',
                'connection': database.url(lab, 'korora_anchor'),
            },
            'keystone_authtoken': config.authtoken(lab, 'korora'),
            'verifier': {
                'keys_dir': etc / 'private',
                'trusted_keys': etc / 'keys.json',
                'ek_roots': etc / 'ek-roots',
            },
            'nova': {
                **config.client(lab, 'korora'),
                'service_type': 'compute',
                'valid_interfaces': 'public',
            },
            'oslo_concurrency': {'lock_path': lab.data / 'lock'},
        },
    )
    config.uwsgi(lab, 'korora', 'korora_nova.wsgi.api')
    _enforcer_conf(lab)
    for host in paths.HOSTS:
        hostconfig.agent(lab, host)


def _enforcer_conf(lab: paths.Lab, **settings: object) -> None:
    config.write(
        directory(lab) / 'enforcer.conf',
        {
            'DEFAULT': config.log(lab, ENFORCER),
            'database': config.db(lab, 'korora'),
            'response': {
                **config.client(lab, ENFORCER),
                'valid_interfaces': 'public',
                'trusted_keys': directory(lab) / 'keys.json',
                'drivers': 'disable,abort,drain',
                'dry_run': 'true',
                **settings,
            },
        },
    )


def enforcer(lab: paths.Lab, **settings: object) -> None:
    """Start korora-enforcer anew.

    :param settings: options of ``[response]``; without any, it only notes
        what it would do.
    """
    _enforcer_conf(lab, **settings)
    processes.stop(lab, [ENFORCER])
    _spawn_enforcer(lab)


def _spawn_enforcer(lab: paths.Lab) -> None:
    conf = directory(lab) / 'enforcer.conf'
    processes.spawn(lab, ENFORCER, [ENFORCER, '--config-file', str(conf)])


def _manage(lab: paths.Lab, *arguments: str) -> None:
    processes.run(
        lab,
        [
            'korora-manage',
            '--config-file',
            str(directory(lab) / 'korora.conf'),
            *arguments,
        ],
        log='schemas',
    )


def schema(lab: paths.Lab) -> None:
    """Keys first, so that hosts can pin them; then tables and anchor."""
    with ui.step('attestation service: keys, schema and anchor'):
        _manage(lab, 'keys', 'create')
        _manage(lab, 'keys', 'create', 'tls')
        _manage(lab, 'db', 'sync')
        _manage(lab, 'anchor', 'create')


def endorse(lab: paths.Lab) -> None:
    """Accept the TPM vendor; give every host the service's public keys."""
    etc = directory(lab)
    machine.export_roots(lab, etc / 'ek-roots')
    for host in paths.HOSTS:
        shutil.copy(etc / 'keys.json', lab.host(host) / 'etc/korora')


def start(lab: paths.Lab) -> None:
    processes.spawn(
        lab,
        'korora',
        ['uwsgi', '--ini', str(lab.etc / 'uwsgi/korora.ini')],
        env={'KORORA_CONFIG_DIR': str(directory(lab))},
    )
    _spawn_enforcer(lab)
