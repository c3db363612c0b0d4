# SPDX-License-Identifier: Apache-2.0
"""One end of a pair: runs in a process of its own, with a tree's code.

It is started by its path with PYTHONPATH set to the tree, the last release's
or this one, so it uses only what both have. Each line of its input is an
object ``{"do": NAME, ...}``, each line of its output ``{"answer": ...}`` or
``{"refused": REASON, "why": ...}``; ``{"certify": PEM}`` asks for an
endorsement certificate.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import serialization
from keystoneauth1 import adapter, session
from keystoneauth1.identity import v3

from korora_nova import client, errors, transport
from korora_nova.custody import chain, permit, transcript, transfer, words
from korora_nova.rats.signed import keys
from korora_nova.rats.tpm2.policy import PCRS_POLICY

Json = dict[str, Any]


def connect(given: Json) -> client.AttestationClient:
    """The API, as the user that is given."""
    made = session.Session(
        auth=v3.Password(
            auth_url=given['keystone'],
            username=given['user'],
            password=given['password'],
            project_name=given['project'],
            user_domain_id='default',
            project_domain_id='default',
        )
    )
    transport.bound(made)
    return client.AttestationClient(
        adapter.Adapter(
            made,
            service_type='attestation',
            endpoint_override=given['endpoint'],
        ),
        timeout=20,
    )


def say(document: Json) -> None:
    print(json.dumps(document), flush=True)


class Vendor:
    """The maker of the TPM is the process that has started this one."""

    def certify(self, public: Any) -> bytes:
        pem = public.public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        say({'certify': pem.decode()})
        return base64.b64decode(
            json.loads(sys.stdin.readline())['certificate']
        )


class Host:
    """A host: the agent's own voice over a TPM in software."""

    def __init__(self, given: Json) -> None:
        from korora_tools.fleet import host, plan

        self._given = given
        self.ring = keys.KeyRing.load(given['keys'])
        member = plan.Member(1, given['name'], plan.Kind.STEADY, 0.0, 1)
        self.host = host.Host(member, connect(given), self.ring, Vendor())
        self.asked: transfer.WrapRequest | None = None

    def use(self, endpoint: str) -> None:
        """Speak with another worker from now on."""
        self.host.use(connect({**self._given, 'endpoint': endpoint}))

    def spoil(self) -> None:
        """A program runs that nobody approved."""
        self.host.machine.run('/tmp/unknown')  # noqa: S108 nobody makes it

    def enrol(self) -> Json:
        return {'status': self.host.enrol(), 'ek_hash': self.host.ek_hash}

    def attest(self) -> Json:
        result = self.host.attest().result
        return {'tier': result.tier, 'reasons': list(result.reasons)}

    def claim(self, instance: str) -> str:
        key = '000b' + os.urandom(32).hex()
        return self.host.claim(instance, key).token

    def open(self, instance: str, epoch: int) -> int:
        """The deadline of the approval."""
        return int(self.host.open(instance, epoch).deadline)

    def receive(self, migration: str, instance: str, source: str) -> Json:
        """Offer a storage key, and ask for the server's key (C2, C3)."""
        public = self.host.receive(migration, instance, source)
        self.asked = transfer.WrapRequest(
            migration, instance, public, self.host.name
        )
        return self.asked.to_json()

    def wrap(self, request: Json) -> Json:
        """Get the permit, and sign for what is sent (C4, C5)."""
        asked = transfer.WrapRequest.from_json(request)
        given = self.host.send(
            asked.migration, asked.instance, asked.dest, asked.msk_public
        )
        verified = permit.verify_permit(given.token, self.ring)
        public = _transit(verified.transit_policy)
        parts = public, os.urandom(64), os.urandom(64), os.urandom(96)
        tpm = self.host.machine.tpm
        return transfer.Transfer(
            verified.token,
            tpm.ak_public,
            *parts,
            quote=tpm.quote(
                transcript.transfer_qualifying(verified.token, *parts),
                PCRS_POLICY,
            ),
        ).to_json()

    def take(self, sent: Json) -> int:
        """Check all that was sent, and say that it is sealed (C5, C6)."""
        assert self.asked is not None
        got = transfer.Transfer.from_json(sent)
        verified = permit.verify_permit(got.permit, self.ring)
        content = verified.content
        if (content.migration, content.dest) != (
            self.asked.migration,
            self.host.name,
        ):
            raise ValueError('the permit is for another hand-over')
        got.verify_source(verified)
        self.host.sealed(verified)
        return int(content.new_epoch)

    def start(self, sent: Json) -> None:
        got = transfer.Transfer.from_json(sent)
        self.host.start(permit.verify_permit(got.permit, self.ring))

    def tell(self, migration: str, word: str) -> str:
        receipt = self.host.tell(migration, words.Statement(word))
        return receipt.token if receipt else ''

    def delete(self, instance: str) -> str:
        return self.host.delete(instance).token

    def newest(self, instance: str) -> str:
        """The newest document that it has, and verified."""
        return self.host.documents[instance].token

    def verify(self, token: str) -> Json:
        """Read a document that another host has."""
        content = chain.read(token, self.ring).content
        return {
            'holder': getattr(content, 'holder', ''),
            'outcome': getattr(content, 'outcome', ''),
            'version': content.version,
        }


