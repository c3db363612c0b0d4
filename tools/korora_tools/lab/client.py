# SPDX-License-Identifier: Apache-2.0
"""The lab's cloud from Python: its servers and their migrations.

Needs the virtual environment and the control plane's network (start it by
``tools/lab run``). Talks to the public APIs only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import session as ks
from keystoneauth1.identity import v3

from korora_tools.lab import paths

Json = dict[str, Any]
ENDED = frozenset({'completed', 'error', 'failed', 'cancelled'})


def session(
    user: str = 'admin', project: str = 'admin', lab: paths.Lab | None = None
) -> ks.Session:
    """A Keystone session of one of the lab's users."""
    return ks.Session(
        v3.Password(
            paths.AUTH_URL,
            username=user,
            project_name=project,
            password=(lab or paths.Lab.default()).password,
            user_domain_id='default',
            project_domain_id='default',
        )
    )


def adapter_for(
    service: str,
    microversion: str | None = None,
    user: str = 'admin',
    project: str = 'admin',
) -> adapter.Adapter:
    """An adapter for a service type; compute speaks 2.96 unless told."""
    if service == 'compute' and microversion is None:
        microversion = '2.96'
    return adapter.Adapter(
        session(user, project),
        service_type=service,
        interface='public',
        region_name=paths.REGION,
        default_microversion=microversion,
    )


class CloudError(Exception):
    """The cloud did not do what was asked, or not in time."""


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
        """Poll until `ready(server)`.

        :raises CloudError: it is not after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while not ready(found := self.server(server)):
            if time.monotonic() > end:
                raise CloudError(
                    '{}: {}, task {}, {}'.format(
                        server,
                        found['status'],
                        found['OS-EXT-STS:task_state'],
                        found.get('fault'),
                    )
                )
            time.sleep(0.1)
        return found

    def create(
        self,
        name: str,
        flavor: str = 'vtpm',
        image: str = 'guest',
        **extra: Any,
    ) -> Json:
        """Create a server without network; returns it ACTIVE or ERROR."""
        images = self.glance.get('/v2/images', params={'name': image}).json()[
            'images'
        ]
        body = {
            'name': name,
            'imageRef': images[0]['id'],
            'flavorRef': flavor,
            'networks': 'none',
            **extra,
        }
        made = self.nova.post('/servers', json={'server': body}).json()
        return self.wait(
            made['server']['id'],
            lambda s: s['status'] in ('ACTIVE', 'ERROR'),
        )

    def delete(self, server: str, timeout: float = 60) -> None:
        self.nova.delete('/servers/' + server, raise_exc=False)
        end = time.monotonic() + timeout
        while (
            self.nova.get('/servers/' + server, raise_exc=False).status_code
            != 404
        ):
            if time.monotonic() > end:
                raise CloudError(f'{server} is not deleted')
            time.sleep(0.2)

    def act(self, server: str, action: str, timeout: float = 90) -> Json:
        """Do a server action without parameters (``os-stop``) to its end."""
        self.nova.post(f'/servers/{server}/action', json={action: None})
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
