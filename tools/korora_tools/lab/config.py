# SPDX-License-Identifier: Apache-2.0
"""Configuration files of the control plane, written from scratch by `up`.

A file is a dict of sections; a section a dict of options; an option with
several values (available_filters) a list. Everything logs at DEBUG with
oslo.log's default levels for libraries, as the search for leaked
passphrases wants it.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from korora_tools import checkout
from korora_tools.lab import broker, database, paths

Options = Mapping[str, Any]
Sections = Mapping[str, Options]

FILTERS = 'ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter'


def write(path: pathlib.Path, sections: Sections) -> None:
    lines = []
    for name, options in sections.items():
        lines.append(f'[{name}]')
        for key, value in options.items():
            values = value if isinstance(value, list) else [value]
            lines.extend(f'{key} = {v}' for v in values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')
    path.chmod(0o600)


def log(lab: paths.Lab, name: str) -> dict[str, Any]:
    return {
        'log_dir': lab.log,
        'log_file': name + '.log',
        'debug': 'true',
        'use_stderr': 'false',
    }


def client(lab: paths.Lab, user: str) -> dict[str, Any]:
    """keystoneauth's options for one of the service users."""
    return {
        'auth_url': paths.AUTH_URL,
        'auth_type': 'password',
        'username': user,
        'password': lab.password,
        'project_name': 'service',
        'user_domain_id': 'default',
        'project_domain_id': 'default',
        'region_name': paths.REGION,
    }


def authtoken(lab: paths.Lab, user: str) -> dict[str, Any]:
    options = client(lab, user)
    del options['region_name']
    return {
        **options,
        'www_authenticate_uri': paths.AUTH_URL,
        'service_token_roles': 'service',
        'service_token_roles_required': 'true',
        'memcached_servers': paths.address('memcached'),
    }


def db(lab: paths.Lab, name: str) -> dict[str, Any]:
    return {
        'connection': database.url(lab, name),
        'max_pool_size': 5,
        'max_overflow': 20,
    }


def _locks(lab: paths.Lab) -> dict[str, Any]:
    return {'lock_path': lab.data / 'lock'}


def _keystone(lab: paths.Lab) -> None:
    keys = lab.data / 'keystone'
    write(
        lab.etc / 'keystone/keystone.conf',
        {
            'DEFAULT': log(lab, 'keystone'),
            'database': db(lab, 'keystone'),
            'token': {'provider': 'fernet', 'expiration': 86400},
            # bcrypt at full strength would cost 0.3 s per authentication.
            'identity': {'password_hash_rounds': 4},
            'fernet_tokens': {'key_repository': keys / 'fernet'},
            'fernet_receipts': {'key_repository': keys / 'fernet'},
            'credential': {'key_repository': keys / 'credential'},
            'cache': {'enabled': 'true', 'backend': 'dogpile.cache.memory'},
        },
    )


def _placement(lab: paths.Lab) -> None:
    write(
        lab.etc / 'placement/placement.conf',
        {
            'DEFAULT': log(lab, 'placement'),
            'api': {'auth_strategy': 'keystone'},
            'placement_database': db(lab, 'placement'),
            'keystone_authtoken': authtoken(lab, 'placement'),
        },
    )


def _glance(lab: paths.Lab) -> None:
    etc, data = lab.etc / 'glance', lab.data / 'glance'
    write(
        etc / 'glance-api.conf',
        {
            'DEFAULT': {
                **log(lab, 'glance'),
                'enabled_backends': 'f:file',
                'enabled_import_methods': '[]',
                'bind_host': paths.CTL_IP,
                'worker_self_reference_url': paths.url('glance'),
            },
            'glance_store': {'default_backend': 'f'},
            'f': {'filesystem_store_datadir': data / 'images'},
            'os_glance_staging_store': {
                'filesystem_store_datadir': data / 'staging'
            },
            'os_glance_tasks_store': {
                'filesystem_store_datadir': data / 'tasks'
            },
            'paste_deploy': {
                'flavor': 'keystone',
                'config_file': etc / 'glance-api-paste.ini',
            },
            'database': db(lab, 'glance'),
            'keystone_authtoken': authtoken(lab, 'glance'),
            'oslo_concurrency': _locks(lab),
        },
    )
    shutil.copy(checkout.VENV / 'etc/glance/glance-api-paste.ini', etc)


def _neutron(lab: paths.Lab) -> None:
    etc = lab.etc / 'neutron'
    write(
        etc / 'neutron.conf',
        {
            'DEFAULT': {
                **log(lab, 'neutron'),
                'core_plugin': 'ml2',
                'service_plugins': '',
                'auth_strategy': 'keystone',
                'api_paste_config': etc / 'api-paste.ini',
                'state_path': lab.data / 'neutron',
                'transport_url': broker.url(lab),
                'notify_nova_on_port_status_changes': 'false',
                'notify_nova_on_port_data_changes': 'false',
            },
            'ml2': {
                'type_drivers': 'local,flat,vxlan',
                'tenant_network_types': 'local',
                'mechanism_drivers': 'openvswitch',
            },
            'database': db(lab, 'neutron'),
            'keystone_authtoken': authtoken(lab, 'neutron'),
            'oslo_concurrency': _locks(lab),
            'oslo_messaging_notifications': {'driver': 'noop'},
        },
    )
    shutil.copy(checkout.VENV / 'etc/neutron/api-paste.ini', etc)


