# SPDX-License-Identifier: Apache-2.0
"""How servers begin and end. Each uses servers of its own."""

from __future__ import annotations

import functools
import time
from typing import Any

from keystoneauth1 import exceptions as ks_exc

from korora_tools import ui
from korora_tools.lab import net
from korora_tools.prove.life.operations import (
    BAD_LIFE,
    BAD_LIVE,
    LIFE,
    operation,
)
from korora_tools.prove.life.stage import UNTRUSTED, Stage

GONE = 'gone, nothing left'
apart = functools.partial(operation, apart=True)


def _made(s: Stage, **how: Any) -> str:
    """Create a server; what came of it. It is deleted again."""
    made = s.world.create('life-' + s.kind, s.kind, **how)
    try:
        host = made['OS-EXT-SRV-ATTR:host']
        on = ' untrusted' if host == UNTRUSTED else ''
        return f'{made["status"]}{on if made["status"] == "ACTIVE" else ""}'
    finally:
        s.world.delete(made['id'])


@apart('create', 'ACTIVE', f'{LIFE}.test_first_start', older=True)
def create(s: Stage) -> str:
    """Created where the scheduler likes."""
    return _made(s)


@apart(
    'create on an untrusted host',
    'ERROR',
    f'{LIFE}.test_only_trusted_hosts_are_tried',
)
def create_untrusted(s: Stage) -> str:
    """Created on a host by name, through the scheduler."""
    with s.enabled(UNTRUSTED):
        return _made(s, host=UNTRUSTED)


@apart(
    'create past the scheduler on an untrusted host',
    'ERROR',
    f'{LIFE}.test_forced_on_an_untrusted_host',
)
def create_forced(s: Stage) -> str:
    """Created with --availability-zone nova:HOST."""
    with s.enabled(UNTRUSTED):
        return _made(s, availability_zone='nova:' + UNTRUSTED)


@apart(
    'create without service',
    'ERROR',
    f'{BAD_LIFE}.test_create_while_the_service_is_down',
)
def create_without_service(s: Stage) -> str:
    """Created while the attestation service is down."""
    with s.without_service():
        return _made(s)


@apart(
    'create without agent',
    'ERROR',
    f'{BAD_LIFE}.test_create_while_the_agents_are_down',
)
def create_without_agent(s: Stage) -> str:
    """Created on a host whose agent is down."""
    with s.without_agent('h2'):
        return _made(s, host='h2')


def new(s: Stage, image: str = 'guest') -> str:
    made = s.world.create('life-' + s.kind, s.kind, image, host='h1')
    if made['status'] != 'ACTIVE':
        raise ui.Problem(f'the server is {made["status"]}')
    return str(made['id'])


def gone(s: Stage, server: str) -> str:
    left = s.left(server)
    return f'gone, left: {left}' if left else GONE


@apart('delete', GONE, LIFE, older=True)
def delete(s: Stage) -> str:
    """Deleted while it runs."""
    server = new(s)
    s.world.delete(server)
    return gone(s, server)


@apart('delete of a stopped server', GONE, LIFE)
def delete_stopped(s: Stage) -> str:
    """Stopped and deleted."""
    server = new(s)
    s.world.act(server, 'os-stop')
    s.world.delete(server)
    return gone(s, server)


@apart(
    'delete while it is built',
    GONE,
    f'{BAD_LIFE}.test_deleted_while_it_is_built',
)
def delete_building(s: Stage) -> str:
    """Deleted while nova-compute starts it."""
    image = s.world.glance.get('/v2/images', params={'name': 'guest'}).json()[
        'images'
    ][0]['id']
    made = s.world.nova.post(
        '/servers',
        json={
            'server': {
                'name': 'life-' + s.kind,
                'imageRef': image,
                'flavorRef': s.kind,
                'networks': 'none',
                'host': 'h1',
            }
        },
    ).json()['server']['id']
    ui.wait(
        'nova-compute to build it',
        lambda: (
            s.world.server(made)['OS-EXT-STS:task_state'] == 'spawning'
            or s.world.server(made)['status'] == 'ACTIVE'
        ),
        60,
        0.05,
    )
    s.world.delete(made)
    return gone(s, made)


@apart('delete without service', GONE, LIFE)
def delete_without_service(s: Stage) -> str:
    """Deleted while the attestation service is down."""
    server = new(s)
    with s.without_service():
        s.world.delete(server)
    return gone(s, server)


@apart('delete without agent', GONE, f'{LIFE}.test_dead_agent_does_not_block')
def delete_without_agent(s: Stage) -> str:
    """Deleted while its host's agent is down."""
    server = new(s)
    with s.without_agent('h1'):
        s.world.delete(server)
    return gone(s, server)


@apart(
    'delete while nova-compute is down',
    GONE,
    f'{BAD_LIFE}.test_deleted_while_the_host_is_down',
)
def delete_without_compute(s: Stage) -> str:
    """Deleted while its host's nova-compute is dead."""
    server = new(s)
    with s.crashed('nova-compute of source', 'h1'):
        s.world.nova.delete('/servers/' + server)
        time.sleep(2)
    ui.wait('the server to go', lambda: _is_gone(s, server), 60)
    return gone(s, server)


def _is_gone(s: Stage, server: str) -> bool:
    try:
        s.world.server(server)
    except ks_exc.NotFound:
        return True
    return False


@apart('delete in mid-stream', GONE, f'{BAD_LIVE}.test_deleted_meanwhile')
def delete_streaming(s: Stage) -> str:
    """Deleted while it is live migrated."""
    server = new(s)
    with net.slow('h1'):
        s.world.start_migration(server, 'h2')
        time.sleep(1)
        s.world.nova.delete('/servers/' + server)
        time.sleep(3)
    ui.wait('the server to go', lambda: _is_gone(s, server), 120)
    return gone(s, server)
