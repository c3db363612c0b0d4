# SPDX-License-Identifier: Apache-2.0
"""Make the lab's hosts known to the attestation service, as operators do.

Runs in the virtual environment and the control plane's network, as
``python -m lablib.onboard expect|learn|await``:

expect  pre-load the hashes of the EK certificates that came with the TPMs
learn   wait for h1's first evidence and take it as reference values
await   wait for the verdicts: h1, h2 affirming, h3 contraindicated
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable

from korora_nova import client as attestation
from korora_nova import errors
from korora_nova.attester import socket_client
from lablib import client, machine, paths, processes

REFERENCE = "lab"
GOLDEN_HOST = "h1"
AFFIRMING = "affirming"


def _service() -> attestation.AttestationClient:
    return attestation.AttestationClient(client.adapter_for("attestation"))


def _until(what: str, check: Callable[[], bool], timeout: float) -> None:
    end = time.monotonic() + timeout
    while not check():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.2)


def expect(lab: paths.Lab) -> None:
    """Approve each TPM before its host reports, by its delivery note."""
    service = _service()
    for host in paths.HOSTS:
        certificate = machine.ek_certificate(lab, host).read_bytes()
        service.approve_host(host, hashlib.sha256(certificate).hexdigest())


def learn(lab: paths.Lab) -> None:
    """Take the state of the golden host for the reference."""
    service = _service()

    def attested() -> bool:
        return bool(service.get_host(GOLDEN_HOST).get("last_attested"))

    _until("first evidence of " + GOLDEN_HOST, attested, 60)
    service.create_reference(REFERENCE, GOLDEN_HOST)


def attest(lab: paths.Lab, host: str) -> str:
    """Let a host attest now; its tier, or "" if the agent is not there."""
    init = processes.load(lab, host + "/init")
    if init is None:
        return ""
    path = f"/proc/{init['inner']}/root/run/korora/agent.sock"
    try:
        answer = socket_client.AgentClient(path, 30).call("attest")
        return str(answer["tier"])
    except errors.Untrusted:
        return "contraindicated"
    except errors.Unavailable:
        return ""


def verdicts(lab: paths.Lab) -> None:
    """Every host gets the verdict its state deserves; SystemExit if not."""
    service = _service()
    for host in paths.HOSTS:
        wanted = (
            "contraindicated" if host in paths.TAMPERED else AFFIRMING
        )

        def right(host: str = host, wanted: str = wanted) -> bool:
            return attest(lab, host) == wanted and (
                service.get_result(host)["tier"] == wanted
            )

        _until(f"{host} {wanted}", right, 60)


if __name__ == "__main__":
    {"expect": expect, "learn": learn, "await": verdicts}[sys.argv[1]](
        paths.Lab.default()
    )
