# SPDX-License-Identifier: Apache-2.0
"""What several proofs ask of a lab's cloud."""

from __future__ import annotations

from collections.abc import Collection

from keystoneauth1 import exceptions as ks_exc

from korora_tools import ui
from korora_tools.demo import world as w
from korora_tools.lab import onboard

#: Seconds without a task after which Nova has forgotten a migration: the
#: record may stay as it is for ever if its nova-compute broke.
IDLE = 15.0
_UP = 180.0
_TRUST = 120.0


def await_services(world: w.World, hosts: Collection[str]) -> None:
    """Wait until Nova's services are up.

    :param hosts: whose nova-computes have to be enabled, too: without
        libvirt they take themselves out for a while.
    :raises Problem: not in time.
    """

    def up() -> bool:
        try:
            found = world.nova.get('/os-services').json()['services']
        except ks_exc.ClientException:
            return False
        return all(
            one['state'] == 'up'
            and (one['host'] not in hosts or one['status'] == 'enabled')
            for one in found
        )

    ui.wait("Nova's services", up, _UP, 0.5)


def await_trust(world: w.World, host: str) -> None:
    """Wait until a host is affirming, and its nova-compute enforces.

    :raises Problem: not in time.
    """

    def trusted() -> bool:
        return (
            onboard.attest(world.lab, host) == 'affirming'
            and world.attestation(f'/v1/hosts/{host}')['enforcing']
        )

    ui.wait(f'{host} to be trusted', trusted, _TRUST, 0.5)


def keys_of(
    world: w.World, server: str, hosts: Collection[str]
) -> dict[str, list[str]]:
    """What each host's agent has of a server's key: the states."""
    return {
        host: [
            key['state']
            for key in world.agent(host, 'status')['keys']
            if key['instance'] == server
        ]
        for host in hosts
    }
