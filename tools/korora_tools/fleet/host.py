# SPDX-License-Identifier: Apache-2.0
"""One simulated host: the real agent's voice over a TPM in software."""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import os
import random
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from korora_nova import client, errors
from korora_nova.attester import attest
from korora_nova.attester.attest import Answered, Attester
from korora_nova.attester.trust import TrustedKeys
from korora_nova.custody import bodies, chain, exchange
from korora_nova.custody.chain import AnyVerified
from korora_nova.custody.words import ChallengeClass, Statement
from korora_nova.rats.quote.verify import Quote
from korora_nova.rats.signed import keys
from korora_nova.rats.signed.result import VerifiedResult, verify_result
from korora_nova.rats.words import Tier
from korora_tools.fleet import soft
from korora_tools.fleet.plan import Act, Member
from tests.support import simulator

#: What a host attests whose nova-compute enforces.
ENFORCER = bodies.Enforcer('korora.KororaLibvirtDriver', '1', '', 0)
#: Age, seconds, of a challenge that is not answered any more: the result would
#: expire at once, which agents with their interval never see.
STALE = 90.0
_UNKNOWN = '/tmp/dropped'  # noqa: S108 nobody makes it


class Lie(str, enum.Enum):
    """What a compromised host tries."""

    #: A quote that another key signed.
    FORGED = 'forged'
    #: The values of a good host beside a quote over its own.
    PCRS = 'pcrs'
    #: A good host's quote.
    RELAYED = 'relayed'
    #: An earlier quote.
    REPLAYED = 'replayed'
    #: The list without what must not be seen.
    HIDDEN = 'hidden'
    #: A TPM whose clock goes back.
    CLOCK = 'clock'
    #: A structure that no TPM made.
    MAGIC = 'magic'


class Voice(Attester):
    """The agent's, with a clock of its own, and lies.

    :ivar lie: what is told in place of the truth.
    """

    def __init__(
        self,
        machine: soft.Machine,
        api: client.AttestationClient,
        ring: keys.KeyRing,
        skew: float = 0.0,
    ) -> None:
        stand_in: Any = machine
        super().__init__(machine.name, stand_in, api, stand_in, _Pinned(ring))
        self.machine = machine
        identity: Any = soft.Identity(machine)
        self._identity = identity
        self._skew = skew
        self.lie: Lie | None = None
        self.accomplice: soft.Machine | None = None
        self._old: Quote | None = None

    def verify(self, token: str, host: str) -> VerifiedResult:
        """See :meth:`.Attester.verify`; by the clock of this host."""
        ring = self.trusted.ring()
        now = time.time() + self._skew
        return verify_result(token, ring, host=host, cloud=ring.cloud, now=now)

    def _quote(self, *of: Any) -> tuple[Quote, str]:
        quote, text = super()._quote(*of)
        old, self._old = self._old, quote
        return self._falsified(quote, old, of), text

    def _falsified(
        self, quote: Quote, old: Quote | None, of: tuple[Any, ...]
    ) -> Quote:
        if self.lie is Lie.REPLAYED:
            return old or quote
        if self.lie is Lie.PCRS:
            fine = self.accomplice.tpm.pcrs if self.accomplice else {}
            return dataclasses.replace(
                quote, pcrs={index: fine[index] for index in quote.pcrs}
            )
        if self.lie is Lie.RELAYED and self.accomplice is not None:
            mine, self.tpm = self.tpm, self.accomplice  # type: ignore
            try:
                return super()._quote(*of)[0]
            finally:
                self.tpm = mine
        return quote


class _Pinned(TrustedKeys):
    """The service's keys, as they were when the fleet began."""

    def __init__(self, ring: keys.KeyRing) -> None:
        super().__init__('')
        object.__setattr__(self, '_ring', ring)

    def ring(self) -> keys.KeyRing:
        ring: keys.KeyRing = vars(self)['_ring']
        return ring


