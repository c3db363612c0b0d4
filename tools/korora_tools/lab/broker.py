# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ with two virtual hosts: Nova's and the hosts' hand-over."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets

from korora_tools.lab import paths, processes

DIST_PORT = 25672
EPMD_PORT = 4369
HANDOVER_USER = 'korora'


def url(lab: paths.Lab, user: str = 'nova', vhost: str = '') -> str:
    """oslo.messaging's transport URL."""
    return (
        f'rabbit://{user}:{lab.password}@{paths.address("rabbitmq")}/{vhost}'
    )


def _definitions(lab: paths.Lab) -> dict[str, object]:
    salt = secrets.token_bytes(4)
    digest = hashlib.sha256(salt + lab.password.encode()).digest()
    password = {
        'password_hash': base64.b64encode(salt + digest).decode(),
        'hashing_algorithm': 'rabbit_password_hashing_sha256',
        'tags': '',
    }
    users = {'nova': '/', HANDOVER_USER: paths.HANDOVER_VHOST}
    return {
        'users': [{'name': name, **password} for name in users],
        'vhosts': [{'name': vhost} for vhost in users.values()],
        'permissions': [
            {
                'user': name,
                'vhost': vhost,
                'configure': '.*',
                'write': '.*',
                'read': '.*',
            }
            for name, vhost in users.items()
        ],
    }


def start(lab: paths.Lab) -> None:
    """Start epmd and the broker; does not wait for it."""
    home = lab.data / 'rabbit'
    home.mkdir(parents=True, exist_ok=True)
    cookie = home / '.erlang.cookie'
    if not cookie.exists():
        cookie.write_text(secrets.token_hex(20))
        cookie.chmod(0o400)
    definitions = lab.etc / 'rabbitmq-definitions.json'
    definitions.write_text(json.dumps(_definitions(lab)))
    (lab.etc / 'rabbitmq.conf').write_text(
        'loopback_users = none\n'
        f'listeners.tcp.1 = {paths.address("rabbitmq")}\n'
        'log.console = false\n'
        'total_memory_available_override_value = 2GB\n'
        f'load_definitions = {definitions}\n'
    )
    (lab.etc / 'rabbitmq-plugins').write_text('[].')
    processes.spawn(lab, 'epmd', ['epmd', '-port', str(EPMD_PORT)])
    processes.spawn(
        lab,
        'rabbitmq',
        ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
        env={
            'HOME': str(home),
            'RABBITMQ_NODENAME': 'lab@localhost',
            'RABBITMQ_DIST_PORT': str(DIST_PORT),
            'RABBITMQ_CONFIG_FILE': str(lab.etc / 'rabbitmq'),
            'RABBITMQ_MNESIA_BASE': str(home / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(lab.log),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(lab.etc / 'rabbitmq-plugins'),
            'RABBITMQ_PID_FILE': str(lab.run / 'rabbit.pid'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': (
                '+S1:1 -kernel inet_dist_use_interface {127,0,0,1}'
            ),
        },
    )


def wait(lab: paths.Lab) -> None:
    processes.wait_for(
        lab, 'rabbitmq', processes.listening(lab, 'rabbitmq'), 90
    )
