# SPDX-License-Identifier: Apache-2.0
"""A small cloud to look at: hosts in every tier, hand-overs in every state.

Keystone, MariaDB and the service are real, the evidence is signed by TPMs in
software. Beside the service's region there are regions whose services are
down, silent, of another time, or lie.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from typing import Any

from keystoneauth1 import adapter

from korora_nova.custody import bodies
from korora_nova.rats.signed import keys
from korora_tools import ui
from korora_tools.fleet import plan, stack
from korora_tools.fleet.custody import Lives
from korora_tools.fleet.host import ENFORCER, Host
from korora_tools.fleet.keystone import PASSWORD
from korora_tools.fleet.plan import Act, End, Kind, Life, Move
from korora_tools.fleet.tally import Tally
from korora_tools.horizon import liars

#: Seconds for which a result counts here, and between attestations.
TTL, INTERVAL = 60.0, 15.0
#: User -> roles in the project of the same name.
USERS = {'reader': ('attestation_reader',), 'stranger': ('member',)}

GOOD, TAMPERED, SILENT = range(0, 3), 3, 4
PENDING, PRELOADED, LATER = 5, 6, 7
_MOVED = '5a1d6c0e-0d5e-4b35-9d9c-6f1c9b3e7a01'
_STAYED = '5a1d6c0e-0d5e-4b35-9d9c-6f1c9b3e7a02'
_OPEN = '5a1d6c0e-0d5e-4b35-9d9c-6f1c9b3e7a03'
_SERVERS = [f'c0ffee00-0000-4000-8000-00000000000{n}' for n in range(1, 4)]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a test has to know, as JSON.

    :param keys: path of the pinned keys.
    :param moved, stayed, open: migrations, by what became of them.
    :param hashes: host -> hash of its endorsement key.
    """

    keystone: str
    memcached: int
    keys: str
    password: str
    hosts: list[str]
    moved: str
    stayed: str
    open: str
    servers: list[str]
    hashes: dict[str, str]


def name(number: int) -> str:
    return f'compute-{number}'


class Keeper(Host):
    """A host that has the copies of the keys that it holds."""

    def report(self) -> bodies.Attest:
        """See :meth:`.Host.report`."""
        kid = self.ring.active('approval').kid
        known = [
            bodies.Known(
                instance,
                item.content.version,
                item.hash,
                kid if item.content.holding()['holder'] == self.name else '',
            )
            for instance, item in self.documents.items()
        ]
        return bodies.Attest.page(known, '', ENFORCER)


