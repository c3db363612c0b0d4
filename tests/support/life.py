# SPDX-License-Identifier: Apache-2.0
"""A service in the middle of its life: hosts, servers, hand-overs, rules."""

import uuid

from korora_nova.verifier.db import models
from tests.support import agent

POLICY = {
    'version': 1,
    'name': 'boot',
    'hosts': ['h*'],
    'rules': [
        {'secure-boot': {'enabled': True}},
        {'authorities': {'references': True}},
        {'ima': 'not-appraised'},
    ],
}
#: State, and driver, of responses.
RESPONSES = (
    ('waiting', 'drain'),
    ('due', 'disable'),
    ('done', 'notify'),
    ('dry-run', 'webhook'),
)


def stranger(korora, name: str) -> agent.SimAgent:
    """A host that the service does not know."""
    return agent.SimAgent(name, korora.client_as('attester'), korora.vendor)


def host(korora, name: str, reference: str = 'golden') -> agent.SimAgent:
    """A host that is affirming by a reference, which is made if need be."""
    admin = korora.client_as('admin')
    made = stranger(korora, name)
    made.join(admin)
    made.attest_now()
    if reference not in {one['name'] for one in admin.list_references()}:
        admin.create_reference(reference, name)
    made.attest_now()
    return made


def handed_over(korora, source, dest, server: str):
    """Everything up to the permit: (migration, permit)."""
    migration = str(uuid.uuid4())
    msk = dest.receive(migration, server, source.name)
    korora.nova.migrations.add((migration, server, source.name, dest.name))
    answer = source.send(migration, server, dest.name, msk.name)
    return migration, source.read(answer['permit'])


def moved(korora, source, dest, server: str) -> None:
    """A whole hand-over."""
    migration, permit = handed_over(korora, source, dest, server)
    dest.sealed(permit)
    source.start(permit)
    dest.state(migration, 'activated')
    source.state(migration, 'stream_completed')


def populate(korora) -> None:
    """Something of everything."""
    admin = korora.client_as('admin')
    source, dest = host(korora, 'h1'), host(korora, 'h2')
    stranger(korora, 'waiting').enrol()
    admin.approve_host('preloaded', '5a' * 32)
    servers = [str(uuid.uuid4()) for _ in range(6)]
    for server in servers:
        source.claim(server)
    moved(korora, source, dest, servers[0])
    moved(korora, source, dest, servers[1])
    handed_over(korora, source, dest, servers[2])
    source.delete(servers[3])
    admin.create_policy(POLICY)
    with korora.service.db.write() as session:
        for number, (state, driver) in enumerate(RESPONSES):
            session.add(
                models.Response(
                    id=str(uuid.uuid4()),
                    host=f'h{number}',
                    driver=driver,
                    state=state,
                    created_at=number,
                    updated_at=0,
                    due_at=0,
                )
            )
