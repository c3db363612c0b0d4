# SPDX-License-Identifier: Apache-2.0
"""The lab's cloud from Python: servers, live migrations, guests' ticks.

Needs the virtual environment and the control plane's network (start it by
``tools/lab run``). Talks to the public APIs only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import session as ks
from keystoneauth1.identity import v3

from lablib import guest, paths

Json = dict[str, Any]
ENDED = frozenset({'completed', 'error', 'failed', 'cancelled'})


def session(
    user: str = 'admin', project: str = 'admin', lab: paths.Lab | None = None
) -> ks.Session:
    """A Keystone session of one of the lab's users."""
    return ks.Session(v3.Password(
        paths.AUTH_URL, username=user, project_name=project,
        password=(lab or paths.Lab.default()).password,
        user_domain_id='default', project_domain_id='default',
    ))


def adapter_for(
    service: str, microversion: str | None = None, user: str = 'admin',
    project: str = 'admin',
) -> adapter.Adapter:
    """An adapter for a service type; compute speaks 2.96 unless told."""
    if service == 'compute' and microversion is None:
        microversion = '2.96'
    return adapter.Adapter(
        session(user, project), service_type=service, interface='public',
        region_name=paths.REGION, default_microversion=microversion,
    )


class CloudError(Exception):
    """The cloud did not do what was asked, or not in time."""


@dataclass(frozen=True)
class Outcome:
    """How a live migration ended; `seconds` from the request to its end."""

    source: str
    host: str
    server_status: str
    status: str
    seconds: float
    error: str = ''

    @property
    def migrated(self) -> bool:
        return self.status == 'completed' and self.host != self.source


class Cloud:
    """Servers of the lab, as an administrator sees them."""

    def __init__(self, lab: paths.Lab | None = None) -> None:
        self.lab = lab or paths.Lab.default()
        self.nova = adapter_for('compute')
        self.glance = adapter_for('image')

    # -- servers ----------------------------------------------------------

    def server(self, server: str) -> Json:
        answer: Json = self.nova.get('/servers/' + server).json()['server']
        return answer

    def host(self, server: str) -> str:
        return str(self.server(server)['OS-EXT-SRV-ATTR:host'])

    def wait(
        self, server: str, ready: Callable[[Json], bool], timeout: float = 90
    ) -> Json:
        """Poll until `ready(server)`; CloudError after `timeout` s."""
        end = time.monotonic() + timeout
        while not ready(found := self.server(server)):
            if time.monotonic() > end:
                raise CloudError('{}: {}, task {}, {}'.format(
                    server, found['status'], found['OS-EXT-STS:task_state'],
                    found.get('fault'),
                ))
            time.sleep(0.1)
        return found

    def create(self, name: str, flavor: str = 'vtpm', **extra: Any) -> Json:
        """Create a server without network; returns it ACTIVE or ERROR."""
        images = self.glance.get(
            '/v2/images', params={'name': 'guest'}
        ).json()['images']
        body = {
            'name': name, 'imageRef': images[0]['id'], 'flavorRef': flavor,
            'networks': 'none', **extra,
        }
        made = self.nova.post('/servers', json={'server': body}).json()
        return self.wait(
            made['server']['id'],
            lambda s: s['status'] in ('ACTIVE', 'ERROR'),
        )

    def delete(self, server: str, timeout: float = 60) -> None:
        self.nova.delete('/servers/' + server, raise_exc=False)
        end = time.monotonic() + timeout
        while self.nova.get(
            '/servers/' + server, raise_exc=False
        ).status_code != 404:
            if time.monotonic() > end:
                raise CloudError(f'{server} is not deleted')
            time.sleep(0.2)

    def act(self, server: str, timeout: float = 90, **action: Any) -> Json:
        """Do a server action (``reboot={"type": "HARD"}``) to its end."""
        self.nova.post(f'/servers/{server}/action', json=action)
        time.sleep(0.3)
        return self.wait(
            server, lambda s: s['OS-EXT-STS:task_state'] is None, timeout
        )

    # -- live migration ---------------------------------------------------

    def migrations(self, server: str) -> list[Json]:
        """Nova's records, the newest first."""
        found = self.nova.get(
            '/os-migrations', params={'instance_uuid': server}
        ).json()['migrations']
        return sorted(found, key=lambda m: m['id'], reverse=True)

    def migrate(
        self, server: str, host: str | None = None, force: bool = False,
        timeout: float = 120,
    ) -> Outcome:
        """Live-migrate and wait for the end, whatever it is.

        With `force` the scheduler is skipped (microversion 2.67).
        """
        source = self.host(server)
        known = {m['id'] for m in self.migrations(server)}
        body: Json = {'host': host, 'block_migration': 'auto'}
        if force:
            body['force'] = True
        began = time.monotonic()
        answer = self.nova.post(
            f'/servers/{server}/action', json={'os-migrateLive': body},
            microversion='2.67' if force else '2.96', raise_exc=False,
        )
        if answer.status_code >= 400:
            found = self.server(server)
            return Outcome(
                source, source, found['status'], 'rejected',
                time.monotonic() - began, answer.text,
            )
        while True:
            found = self.server(server)
            new = [m for m in self.migrations(server) if m['id'] not in known]
            ended = not new or new[0]['status'] in ENDED
            if found['OS-EXT-STS:task_state'] is None and ended:
                break
            if time.monotonic() - began > timeout:
                raise CloudError(f'{server} still migrates')
            time.sleep(0.1)
        return Outcome(
            source, found['OS-EXT-SRV-ATTR:host'], found['status'],
            new[0]['status'] if new else 'none', time.monotonic() - began,
            (found.get('fault') or {}).get('message', ''),
        )

    # -- the guest's own word ---------------------------------------------

    def ticks(self, server: str, host: str) -> list[guest.Tick]:
        return guest.ticks(self.lab.console(host, server))

    def wait_tick(
        self, server: str, host: str, number: int = 1, timeout: float = 90
    ) -> guest.Tick:
        """Wait for tick `number` or a later one on a host's console."""
        end = time.monotonic() + timeout
        while True:
            found = self.ticks(server, host)
            if found and found[-1].number >= number:
                return found[-1]
            if time.monotonic() > end:
                raise CloudError(f'no tick {number} of {server} on {host}')
            time.sleep(0.1)
