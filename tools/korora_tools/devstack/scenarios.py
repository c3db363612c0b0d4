# SPDX-License-Identifier: Apache-2.0
"""What is tried on a stacked cloud, as its users would."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from korora_tools import ui
from korora_tools.devstack.cloud import Cloud
from korora_tools.devstack.node import Node

PATIENCE = 240
TPM_DIR = '/opt/stack/data/korora-tpm'
TAMPER = f'/opt/stack/korora-nova/devstack/software-tpm tamper {TPM_DIR}'
RESTORE = 'systemctl restart devstack@korora-tpm devstack@korora-agent'
PROTECTED = 'protected'
PLAIN = 'plain'
VTPM = (
    'hw:tpm_version=2.0',
    'hw:tpm_model=tpm-crb',
    'hw:tpm_secret_security=host',
)


class Failed(ui.Problem):
    """A scenario did not go as it should."""


class World:
    """A cloud, seen by the one who tries it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def show(self, command: str) -> Any:
        return json.loads(self.cloud.openstack(f'{command} -f json'))

    def server(self, name: str) -> Any:
        return self.show(f'server show {name}')

    def until(
        self,
        what: str,
        found: Callable[[], str],
        wanted: str,
        hopeless: str = '',
    ) -> None:
        """Wait for a value.

        :raises Failed: a hopeless one, or none within PATIENCE.
        """
        end = time.monotonic() + PATIENCE
        value = ''
        while time.monotonic() < end:
            with contextlib.suppress(ui.Problem):
                value = found()
            if value == wanted:
                return
            if hopeless and value == hopeless:
                break
            time.sleep(2)
        raise Failed(f'{what} is {value!r}, expected {wanted!r}')

    def status(self, name: str, wanted: str) -> None:
        """Wait until a server has a status and nothing under way."""

        def found() -> str:
            server = self.server(name)
            if server['OS-EXT-STS:task_state']:
                return 'busy'
            return str(server['status'])

        hopeless = '' if wanted == 'ERROR' else 'ERROR'
        self.until(f'server {name}', found, wanted, hopeless)

    def host_of(self, name: str) -> str:
        return str(self.server(name)['OS-EXT-SRV-ATTR:host'])

    def tier(self, host: str) -> str:
        return str(self.show(f'attestation result show {host}')['tier'])

    def affirming(self, host: str) -> None:
        self.until(f'the tier of {host}', lambda: self.tier(host), 'affirming')

    def flavors(self) -> None:
        """Make both flavors unless they are there."""
        there = {row['Name'] for row in self.show('flavor list --all')}
        for name, specs in ((PROTECTED, VTPM), (PLAIN, ())):
            if name not in there:
                words = ' '.join(f'--property {spec}' for spec in specs)
                self.cloud.openstack(
                    f'flavor create {name} --ram 128 --disk 1 --vcpus 1 '
                    + words
                )

    def create(self, name: str, flavor: str, *, host: str = '') -> None:
        """Boot a server and wait until it runs; admins may name a host."""
        version, where = (
            ('--os-compute-api-version 2.74 ', f'--host {host} ')
            if host
            else ('', '')
        )
        self.cloud.openstack(
            f'{version}server create {where}--flavor {flavor} --image tiny '
            f'--network private {name}'
        )
        self.status(name, 'ACTIVE')

    def delete(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(ui.Problem):
                self.cloud.openstack(f'server delete --wait {name}')

    def tamper(self, node: Node) -> None:
        node.output(TAMPER)
        node.output('systemctl restart devstack@korora-agent')
        self.until(
            f'the tier of {node.name}',
            lambda: self.tier(node.name),
            'contraindicated',
        )

    def restore(self, node: Node) -> None:
        """Power-cycle the TPM, as far as the host is concerned."""
        node.output(RESTORE)
        self.affirming(node.name)

    @contextlib.contextmanager
    def tampered(self, node: Node) -> Iterator[None]:
        self.tamper(node)
        try:
            yield
        finally:
            self.restore(node)


def affirming(world: World) -> None:
    """The stacked node becomes trusted by itself."""
    tier = world.tier(world.cloud.controller.name)
    if tier != 'affirming':
        raise Failed(f'the node is {tier} after stack.sh')


def boot(world: World) -> None:
    """A protected server starts, and its key is in custody."""
    world.flavors()
    world.create('vtpm', PROTECTED)
    uuid = world.server('vtpm')['id']
    row = world.show(f'attestation server show {uuid}')
    if row['holder'] != world.cloud.controller.name:
        raise Failed(f'the ledger says {row}')


def stop_start(world: World) -> None:
    world.cloud.openstack('server stop vtpm')
    world.status('vtpm', 'SHUTOFF')
    world.cloud.openstack('server start vtpm')
    world.status('vtpm', 'ACTIVE')


def reboot(world: World) -> None:
    """A hard one: a soft one of this guest is the same, two minutes later."""
    world.cloud.openstack('server reboot --hard --wait vtpm')
    world.status('vtpm', 'ACTIVE')


def suspend(world: World) -> None:
    world.cloud.openstack('server suspend vtpm')
    world.status('vtpm', 'SUSPENDED')
    world.cloud.openstack('server resume vtpm')
    world.status('vtpm', 'ACTIVE')


def tamper_refused(world: World) -> None:
    """A running server runs on, none starts; all is well after a restore."""
    world.cloud.openstack('server stop vtpm')
    world.status('vtpm', 'SHUTOFF')
    with world.tampered(world.cloud.controller):
        world.cloud.openstack('server start vtpm')
        world.status('vtpm', 'SHUTOFF')
        events = world.show('server event list vtpm')
        # Refused by us, not merely not started yet.
        last = world.show(f'server event show vtpm {events[0]["Request ID"]}')
        if 'Error' not in json.dumps(last):
            raise Failed(f'the start was not refused: {last}')
    world.cloud.openstack('server start vtpm')
    world.status('vtpm', 'ACTIVE')


def plain(world: World) -> None:
    """A server that asks for nothing does not notice a tampered node."""
    with world.tampered(world.cloud.controller):
        world.create('plain', PLAIN)
        world.cloud.openstack('server reboot --hard --wait plain')
        world.status('plain', 'ACTIVE')
    world.delete('plain')


SCENARIOS = (
    affirming,
    boot,
    stop_start,
    reboot,
    suspend,
    tamper_refused,
    plain,
)


def run(
    world: World, *functions: Callable[[World], None]
) -> list[dict[str, Any]]:
    """Try each; a failure is printed and does not end the others."""
    rows = []
    for function in functions:
        name = function.__name__
        try:
            with ui.step(f'scenario {name}'):
                function(world)
            rows.append({'id': name, 'ok': True})
        except ui.Problem as exc:
            ui.note(f'          {exc}')
            rows.append({'id': name, 'ok': False, 'why': str(exc)})
    return rows