def _transit(policy: bytes) -> bytes:
    """TPM2B_PUBLIC of a transit object: part 2, 12.2.5; keyedhash."""
    area = struct.pack('>HHIH', 0x0008, 0x000B, 0x480, len(policy)) + policy
    area += struct.pack('>HH', 0x0010, 32) + os.urandom(32)
    return struct.pack('>H', len(area)) + area


class Scheduler:
    """Nova's filter, with Nova's own objects."""

    def __init__(self, given: Json) -> None:
        from nova import objects
        from nova.scheduler import host_manager

        from korora_nova.relying_party import filter as relying
        from korora_nova.relying_party import results

        objects.register_all()
        self._objects, self._state = objects, host_manager.HostState
        self._filter, self._results = relying.AttestationFilter(), results
        self._given = given
        self.use(given['endpoint'])

    def use(self, endpoint: str) -> None:
        """Ask another worker from now on."""
        given = {**self._given, 'endpoint': endpoint}
        self._filter._results = self._results.Results(
            lambda: connect(given), given['keys'], cache=0, budget=30
        )

    def place(self, hosts: list[str]) -> list[str]:
        """Those that a protected server may go to."""
        specs = {'hw:tpm_version': '2.0', 'hw:tpm_secret_security': 'host'}
        spec = self._objects.RequestSpec(
            instance_uuid='6d3cbd36-8a05-4a2c-b6e3-f2e3ec4f5c11',
            flavor=self._objects.Flavor(extra_specs=specs),
            image=self._objects.ImageMeta(
                properties=self._objects.ImageMetaProps()
            ),
            scheduler_hints={},
        )
        states = [self._state(one, one, 'cell') for one in hosts]
        passed = self._filter.filter_all(states, spec)
        return [one.host for one in passed]


class Driver:
    """What nova-compute has of the agent: the client of its socket."""

    def __init__(self, given: Json) -> None:
        from korora_nova.attester.socket_client import AgentClient

        self.agent = AgentClient(given['socket'], 30)

    def status(self) -> Json:
        """Of an agent that may still be starting."""
        end = time.monotonic() + 60
        while True:
            try:
                found = self.agent.status()
                return {'host': found.host, 'tier': found.tier}
            except errors.Unavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def enforces(self) -> None:
        self.agent.enforces('korora.KororaLibvirtDriver', '1', '')

    def attest(self) -> str:
        return str(self.agent.attest(5.0).tier)

    def verdict(self, host: str) -> str:
        return str(self.agent.verdict(host).tier)

    def protection(self, instance: str) -> str:
        return str(self.agent.protection(instance).state)


ROLES = {'host': Host, 'scheduler': Scheduler, 'driver': Driver}


def serve(actor: object) -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        act: Callable[..., Any] = getattr(actor, asked.pop('do'))
        try:
            say({'answer': act(**asked)})
        except errors.KororaError as exc:
            say({'refused': str(exc.reason), 'why': f'{exc} {exc.details}'})
        except Exception as exc:  # noqa: BLE001 - the pair fails, and says why
            say({'refused': type(exc).__name__, 'why': str(exc)})


if __name__ == '__main__':
    given = json.loads(sys.argv[1])
    made = ROLES[given['role']](given)
    say({'answer': os.path.dirname(errors.__file__)})
    serve(made)
