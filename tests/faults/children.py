# SPDX-License-Identifier: Apache-2.0
"""The processes under test: the service, and a host's agent."""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
import sys
import time
import types
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import requests
from keystoneauth1 import adapter, noauth, session

from korora_nova import client, faultpoints
from korora_nova.attester import agent as agents
from korora_nova.attester import attest, boot, starts, stops
from korora_nova.rats import evidence
from tests.faults import copies, hook, kept, wire
from tests.support import custodian, hosts, service

#: In the place of 8 MiB, so that lists come in parts; but for those of hosts
#: that were just booted.
PART = 1024


@dataclasses.dataclass(frozen=True)
class Place:
    """What all processes of one world share.

    :param directory: of logs, clocks, stand-ins and sockets.
    :param port: of the service.
    """

    directory: pathlib.Path
    port: int

    def seconds(self, name: str) -> kept.Seconds:
        return kept.Seconds(self.directory / f'{name}.seconds')

    @property
    def points(self) -> pathlib.Path:
        return self.directory / 'points'

    def log(self, actor: str) -> pathlib.Path:
        return self.directory / f'{actor}.log'

    def libvirt(self, host: str) -> hosts.FakeLibvirt:
        return kept.keep(
            hosts.FakeLibvirt(), self.directory / 'libvirt' / host
        )

    def nova(self) -> service.FakeNova:
        return kept.keep(service.FakeNova(), self.directory / 'nova')

    def client_as(self, *roles: str) -> client.AttestationClient:
        """As KororaFixture's, over the network."""
        http = requests.Session()
        http.mount('http://', wire.Forward(self.port))
        return client.AttestationClient(
            adapter.Adapter(
                session.Session(
                    auth=noauth.NoAuth(endpoint=service.ENDPOINT),
                    session=http,
                    additional_headers={'X-Test-Roles': ','.join(roles)},
                ),
                service_type='attestation',
            )
        )


@dataclasses.dataclass(frozen=True)
class Korora:
    """What the service's process is given."""

    place: Place
    keys: str
    connection: str
    settings: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Host:
    """What an agent's process is given."""

    place: Place
    name: str
    directory: pathlib.Path
    tcti: str
    keys_file: str


def run_service(
    given: Korora, commands: Connection, faults: Connection
) -> None:
    """Serve until the process is killed."""
    acting = _prepare('v', given.place, faults)
    fixture = hosts.LiveKorora(given.connection, **given.settings)
    fixture.directory = given.keys
    fixture.keys_file = f'{given.keys}/keys.json'
    fixture.transport = service.WsgiTransport(None)
    fixture.nova = given.place.nova()
    fixture.clock = time.time
    fixture.conf = fixture._conf()
    hosts.LiveKorora.restart(fixture)
    copying = copies.Copies(
        fixture.service.db.engine, given.place.directory / 'copies'
    )
    wire.serve(fixture.application, given.place.port)

    def copy(on: bool) -> None:
        copying.clear()
        acting.copies = copying.take if on else lambda _name: None

    _obey(commands, {'arm': acting.arm, 'copy': copy, 'points': lambda: None})


def run_agent(given: Host, commands: Connection, faults: Connection) -> None:
    """Serve until the process is killed."""
    acting = _prepare(given.name, given.place, faults)
    wire.Bus.directory = given.place.directory / 'bus'
    agents.Bus = wire.Bus  # type: ignore
    machine = object.__new__(hosts.Machine)
    machine.name = given.name
    machine.directory = given.directory
    machine.tls = False
    machine.korora = types.SimpleNamespace(  # type: ignore
        bus='', keys_file=given.keys_file, client_as=given.place.client_as
    )
    machine.hardware = types.SimpleNamespace(tcti=given.tcti)  # type: ignore
    machine.libvirt = given.place.libvirt(given.name)
    machine.VTPM_CHECK = stops.REFUSE
    starts.COLD_WAIT = 0.0  # nothing moves by itself
    machine.power_agent()
    _obey(
        commands,
        {
            'arm': acting.arm,
            'settle': machine.settle,
            'state': machine.state,
            'step': functools.partial(_step, machine),
            'keep keys inside': custodian.keep_inside,
            'identity': lambda: machine.agent.attester.identity.ek_cert,
            # As after its start, which would disarm it
            'send whole list': lambda: setattr(
                machine.agent.attester, '_place', attest._BEGINNING
            ),
        },
    )


def _step(machine: hosts.Machine) -> None:
    """Attest; nova-compute has said that it enforces."""
    machine.enforce()
    machine.agent.attestation.step()


def _prepare(actor: str, place: Place, faults: Connection) -> hook.Hook:
    """Its log, its clocks, and its points of fault."""
    evidence.MAX_IMA_LOG = PART
    logging.basicConfig(
        filename=place.log(actor),
        level=logging.INFO,
        format='%(asctime)s %(name)s %(message)s',
        force=True,
    )
    passed, wrong = place.seconds('passed'), place.seconds(actor)
    real, since_boot = time.time, boot.now
    time.time = lambda: real() + passed.get() + wrong.get()
    boot.now = lambda: since_boot() + passed.get()
    faultpoints.hook = acting = hook.Hook(actor, place.points, faults)
    return acting


def _obey(commands: Connection, known: dict[str, Callable[..., Any]]) -> None:
    """Run what the test asks for, one thing at a time."""
    commands.send(True)
    while True:
        try:
            name, args = commands.recv()
        except EOFError:
            sys.exit()
        try:
            answer = True, known[name](*args)
        except Exception as exc:  # noqa: BLE001 told to the test
            logging.exception('%s', name)
            answer = False, f'{type(exc).__name__}: {exc}'
        commands.send(answer)