class Host:
    """A member of the fleet.

    :ivar good: whether it is in the state that is wanted; and since when.
    :ivar documents: the newest of each server that it has.
    :ivar told: the service's last word on it; and when.
    """

    def __init__(
        self,
        member: Member,
        api: client.AttestationClient,
        ring: keys.KeyRing,
        vendor: Any,
    ) -> None:
        self.member = member
        self.name = member.name
        self.api = api
        self.ring = ring
        self.machine = soft.Machine(member.name, vendor)
        self.voice = self._voice()
        self.good, self.since = True, time.monotonic()
        self.documents: dict[str, AnyVerified] = {}
        self._answered: dict[str, Answered[Any]] = {}
        self.told: Tier | None = None
        self.told_at = 0.0

    def _voice(self) -> Voice:
        """Of an agent that has just started."""
        return Voice(self.machine, self.api, self.ring, self.member.skew)

    def use(self, api: client.AttestationClient) -> None:
        """Speak with another worker from now on."""
        self.api = self.voice.client = api

    def _boot(self, vector: str) -> None:
        self.machine.boot(vector)
        self.voice = self._voice()

    @property
    def ek_hash(self) -> str:
        return hashlib.sha256(self.machine.ek_cert).hexdigest()

    def enrol(self) -> str:
        """Prove the TPM; returns the status."""
        machine = self.machine
        offer = self.api.enrol(
            self.name,
            ek_cert=_b64(machine.ek_cert),
            ek_public=_b64(machine.ek_public),
            ak_public=_b64(machine.tpm.ak_public),
            srk_public=_b64(machine.tpm.srk_public),
        )
        proof = machine.activate(
            base64.b64decode(offer['credential']),
            base64.b64decode(offer['secret']),
        )
        return str(self.api.prove(self.name, _b64(proof))['status'])

    # Attestation

    def attest(self) -> Answered[exchange.Heard]:
        """Answer the challenge at hand, or else a new one, as the agent does.

        :raises KororaError: it was refused.
        """
        voice = self.voice

        def answer(whole: bool) -> Answered[exchange.Heard]:
            challenge = voice.spare(STALE) or voice.challenge(
                ChallengeClass.STEADY
            )
            return voice.answer(
                challenge, self.report(), exchange.Heard, whole=whole
            )

        answered = voice.repeated(
            lambda: voice.continuing(answer), attest.STALE
        )
        for token in answered.served.news:
            self.keep(token)
        self._present(answered.served.wanted)
        return answered

    def report(self) -> bodies.Attest:
        known = [
            bodies.Known(instance, item.content.version, item.hash, '')
            for instance, item in self.documents.items()
        ]
        return bodies.Attest.page(known, '', ENFORCER)

    def _present(self, wanted: tuple[str, ...]) -> None:
        tokens = [
            self.documents[one].token
            for one in wanted
            if one in self.documents
        ]
        if tokens:
            body = bodies.Present(tuple(tokens))
            said = self.voice.attest_for(body, exchange.Presented)
            for token in said.served.news:
                self.keep(token)

    def live(self, act: Act, turn: int, peer: Host) -> None:
        """Become what a round makes of it, before it attests.

        :param peer: a good host.
        """
        machine = self.machine
        if act is Act.MEASURE:
            for path in self.member.files(turn):
                machine.run(path)
        elif act is Act.REBOOT:
            self._boot(soft.GOOD)
            self._turned(good=True)
        elif act is Act.BOOT_OTHER:
            self._boot(soft.OTHER)
            self._turned(good=False)
        elif act is Act.DRIFT:
            machine.run(f'{_UNKNOWN}-{turn}')
            self._turned(good=False)
        elif act is Act.LIE:
            self._lie(turn, peer)

    def _turned(self, *, good: bool) -> None:
        if good != self.good:
            self.good, self.since = good, time.monotonic()

    def _lie(self, turn: int, peer: Host) -> None:
        machine, voice = self.machine, self.voice
        if self.good:
            machine.run(_UNKNOWN)
            self._turned(good=False)
        voice.accomplice = peer.machine
        dice: random.Random = self.member.dice(turn)
        voice.lie = lie = dice.choice(list(Lie))
        machine.hidden = 0
        machine.tpm.fields = type(machine.tpm.fields)()
        machine.tpm.ak = machine.ak
        if lie is Lie.HIDDEN:
            machine.hidden = len(machine.ima_log) // 2
        elif lie is Lie.CLOCK:
            machine.tpm.clock_ms = 1
        elif lie is Lie.MAGIC:
            machine.tpm.fields = dataclasses.replace(
                machine.tpm.fields, magic=0x11111111
            )
        elif lie is Lie.FORGED:
            machine.tpm.ak = ec.generate_private_key(ec.SECP256R1())

    # Custody

    def keep(self, token: str) -> AnyVerified:
        """Keep a document, if it is the newest of its server."""
        item = chain.read(token, self.ring)
        instance = item.content.instance
        newest = self.documents.get(instance)
        if newest is None or newest.content.version < item.content.version:
            self.documents[instance] = item
        return item

    def _say(
        self,
        body: bodies.Body,
        kind: type[Any],
        after: Answered[Any] | None = None,
        *,
        spare: bool = False,
    ) -> Answered[Any]:
        return self.voice.attest_for(body, kind, after, spare=spare)

    def claim(self, instance: str, key: str) -> AnyVerified:
        body = bodies.Claim(instance, key)
        return self.keep(self._say(body, exchange.Granted).served.grant)

    def open(self, instance: str, epoch: int) -> Any:
        """Have the service approve that the TPM opens a key."""
        kid = self.ring.active('approval').kid
        body = bodies.Approve((bodies.Key(instance, epoch, kid),))
        return self._say(body, exchange.Approvals).served.approvals[0]

    def receive(self, migration: str, instance: str, source: str) -> bytes:
        """Offer a migration storage key; returns its public area."""
        voice = self.voice
        asked = bodies.Receive(
            migration, instance, source, b'', b'', b'', b'', '192.0.2.2', ''
        )
        spare = [voice.spare(attest.YOUNG)]

        def offer(whole: bool) -> tuple[bytes, Answered[Any]]:
            challenge = (spare.pop() if spare else None) or voice.challenge()
            made = self.machine.migration_key(challenge.value, asked)
            return made.msk_public, voice.answer(
                challenge, made, exchange.Served, whole=whole
            )

        public, answered = voice.repeated(
            lambda: voice.continuing(offer), attest.STALE
        )
        self._answered[migration] = answered
        return public

    def send(
        self, migration: str, instance: str, dest: str, msk: bytes
    ) -> AnyVerified:
        """Ask for the permit."""
        body = bodies.Send(
            migration,
            instance,
            os.urandom(32).hex(),
            dest,
            simulator.name_of(msk).hex(),
            self.ring.active('approval').kid,
        )
        answered = self._say(body, exchange.Permitted, spare=True)
        self._answered[migration] = answered
        return self.keep(answered.served.permit)

    def sealed(self, permit: AnyVerified) -> None:
        """The copy is sealed here; the permit is known here."""
        self.keep(permit.token)
        migration = permit.content.migration
        key = '000b' + hashlib.sha256(permit.token.encode()).hexdigest()
        self._say(
            bodies.Sealed(migration, permit.hash, key),
            exchange.Served,
            self._answered.pop(migration, None),
        )

    def start(self, permit: AnyVerified) -> None:
        migration = permit.content.migration
        answered = self._say(
            bodies.Start(migration, permit.hash),
            exchange.Started,
            self._answered.pop(migration, None),
        )
        self.keep(answered.served.start)

    def tell(self, migration: str, word: Statement) -> AnyVerified | None:
        """Say a word; returns the receipt, if one came of it."""
        body = bodies.Tell(migration, word)
        receipt = self._say(body, exchange.Told).served.receipt
        return self.keep(receipt) if receipt else None

    def delete(self, instance: str) -> AnyVerified:
        body = bodies.Delete(instance)
        return self.keep(self._say(body, exchange.Told).served.receipt)


def trusted(answered: Answered[Any]) -> bool:
    return answered.result.tier is Tier.AFFIRMING


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


__all__ = ('Host', 'Lie', 'Voice', 'errors', 'trusted')
