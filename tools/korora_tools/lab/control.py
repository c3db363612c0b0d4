# SPDX-License-Identifier: Apache-2.0
"""The control plane: schemas in parallel, then services in their order."""

from __future__ import annotations

import base64
import os
from concurrent.futures import ThreadPoolExecutor

from korora_tools import checkout, ui
from korora_tools.lab import attestation, broker, database, paths, processes

TOOLS = str(checkout.ROOT / 'tools')


def venv_python(lab: paths.Lab, module: str, *arguments: str) -> str:
    """Run a module of ours in the virtual environment, as admin."""
    return processes.run(
        lab,
        [str(checkout.BIN / 'python'), '-m', module, *arguments],
        env={**lab.openrc(), 'PYTHONPATH': TOOLS},
        log='bootstrap',
    )


def _uwsgi(lab: paths.Lab, name: str, **env: str) -> None:
    ini = lab.etc / 'uwsgi' / (name + '.ini')
    processes.spawn(lab, name, ['uwsgi', '--ini', str(ini)], env=env)


def _listening(lab: paths.Lab, *names: str) -> None:
    for name in names:
        processes.wait_for(lab, name, processes.listening(lab, name))


def _manage(lab: paths.Lab, *argv: str, **env: str) -> None:
    processes.run(lab, argv, log='schemas', env=env)


# -- schemas --------------------------------------------------------------


def _keystone(lab: paths.Lab) -> None:
    """Keystone's schema and first user."""
    manage = [
        'keystone-manage',
        '--config-file',
        str(lab.etc / 'keystone/keystone.conf'),
    ]
    with ui.step('Keystone: schema, first user'):
        _manage(lab, *manage, 'db_sync')
        _manage(
            lab,
            *manage,
            'bootstrap',
            OS_BOOTSTRAP_PASSWORD=lab.password,
            OS_BOOTSTRAP_REGION_ID=paths.REGION,
            OS_BOOTSTRAP_PUBLIC_URL=paths.AUTH_URL,
            OS_BOOTSTRAP_INTERNAL_URL=paths.AUTH_URL,
            OS_BOOTSTRAP_ADMIN_URL=paths.AUTH_URL,
        )


def _keystone_keys(lab: paths.Lab) -> None:
    """What of Keystone rests in files instead of the database."""
    for name in ('fernet', 'credential'):
        keys = lab.data / 'keystone' / name
        keys.mkdir(parents=True, mode=0o700)
        for number in '01':
            path = keys / number
            path.touch(mode=0o600)
            path.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))


def _small(lab: paths.Lab) -> None:
    with ui.step('Placement, Glance, Barbican: schemas'):
        _manage(
            lab,
            'placement-manage',
            '--config-file',
            str(lab.etc / 'placement/placement.conf'),
            'db',
            'sync',
        )
        _manage(
            lab,
            'glance-manage',
            '--config-file',
            str(lab.etc / 'glance/glance-api.conf'),
            'db_sync',
        )
        _manage(
            lab,
            'barbican-manage',
            'db',
            'upgrade',
            '--db-url',
            database.url(lab, 'barbican'),
        )


def _neutron(lab: paths.Lab) -> None:
    with ui.step('Neutron: schema'):
        _manage(
            lab,
            'neutron-db-manage',
            '--config-file',
            str(lab.etc / 'neutron/neutron.conf'),
            'upgrade',
            'head',
        )


def _nova(lab: paths.Lab) -> None:
    manage = ['nova-manage', '--config-file', str(lab.etc / 'nova/nova.conf')]
    with ui.step('Nova: schemas and cells'):
        _manage(lab, *manage, 'api_db', 'sync')
        _manage(
            lab,
            *manage,
            'cell_v2',
            'map_cell0',
            '--database_connection',
            database.url(lab, 'nova_cell0'),
        )
        _manage(lab, *manage, 'cell_v2', 'create_cell', '--name', 'cell1')
        _manage(lab, *manage, 'db', 'sync')


def schemas(lab: paths.Lab, pool: ThreadPoolExecutor, stock: bool) -> None:
    """Bring MariaDB and all schemas up, from the cache if there is one."""
    _keystone_keys(lab)
    with ui.step('MariaDB'):
        cached = database.restore(lab)
        database.start(lab)
    if cached:
        ui.say("ok  schemas of OpenStack's services, from the cache")
    else:
        jobs = [_keystone, _nova, _neutron, _small]
        for done in [pool.submit(job, lab) for job in jobs]:
            done.result()
        with ui.step('keep the schemas for the next time'):
            database.keep(lab)
    if not stock:
        attestation.schema(lab)


# -- services -------------------------------------------------------------


def infrastructure(lab: paths.Lab) -> None:
    """Start what needs no database; waits for nothing."""
    broker.start(lab)
    processes.spawn(
        lab,
        'memcached',
        [
            'memcached',
            '-u',
            'root',
            '-l',
            paths.CTL_IP,
            '-m',
            '32',
            '-t',
            '1',
            '-p',
            str(paths.PORTS['memcached']),
        ],
    )


def services(lab: paths.Lab, stock: bool) -> None:
    """Start everything else; returns when the APIs answer."""
    _uwsgi(lab, 'keystone', OS_KEYSTONE_CONFIG_DIR=str(lab.etc / 'keystone'))
    _uwsgi(
        lab, 'placement', OS_PLACEMENT_CONFIG_DIR=str(lab.etc / 'placement')
    )
    _uwsgi(lab, 'nova', OS_NOVA_CONFIG_DIR=str(lab.etc / 'nova'))
    _uwsgi(lab, 'glance', OS_GLANCE_CONFIG_DIR=str(lab.etc / 'glance'))
    _uwsgi(
        lab,
        'neutron',
        OS_NEUTRON_CONFIG_FILES='neutron.conf',
        OS_NEUTRON_CONFIG_DIR=str(lab.etc / 'neutron'),
    )
    _uwsgi(lab, 'barbican', HOME=str(lab.etc / 'barbican'))
    if not stock:
        attestation.start(lab)
    with ui.step('Keystone: users and catalogue'):
        _listening(lab, 'keystone')
        venv_python(
            lab,
            'korora_tools.lab.bootstrap',
            'identity',
            'stock' if stock else 'korora',
        )
    with ui.step('RabbitMQ'):
        broker.wait(lab)
    # The daemons exit on a 401, so they come after the users.
    with ui.step("Nova's conductor and scheduler, all APIs"):
        for name in ('nova-conductor', 'nova-scheduler'):
            conf = lab.etc / 'nova' / name / 'nova.conf'
            processes.spawn(lab, name, [name, '--config-file', str(conf)])
        consumers(lab, 'conductor')
        _listening(lab, 'placement', 'nova', 'glance', 'neutron', 'barbican')


def consumers(lab: paths.Lab, *queues: str) -> None:
    """Wait until somebody serves each of these queues."""
    venv_python(lab, 'korora_tools.lab.bootstrap', 'consumers', *queues)


def computes(lab: paths.Lab) -> None:
    """Wait for the hosts' nova-compute and map them into the cell."""
    with ui.step('nova-compute on ' + ', '.join(paths.HOSTS)):
        consumers(lab, 'scheduler', *('compute.' + h for h in paths.HOSTS))
        venv_python(
            lab, 'korora_tools.lab.bootstrap', 'computes', *paths.HOSTS
        )
        processes.run(
            lab,
            [
                'nova-manage',
                '--config-file',
                str(lab.etc / 'nova/nova.conf'),
                'cell_v2',
                'discover_hosts',
            ],
        )
