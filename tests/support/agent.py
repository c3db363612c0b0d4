# SPDX-License-Identifier: Apache-2.0
"""A host that talks to the service as an agent does, with a SimTpm."""

import base64
import dataclasses
import functools
import hashlib
import hmac
import json
import os
import struct
import typing
from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from korora_nova import client
from korora_nova.custody import bodies, chain, transcript
from korora_nova.custody.chain import AnyVerified
from korora_nova.rats import evidence
from korora_nova.rats.signed import keys
from korora_nova.rats.x509 import stream
from tests.support import simulator

#: What a destination's copy is sealed in, unless a test says otherwise.
KEY = '000b' + '5e' * 32


#: What a host attests whose nova-compute enforces.
ENFORCER = bodies.Enforcer('korora.KororaLibvirtDriver', '1', '', 0)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@functools.cache
def ek_key(name: str) -> rsa.RSAPrivateKey:
    """One endorsement key per name and process: making one is slow."""
    return rsa.generate_private_key(65537, 2048)


def activate(
    ek: rsa.RSAPrivateKey, name: bytes, blob: bytes, encrypted: bytes
) -> bytes:
    """TPM2_ActivateCredential in software (part 1, section 24).

    :param name: of the object in this TPM.
    :param blob: TPM2B_ID_OBJECT; ``encrypted``: TPM2B_ENCRYPTED_SECRET.
    :raises ValueError: the credential is for another TPM or object.
    """
    seed = ek.decrypt(
        encrypted[2:],
        padding.OAEP(
            padding.MGF1(hashes.SHA256()), hashes.SHA256(), b'IDENTITY\0'
        ),
    )
    (size,) = struct.unpack_from('>H', blob, 2)
    mac, identity = blob[4 : 4 + size], blob[4 + size :]
    hmac_key = _kdfa(seed, b'INTEGRITY', b'', 256)
    if hmac.digest(hmac_key, identity + name, 'sha256') != mac:
        raise ValueError('integrity')
    cipher = Cipher(
        algorithms.AES(_kdfa(seed, b'STORAGE', name, 128)),
        modes.CFB(bytes(16)),
    ).decryptor()
    return (cipher.update(identity) + cipher.finalize())[2:]


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    data = (
        struct.pack('>I', 1)
        + label
        + b'\0'
        + context
        + struct.pack('>I', bits)
    )
    return hmac.digest(key, data, 'sha256')[: bits // 8]


class Msk(typing.NamedTuple):
    """A migration storage key, as D reports it."""

    public: bytes
    creation: bytes
    attest: bytes
    signature: bytes

    @property
    def name(self) -> str:
        return simulator.name_of(self.public).hex()


class SimAgent(simulator.SimHost):
    """A simulated host with an endorsement key and a client.

    :param vendor: certifies the endorsement key.
    :ivar offset: where the lists that it sends begin.
    :ivar log_there: digest of the firmware's log that the service has.
    :ivar dropped: how much of the list its kernel has dropped.
    :ivar enforcer: what it attests of its nova-compute; None for nothing.
    :ivar tls: what it says of its certificate; None for nothing.
    :ivar documents: all that it was given, by digest; ``newest`` by server.
    """

    def __init__(
        self,
        name: str,
        api: client.AttestationClient,
        vendor,
        *,
        ek: str | None = None,
        vector: str = 'direct-kernel',
    ) -> None:
        super().__init__(name, vector)
        self.offset = self.dropped = 0
        self.log_there = ''
        self.enforcer: bodies.Enforcer | None = ENFORCER
        self.tls: bodies.Tls | None = None
        self.tls_key = ec.generate_private_key(ec.SECP256R1())
        self.ring: keys.KeyRing | None = None
        self.documents: dict[str, AnyVerified] = {}
        self.newest: dict[str, AnyVerified] = {}
        self.api = api
        self.ek = ek_key(ek or name)
        self.ek_public = simulator.rsa_public(self.ek.public_key())
        self.ek_cert = vendor.certify(self.ek.public_key())

    @property
    def approval_kid(self) -> str:
        """What all its copies rest under."""
        return self.pinned.active('approval').kid

    @property
    def pinned(self) -> keys.KeyRing:
        """The service's keys, as it says at first."""
        if self.ring is None:
            self.ring = keys.KeyRing.load(dict(self.api.keys()))
        return self.ring

    @property
    def ek_hash(self) -> str:
        return hashlib.sha256(self.ek_cert).hexdigest()

    def ask_credential(self, **changed: str) -> dict:
        """First half of the enrolment."""
        return self.api.enrol(
            self.name,
            **{
                'ek_cert': b64(self.ek_cert),
                'ek_public': b64(self.ek_public),
                'ak_public': b64(self.tpm.ak_public),
                'srk_public': b64(self.tpm.srk_public),
                **changed,
            },
        )

    def open_credential(self, answer: dict) -> str:
        """What only this TPM can: the proof, base64."""
        return b64(
            activate(
                self.ek,
                self.tpm.ak_name,
                base64.b64decode(answer['credential']),
                base64.b64decode(answer['secret']),
            )
        )

    def enrol(self) -> str:
        """The whole enrolment; returns the status."""
        proof = self.open_credential(self.ask_credential())
        return self.api.prove(self.name, proof)['status']

    def join(self, admin: client.AttestationClient) -> None:
        """Enrol and be approved by an operator."""
        self.enrol()
        admin.approve_host(self.name, self.ek_hash)

    def challenge(self, kind: str = 'on-demand') -> str:
        return self.api.challenge(self.name, kind)['challenge']

    def message(
        self, purpose: str, body: str, challenge: str, **changed
    ) -> dict:
        """A whole evidence request."""
        proof = self.attest(bytes.fromhex(challenge), purpose, body.encode())
        start = max(self.offset, self.dropped)
        digest = hashlib.sha256(proof.uefi_log).hexdigest()
        there = digest == self.log_there
        proof = dataclasses.replace(
            proof,
            ima_log=proof.ima_log[start:],
            ima_offset=self.offset,
            uefi_log=b'' if there else proof.uefi_log,
            uefi_digest=digest if there else '',
        )
        return {
            'version': 1,
            'challenge': challenge,
            'purpose': purpose,
            'body': body,
            'evidence': proof.to_json(),
            **changed,
        }

    def say(self, purpose: str, challenge: str | None = None, **body) -> dict:
        """Attest with a purpose; fields of the body by keyword."""
        if purpose == 'attest' and self.enforcer is not None:
            body.setdefault('enforcer', self.enforcer._asdict())
        if purpose == 'attest' and self.tls is not None:
            body.setdefault('tls', self.tls._asdict())
        text = json.dumps({'version': 1, **body})
        return self.api.evidence(
            self.name,
            self.message(purpose, text, challenge or self.challenge()),
        )

    def attest_now(
        self,
        kind: str = 'steady',
        known: Iterable[bodies.Known] = (),
        **more: object,
    ) -> dict:
        return self.say(
            'attest',
            self.challenge(kind),
            known=[list(one) for one in known],
            **more,
        )

    def go_on(self) -> dict:
        """Attest, and send what is new from the next time on."""
        answer = self.attest_now()
        self.offset = answer['ima_offset']
        self.log_there = answer.get('uefi_digest', '')
        return answer

    # Purposes

    def certify(
        self, private: ec.EllipticCurvePrivateKey | None = None
    ) -> dict:
        """Ask for a certificate with the next attestation, and note it.

        :param private: default: the one it had last.
        """
        self.tls_key = private or self.tls_key
        serial = self.tls.serial if self.tls is not None else ''
        request = stream.request(self.tls_key, self.name)
        self.tls = bodies.Tls(b64(request), serial)
        streams = self.attest_now()['streams']
        if 'certificate' in streams:
            read = stream.read(
                streams['certificate'].encode(),
                self.tls_key.public_key(),
                keys.KeyRing.load(dict(self.api.keys())).authorities.values(),
            )
            self.tls = self.tls._replace(serial=read.serial)
        return streams

    def claim(self, instance: str, key: str | None = None) -> AnyVerified:
        """Claim a key, by default one that was never claimed before."""
        key = key or f'000b{os.urandom(32).hex()}'
        return self.keep(
            self.say('claim', instance=instance, key=key)['grant']
        )

    def approve(self, *wanted: tuple[str, int]) -> list[dict]:
        return self.say(
            'approve', keys=[[*one, self.approval_kid] for one in wanted]
        )['approvals']

    def make_msk(
        self,
        challenge: str,
        migration: str,
        instance: str,
        source: str,
        outside: bytes | None = None,
    ) -> Msk:
        """Create and certify a migration storage key."""
        nonce = bytes.fromhex(challenge)
        outside = outside or transcript.msk_outside_info(
            nonce, migration, instance, source, self.name
        )
        # The body names the key, so make the key before its attestation.
        public, creation, _, _ = self.tpm.create_msk(outside, b'')
        qualifying = evidence.qualify(
            nonce,
            'receive-key',
            self.name,
            bodies.receive_key_body(migration, instance, source, public),
        )
        return Msk(
            public, creation, *self._certify(public, creation, qualifying)
        )

    def _certify(
        self, public: bytes, creation: bytes, qualifying: bytes
    ) -> tuple[bytes, bytes]:
        """TPM2_CertifyCreation: TPMS_ATTEST and TPMT_SIGNATURE."""
        kept = self.tpm.fields
        self.tpm.fields = dataclasses.replace(kept, kind=0x801A)
        attest = self.tpm.attest(
            qualifying,
            simulator.sized(simulator.name_of(public))
            + simulator.sized(hashlib.sha256(creation).digest()),
        )
        self.tpm.fields = kept
        return attest, self.tpm.sign(attest)

    def receive(
        self,
        migration: str,
        instance: str,
        source: str,
        *,
        msk: Msk | None = None,
        challenge: str | None = None,
        **changed,
    ) -> Msk:
        challenge = challenge or self.challenge()
        msk = msk or self.make_msk(challenge, migration, instance, source)
        self.say(
            'receive',
            challenge,
            **{
                'migration': migration,
                'instance': instance,
                'source': source,
                'msk_public': b64(msk.public),
                'creation_data': b64(msk.creation),
                'creation_attest': b64(msk.attest),
                'creation_signature': b64(msk.signature),
                'address': '192.0.2.2',
                'tls_name': self.name,
                **changed,
            },
        )
        return msk

    def send(
        self,
        migration: str,
        instance: str,
        dest: str,
        msk_name: str,
        nonce: str = '0f' * 32,
        **changed: str,
    ) -> dict:
        """Ask for the permit; returns the whole answer."""
        answer = self.say(
            'send',
            migration=migration,
            instance=instance,
            nonce=nonce,
            dest=dest,
            msk_name=msk_name,
            kid=self.approval_kid,
            **changed,
        )
        self.keep(answer['permit'])
        return answer

    def sealed(
        self, permit: AnyVerified, key: str = KEY, **changed: str
    ) -> dict:
        """D has its copy sealed; it has the permit from now on."""
        self.keep(permit.token)
        return self.say(
            'sealed',
            **{
                'migration': permit.content.migration,
                'permit_hash': permit.hash,
                'key': key,
                **changed,
            },
        )

    def start(self, permit: AnyVerified, **changed: str) -> dict:
        """Ask for the start; returns the whole answer."""
        answer = self.say(
            'start',
            **{
                'migration': permit.content.migration,
                'permit_hash': permit.hash,
                **changed,
            },
        )
        self.keep(answer['start'])
        return answer

    def state(self, migration: str, word: str) -> str:
        """Say a word on a hand-over; returns the receipt, or ''."""
        receipt = self.say('tell', migration=migration, statement=word)[
            'receipt'
        ]
        if receipt:
            self.keep(receipt)
        return receipt

    def delete(self, instance: str) -> str:
        receipt = self.say('delete', instance=instance)['receipt']
        self.keep(receipt)
        return receipt

    # Documents

    def read(self, token: str) -> AnyVerified:
        """Verify a document with the keys that the service publishes."""
        return chain.read(token, self.pinned)

    def keep(self, token: str) -> AnyVerified:
        """Keep a document, as the vault does: the newest of each server."""
        item = self.read(token)
        self.documents[item.hash] = item
        newest = self.newest.get(item.content.instance)
        if newest is None or newest.content.version < item.content.version:
            self.newest[item.content.instance] = item
        return item

    def known(self) -> list[bodies.Known]:
        """What it reports of the documents that it has."""
        return [
            bodies.Known(instance, item.content.version, item.hash, '')
            for instance, item in self.newest.items()
        ]

    def present(self, *tokens: str) -> list[str]:
        """Show documents; returns the news."""
        news = self.say('present', documents=list(tokens))['news']
        for token in news:
            self.keep(token)
        return news

    def heal(self) -> dict:
        """Report what it knows, show what is wanted, keep what is news."""
        answer = self.attest_now(known=self.known())
        for token in answer['news']:
            self.keep(token)
        wanted = [
            item.token
            for item in self.documents.values()
            if item.content.instance in answer['wanted']
        ]
        if wanted:
            self.present(*wanted)
        return answer
