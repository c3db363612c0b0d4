# SPDX-License-Identifier: Apache-2.0
"""Make the lab's hosts known to the attestation service, as operators do.

Runs in the virtual environment and the control plane's network, as
``python -m korora_tools.lab.onboard expect|learn|await HOST...``:

expect  pre-load the hashes of the EK certificates that came with the TPMs
learn   wait for h1's first evidence and take it as reference values
await   wait for the verdicts: h1, h2 affirming, h3 contraindicated
"""

from __future__ import annotations

import hashlib
import sys

from korora_nova import client as attestation
from korora_nova import errors
from korora_nova.attester import socket_client
from korora_tools import ui
from korora_tools.lab import client, machine, paths, processes

REFERENCE = 'lab'
GOLDEN_HOST = 'h1'
AFFIRMING = 'affirming'


def _service() -> attestation.AttestationClient:
    return attestation.AttestationClient(client.adapter_for('attestation'))


def expect(lab: paths.Lab, *hosts: str) -> None:
    """Approve each TPM before its host reports, by its delivery note."""
    service = _service()
    for host in hosts or paths.HOSTS:
        certificate = machine.ek_certificate(lab, host).read_bytes()
        service.approve_host(host, hashlib.sha256(certificate).hexdigest())


def learn(lab: paths.Lab) -> None:
    """Take the state of the golden host for the reference."""
    service = _service()

    def attested() -> bool:
        return bool(service.get_host(GOLDEN_HOST).get('last_attested'))

    processes.wait_for(lab, GOLDEN_HOST + '/korora-agent', attested, 60)
    service.create_reference(REFERENCE, GOLDEN_HOST)


def attest(lab: paths.Lab, host: str) -> str:
    """Let a host attest now; its tier, or "" if the agent is not there."""
    init = processes.load(lab, host + '/init')
    if init is None:
        return ''
    path = f'/proc/{init["inner"]}/root/run/korora/agent.sock'
    try:
        answer = socket_client.AgentClient(path, 30).call('attest')
        return str(answer['tier'])
    except errors.Untrusted:
        return 'contraindicated'
    except errors.Unavailable:
        return ''


def enforces(service: attestation.AttestationClient, host: str) -> bool:
    """Whether the host's nova-compute has told its agent that it is there."""
    return bool(service.get_host(host)['enforcing'])


def verdicts(lab: paths.Lab, *hosts: str) -> None:
    """Wait until these hosts have the verdict that their state deserves."""
    service = _service()
    for host in hosts:
        wanted = 'contraindicated' if host in paths.TAMPERED else AFFIRMING

        def right(host: str = host, wanted: str = wanted) -> bool:
            return (
                attest(lab, host) == wanted
                and service.get_result(host)['tier'] == wanted
                and (wanted != AFFIRMING or enforces(service, host))
            )

        processes.wait_for(lab, host + '/korora-agent', right, 120)


def main(what: str, *hosts: str) -> None:
    """Do one part; ends the process with a sentence when it fails."""
    lab = paths.Lab.default()
    try:
        if what == 'expect':
            expect(lab)
        elif what == 'learn':
            learn(lab)
        else:
            verdicts(lab, *hosts)
    except (ui.Problem, errors.KororaError) as exc:
        sys.exit(f'{what}: {exc}')


if __name__ == '__main__':
    main(*sys.argv[1:])
