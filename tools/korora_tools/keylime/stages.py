# SPDX-License-Identifier: Apache-2.0
"""Situations of one machine at a real Keylime, each made from the one before.

``EXPECTED`` says what the source ``keylime`` has to make of it.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from korora_tools import ui
from korora_tools.keylime.agent import Agent
from korora_tools.keylime.services import Services, free_port

#: A register of which the policies of this project know nothing.
PCR = '23'
#: NV index of the certificate of the endorsement key of template L-1.
_CERTIFICATE = '0x01c00002'
#: Seconds for the verifier to find something out.
_WAIT = 40.0


Stage: TypeAlias = Callable[['Keylime'], None]


class Expected(NamedTuple):
    """The word of the source on the host."""

    tier: str
    reason: str = ''


class Keylime:
    """The services, one machine's agent, and a machine of somebody else.

    :param machine: the software TPM of the host; ``other`` of another one.
    :param host: what this project calls the host.
    """

    def __init__(
        self,
        services: Services,
        machine: Any,
        other: Any,
        host: str,
    ) -> None:
        self.services = services
        self.machine, self.other, self.host = machine, other, host
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, 'keylime.invalid'))
        self._agents: list[Agent] = []
        self.agent = self.make(self.uuid, machine)

    def make(self, name: str, tpm: Any) -> Agent:
        """An agent in a TPM, with keys, and its server."""
        directory = self.services.directory / f'agent-{len(self._agents)}'
        directory.mkdir()
        made = Agent(name, tpm.tcti, directory, free_port())
        made.create_keys()
        made.start()
        self._agents.append(made)
        return made

    def register(self, agent: Agent, tpm: Any) -> None:
        agent.register(
            f'http://127.0.0.1:{self.services.agents_port}',
            certificate(tpm.tcti),
        )

    def add(self, agent: Agent) -> None:
        """Let the verifier ask it, with the registers as they are now."""
        self.services.add(agent.uuid, agent.port, {PCR: [agent.pcr(int(PCR))]})

    def status(self, agent: str) -> dict[str, Any]:
        """What the verifier says."""
        found = self.services.tenant(
            'GET', f'{self.services.verifier_url}/v2.6/agents/{agent}'
        )
        return dict(found)

    def wait(
        self, agent: str, wanted: Callable[[dict[str, Any]], bool]
    ) -> None:
        """:raises Problem: the verifier does not come to say so."""
        end = time.monotonic() + _WAIT
        while time.monotonic() < end:
            if wanted(self.status(agent)):
                return
            time.sleep(0.3)
        raise ui.Problem(f'Keylime still says {self.status(agent)}.')

    def forget(self, agent: str) -> None:
        """Let the registrar forget an agent; the verifier knows it still."""
        self.services.tenant(
            'DELETE', f'{self.services.registrar_url}/v2.6/agents/{agent}'
        )

    def stop(self) -> None:
        for agent in self._agents:
            agent.stop()
        self.services.stop()


def certificate(tcti: str) -> bytes:
    """Of the endorsement key, DER."""
    done = subprocess.run(
        ['tpm2_nvread', _CERTIFICATE],
        env={**os.environ, 'TPM2TOOLS_TCTI': tcti},
        capture_output=True,
        check=True,
    )
    return done.stdout


def unknown(world: Keylime) -> None:
    """Keylime does not know the machine."""


def passing(world: Keylime) -> None:
    """The verifier asks its agent, and is content."""
    world.register(world.agent, world.machine)
    world.add(world.agent)
    world.wait(world.uuid, lambda said: said['attestation_count'] > 1)


def restarted(world: Keylime) -> None:
    """The verifier was restarted a moment ago."""
    world.services.stop_one('verifier')
    world.services.start_one('verifier')


def silent(world: Keylime) -> None:
    """The agent does not answer any more, and the verifier gave it up."""
    world.wait(world.uuid, lambda said: said['operational_state'] in (3, 5))
    world.agent.silent = True
    world.wait(world.uuid, lambda said: said['operational_state'] == 7)


def again(world: Keylime) -> None:
    """It was added anew."""
    world.agent.silent = False
    world.services.remove(world.uuid)
    world.add(world.agent)
    world.wait(world.uuid, lambda said: said['attestation_count'] > 1)


def refused(world: Keylime) -> None:
    """A register has a value that its policy does not allow."""
    world.machine.extend(int(PCR), b'something else')
    world.wait(world.uuid, lambda said: said['operational_state'] == 9)


def corrected(world: Keylime) -> None:
    """The policy allows that value."""
    again(world)


def reassigned(world: Keylime) -> None:
    """Another machine got the agent's id at the registrar; the verifier
    still asks the one before."""
    world.forget(world.uuid)
    world.register(world.make(world.uuid, world.other), world.other)


def namesake(world: Keylime) -> None:
    """There is an agent with the name of the host, on another machine."""
    world.services.remove(world.uuid)
    agent = world.make(world.host, world.other)
    world.register(agent, world.other)
    world.add(agent)
    world.wait(world.host, lambda said: said['attestation_count'] > 1)


def back(world: Keylime) -> None:
    """The machine is registered and added as at first."""
    world.services.remove(world.host)
    world.forget(world.host)
    world.forget(world.uuid)
    passing(world)


STAGES: dict[Stage, Expected] = {
    unknown: Expected('none', 'SOURCE_HOST_UNKNOWN'),
    passing: Expected('affirming'),
    restarted: Expected('affirming'),
    silent: Expected('none', 'SOURCE_STALE'),
    again: Expected('affirming'),
    refused: Expected('contraindicated', 'SOURCE_REFUSES'),
    corrected: Expected('affirming'),
    reassigned: Expected('none', 'SOURCE_IDENTITY'),
    namesake: Expected('none', 'SOURCE_IDENTITY'),
}


def about(stage: Callable[..., None]) -> str:
    """What it is, in a line."""
    return ' '.join((stage.__doc__ or '').split())