def _barbican(lab: paths.Lab) -> None:
    """Barbican reads $HOME/.barbican/barbican.conf and nothing else."""
    etc = lab.etc / 'barbican'
    write(
        etc / '.barbican/barbican.conf',
        {
            'DEFAULT': {
                **log(lab, 'barbican'),
                'host_href': paths.url('barbican'),
                'db_auto_create': 'false',
            },
            'database': db(lab, 'barbican'),
            'queue': {'enable': 'false'},
            'secretstore': {'enabled_secretstore_plugins': 'store_crypto'},
            'crypto': {'enabled_crypto_plugins': 'simple_crypto'},
            'simple_crypto_plugin': {
                'kek': 'dGhpcnR5X3R3b19ieXRlX2tleWJsYWhibGFoYmxhaGg='
            },
            'keystone_authtoken': authtoken(lab, 'barbican'),
        },
    )
    paste = etc / 'barbican-api-paste.ini'
    stock = checkout.VENV / 'etc/barbican/barbican-api-paste.ini'
    paste.write_text(stock.read_text().replace('/etc/barbican', str(etc)))
    # barbican.wsgi.api has its paste file's path built in.
    (etc / 'barbican_wsgi.py').write_text(
        'from paste import deploy\n'
        f"application = deploy.loadapp('config:{paste}')\n"
    )


def nova(lab: paths.Lab, name: str, stock: bool) -> dict[str, dict[str, Any]]:
    """The sections that all of Nova's processes share."""
    state = lab.data / name
    state.mkdir(parents=True, exist_ok=True)
    sections: dict[str, dict[str, Any]] = {
        'DEFAULT': {
            **log(lab, name),
            'my_ip': paths.CTL_IP,
            'state_path': state,
            'transport_url': broker.url(lab),
            'rpc_response_timeout': 60,
            'report_interval': 5,
            'service_down_time': 30,
            'graceful_shutdown_timeout': 3,
            # Nova's own default is one after the other.
            'max_concurrent_live_migrations': 8,
            # The guest does not listen to its power button.
            'shutdown_timeout': 5,
        },
        'api': {'auth_strategy': 'keystone'},
        'wsgi': {'api_paste_config': lab.etc / 'nova/api-paste.ini'},
        'conductor': {'workers': 1},
        'upgrade_levels': {'compute': 'auto'},
        'scheduler': {'workers': 1, 'discover_hosts_in_cells_interval': -1},
        'filter_scheduler': {
            'available_filters': ['nova.scheduler.filters.all_filters'],
            'enabled_filters': FILTERS,
        },
        'placement': client(lab, 'placement'),
        'glance': client(lab, 'glance'),
        'neutron': client(lab, 'neutron'),
        'service_user': {
            'send_service_user_token': 'true',
            **client(lab, 'nova'),
        },
        'key_manager': {'backend': 'barbican'},
        'barbican': {
            'barbican_endpoint_type': 'public',
            'auth_endpoint': paths.AUTH_URL,
        },
        'barbican_service_user': client(lab, 'nova'),
        'vnc': {'enabled': 'false'},
        'spice': {'enabled': 'false'},
        'cinder': {'os_region_name': paths.REGION},
        'oslo_concurrency': {'lock_path': state / 'lock'},
        'oslo_messaging_notifications': {'driver': 'noop'},
        'keystone_authtoken': authtoken(lab, 'nova'),
    }
    if not stock:
        korora(lab, sections)
    return sections


def korora(lab: paths.Lab, sections: dict[str, dict[str, Any]]) -> None:
    """Add what makes Nova ask the attestation service."""
    chosen = sections['filter_scheduler']
    chosen['available_filters'].append(
        'korora_nova.relying_party.filter.AttestationFilter'
    )
    chosen['enabled_filters'] += ',AttestationFilter'
    sections['korora'] = {
        **client(lab, 'nova'),
        'service_type': 'attestation',
        'valid_interfaces': 'public',
        'trusted_keys': lab.etc / 'korora/keys.json',
    }


def _nova(lab: paths.Lab, stock: bool) -> None:
    etc = lab.etc / 'nova'
    databases = {
        'api_database': db(lab, 'nova_api'),
        'database': db(lab, 'nova_cell1'),
    }
    write(etc / 'nova.conf', {**nova(lab, 'nova-api', stock), **databases})
    for name in ('nova-conductor', 'nova-scheduler'):
        sections = {**nova(lab, name, stock), **databases}
        write(etc / name / 'nova.conf', sections)
    shutil.copy(checkout.VENV / 'etc/nova/api-paste.ini', etc)


def uwsgi(lab: paths.Lab, name: str, module: str, *more: str) -> None:
    """Serve `module`'s WSGI application on the service's port."""
    lines = [
        '[uwsgi]',
        f'http-socket = {paths.address(name)}',
        f'module = {module}:application',
        f'home = {checkout.VENV}',
        'processes = 1',
        'threads = 4',
        'enable-threads = true',
        'need-app = true',
        'die-on-term = true',
        'buffer-size = 65535',
        'thunder-lock = true',
        'disable-logging = true',
        'lazy-apps = true',
        # Without these two keystoneauth's connection pools see resets.
        'add-header = Connection: close',
        'post-buffering = 65536',
        *more,
    ]
    path = lab.etc / 'uwsgi' / (name + '.ini')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')


def write_all(lab: paths.Lab, stock: bool) -> None:
    """Write every configuration file of the control plane."""
    for service in (_keystone, _placement, _glance, _neutron, _barbican):
        service(lab)
    _nova(lab, stock)
    uwsgi(lab, 'keystone', 'keystone.wsgi.api')
    uwsgi(lab, 'placement', 'placement.wsgi.api')
    uwsgi(lab, 'glance', 'glance.wsgi.api')
    uwsgi(lab, 'neutron', 'neutron.wsgi.api')
    uwsgi(lab, 'nova', 'nova.wsgi.osapi_compute')
    uwsgi(
        lab,
        'barbican',
        'barbican_wsgi',
        'pythonpath = %s' % (lab.etc / 'barbican'),
    )
