# SPDX-License-Identifier: Apache-2.0
"""The cloud's catalogue, users, images and flavors; idempotent.

Runs inside the virtual environment and the control plane's network, as
``python -m korora_tools.lab.bootstrap identity|consumers|computes|content``.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import amqp
from keystoneauth1 import adapter
from kombu.connection import Connection

from korora_tools.lab import broker, client, paths, uefi

SERVICES = {
    'nova': ('compute', paths.url('nova', '/v2.1')),
    'placement': ('placement', paths.url('placement')),
    'glance': ('image', paths.url('glance')),
    'neutron': ('network', paths.url('neutron')),
    'barbican': ('key-manager', paths.url('barbican')),
    'korora': ('attestation', paths.url('korora')),
}
TPM = {
    'hw:tpm_version': '2.0',
    'hw:tpm_model': 'tpm-crb',
    'hw:tpm_secret_security': 'host',
}
FLAVORS = {'vtpm': TPM, 'plain': {}}


def _until(what: str, check: Callable[[], Any], timeout: float = 90) -> None:
    end = time.monotonic() + timeout
    while not check():
        if time.monotonic() > end:
            sys.exit(f'{what}: not within {timeout:.0f} s')
        time.sleep(0.2)


def _ensure(
    keystone: adapter.Adapter, kind: str, match: dict[str, Any], **extra: Any
) -> str:
    found = keystone.get(f'/{kind}s', params=match).json()[kind + 's']
    for item in found:
        if all(item.get(key) == value for key, value in match.items()):
            return str(item['id'])
    body = {kind: {**match, **extra}}
    return str(keystone.post(f'/{kind}s', json=body).json()[kind]['id'])


def _user(
    keystone: adapter.Adapter, name: str, project: str, *roles: str
) -> None:
    user = _ensure(
        keystone,
        'user',
        {'name': name, 'domain_id': 'default'},
        password=os.environ['OS_PASSWORD'],
    )
    for role in roles:
        number = _ensure(keystone, 'role', {'name': role})
        keystone.put(f'/projects/{project}/users/{user}/roles/{number}')


def identity(stock: str) -> None:
    """Projects, users, roles, services and endpoints."""
    keystone = adapter.Adapter(
        client.session(), endpoint_override=paths.AUTH_URL
    )

    def project(name: str) -> str:
        return _ensure(
            keystone, 'project', {'name': name, 'domain_id': 'default'}
        )

    service = project('service')
    for name in SERVICES:
        _user(keystone, name, service, 'admin', 'service')
    _user(keystone, 'korora-agent', service, 'attester')
    _user(keystone, 'korora-enforcer', service, 'admin', 'responder')
    _user(keystone, 'demo', project('demo'), 'member', 'creator')
    for name, (kind, url) in SERVICES.items():
        if name == 'korora' and stock == 'stock':
            continue
        number = _ensure(keystone, 'service', {'name': name, 'type': kind})
        _ensure(
            keystone,
            'endpoint',
            {
                'service_id': number,
                'interface': 'public',
                'region_id': paths.REGION,
            },
            url=url,
        )


def consumers(*queues: str) -> None:
    """Wait until every named queue has a consumer.

    A nova-compute that starts before the conductor stalls for 10 s.
    """
    lab = paths.Lab.default()
    url = broker.url(lab).replace('rabbit://', 'amqp://') + '/'
    wanted = list(queues)

    def served() -> bool:
        while wanted:
            try:
                with Connection(url) as connection:
                    channel = connection.channel()
                    answer = channel.queue_declare(wanted[0], passive=True)
            except (OSError, amqp.exceptions.AMQPError):
                return False
            if not answer.consumer_count:
                return False
            wanted.pop(0)
        return True

    _until('consumers of ' + ', '.join(queues), served)


def computes(*hosts: str) -> None:
    """Wait until Nova calls these compute services up."""
    nova = client.adapter_for('compute')

    def up() -> bool:
        path = '/os-services?binary=nova-compute'
        services = nova.get(path).json()['services']
        return set(hosts) <= {
            s['host'] for s in services if s['state'] == 'up'
        }

    _until('nova-compute on ' + ', '.join(hosts), up)


def _image(
    glance: adapter.Adapter,
    name: str,
    path: pathlib.Path,
    disk: str,
    container: str,
    **properties: str,
) -> str:
    found = glance.get('/v2/images', params={'name': name}).json()['images']
    if found:
        return str(found[0]['id'])
    image = glance.post(
        '/v2/images',
        json={
            'name': name,
            'disk_format': disk,
            'container_format': container,
            'visibility': 'public',
            **properties,
        },
    ).json()['id']
    with open(path, 'rb') as data:
        glance.put(
            f'/v2/images/{image}/file',
            data=data,
            headers={'Content-Type': 'application/octet-stream'},
        )
    return str(image)


def content(directory: str) -> None:
    """The guests' images and the two flavors."""
    files = pathlib.Path(directory)
    glance, nova = client.adapter_for('image'), client.adapter_for('compute')
    kernel = _image(glance, 'kernel', files / 'vmlinuz', 'aki', 'aki')
    ramdisk = _image(glance, 'ramdisk', files / 'initrd.gz', 'ari', 'ari')
    _image(
        glance,
        'guest',
        files / 'disk.qcow2',
        'qcow2',
        'bare',
        kernel_id=kernel,
        ramdisk_id=ramdisk,
        os_command_line='console=ttyS0 panic=1',
    )
    _image(
        glance,
        uefi.IMAGE,
        files / 'uefi.qcow2',
        'qcow2',
        'bare',
        **uefi.PROPERTIES,
    )
    have = {f['name'] for f in nova.get('/flavors').json()['flavors']}
    for name, specs in FLAVORS.items():
        if name in have:
            continue
        flavor = nova.post(
            '/flavors',
            json={
                'flavor': {
                    'id': name,
                    'name': name,
                    'ram': 256,
                    'vcpus': 1,
                    'disk': 0,
                }
            },
        ).json()['flavor']['id']
        if specs:
            nova.post(
                f'/flavors/{flavor}/os-extra_specs',
                json={'extra_specs': specs},
            )


if __name__ == '__main__':
    parts: dict[str, Callable[..., None]] = {
        'identity': identity,
        'consumers': consumers,
        'computes': computes,
        'content': content,
    }
    parts[sys.argv[1]](*sys.argv[2:])