class World:
    """It, until the stack is closed."""

    def __init__(self, life: contextlib.ExitStack) -> None:
        self.simple = stack.Simple(life, 1, {'result_ttl': TTL})
        base = self.simple.base
        self.scratch = base.scratch
        self.admin = self.simple.admin()
        ring = keys.KeyRing.load(dict(self.admin.keys()))
        self.hosts = {
            number: Keeper(
                plan.Member(number, name(number), Kind.STEADY, 0, 1),
                self.simple.agents(),
                ring,
                base.vendor,
            )
            for number in range(8)
        }
        with ui.step('users, regions and endpoints in Keystone'):
            self._keystone(life)
        with ui.step('hosts attest'):
            self._attest()
        with ui.step('servers are handed over'):
            self._hand_over()
        for number in GOOD:
            # What they have now.
            self.hosts[number].attest()
        life.enter_context(self._attesting())

    # Keystone

    def _keystone(self, life: contextlib.ExitStack) -> None:
        base = self.simple.base
        api = adapter.Adapter(
            base.keystone.session(), endpoint_override=base.keystone.url
        )
        service = api.post(
            '/services',
            json={'service': {'type': 'attestation', 'name': 'korora'}},
        ).json()['service']['id']
        regions = {
            'RegionOne': self.simple.endpoints[0],
            **liars.serve(life, self.scratch),
        }
        for region, url in regions.items():
            api.put(
                f'/regions/{region}',
                json={'region': {'id': region}},
                raise_exc=False,
            )
            api.post(
                '/endpoints',
                json={
                    'endpoint': {
                        'service_id': service,
                        'interface': 'public',
                        'region_id': region,
                        'url': url,
                    }
                },
            )
        for user, roles in USERS.items():
            self._user(api, user, roles)

    def _user(self, api: Any, user: str, roles: tuple[str, ...]) -> None:
        project = api.post(
            '/projects',
            json={'project': {'name': user, 'domain_id': 'default'}},
        ).json()['project']['id']
        made = api.post(
            '/users',
            json={
                'user': {
                    'name': user,
                    'domain_id': 'default',
                    'password': PASSWORD,
                    'default_project_id': project,
                }
            },
        ).json()['user']['id']
        for role in roles:
            found = api.get('/roles', params={'name': role}).json()['roles']
            if not found:
                found = [
                    api.post('/roles', json={'role': {'name': role}}).json()[
                        'role'
                    ]
                ]
            api.put(f'/projects/{project}/users/{made}/roles/{found[0]["id"]}')

    # Hosts

    def _attest(self) -> None:
        golden = self.hosts[0]
        for number in range(20):
            golden.machine.run(plan.known(number))
        for number, host in self.hosts.items():
            if number == PRELOADED:
                self.admin.approve_host(host.name, host.ek_hash)
                continue
            host.enrol()
            if number not in (PENDING, LATER):
                self.admin.approve_host(host.name, host.ek_hash)
        golden.attest()
        self.admin.create_reference('golden', golden.name)
        self.hosts[TAMPERED].live(Act.DRIFT, 1, golden)
        for number in (*GOOD, TAMPERED, SILENT):
            self.hosts[number].attest()
        self.admin.create_policy(
            {
                'version': 1,
                'name': 'production',
                'hosts': ['compute-3'],
                'rules': [
                    {'secure-boot': {'enabled': True}},
                    {'boot-components': {'pcrs': [4], 'references': True}},
                    {'ima': {'references': True}},
                ],
            }
        )
        self.hosts[TAMPERED].attest()

    @contextlib.contextmanager
    def _attesting(self) -> Any:
        """Those that speak do so again and again."""
        ended = threading.Event()

        def speak() -> None:
            while not ended.wait(INTERVAL):
                for number in (*GOOD, TAMPERED):
                    self.hosts[number].attest()

        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(60)

    # Servers

    def _hand_over(self) -> None:
        lives = Lives(self.hosts, self.simple.base.nova, Tally())
        for number, (instance, move) in enumerate(
            (
                (_SERVERS[0], Move(_MOVED, 1, End.COMMITTED)),
                (_SERVERS[1], Move(_STAYED, 2, End.ABORTED)),
            )
        ):
            key = '000b' + f'{number + 1:02x}' * 32
            lives.live(Life(instance, 0, key, (move,), False))
        if lives.done['stuck']:
            raise ui.Problem('a server could not be handed over')
        self._leave_open()

    def _leave_open(self) -> None:
        """A permit, and nothing after it."""
        instance, nova = _SERVERS[2], self.simple.base.nova
        source, dest = self.hosts[1], self.hosts[2]
        nova.hosts[instance] = source.name
        source.claim(instance, '000b' + '0f' * 32)
        nova.migrations[instance] = (_OPEN, source.name, dest.name)
        msk = dest.receive(_OPEN, instance, source.name)
        dest.keep(source.send(_OPEN, instance, dest.name, msk).token)

    def facts(self) -> Facts:
        base = self.simple.base
        return Facts(
            keystone=base.keystone.url,
            memcached=base.memcached_port,
            keys=str(base.etc / 'keys.json'),
            password=PASSWORD,
            hosts=[host.name for host in self.hosts.values()],
            moved=_MOVED,
            stayed=_STAYED,
            open=_OPEN,
            servers=_SERVERS,
            hashes={one.name: one.ek_hash for one in self.hosts.values()},
        )
