# SPDX-License-Identifier: Apache-2.0
"""A TPM in software, as far as attestation goes, for unit tests.

It marshals the same structures a TPM does and signs them with an AK made
by ``cryptography``; nothing of the code under test builds its output,
except the marshalling of a public area and a selection.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import pathlib
import struct
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from korora_nova.rats.evidence import Evidence, qualify
from korora_nova.rats.quote import verify as quote
from korora_nova.rats.tpm2 import templates

VECTORS = pathlib.Path(__file__).parent.parent / 'vectors'

FIXED = 0x32
AK_ATTRIBUTES = 0x00050472
SRK_ATTRIBUTES = 0x00030472
MSK_ATTRIBUTES = SRK_ATTRIBUTES | 0x4
EK_ATTRIBUTES = 0x000300B2
EK_POLICY = bytes.fromhex(
    '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa'
)
AES_128_CFB = struct.pack('>HHH', 6, 128, 0x43)
NULL = struct.pack('>H', 0x10)
ECDSA_SHA256 = struct.pack('>HH', 0x18, 0x0B)
QUOTED = tuple(range(16))


def sized(data: bytes) -> bytes:
    """TPM2B."""
    return struct.pack('>H', len(data)) + data


def ecc_public(
    key: ec.EllipticCurvePublicKey,
    attributes: int,
    *,
    symmetric: bytes = NULL,
    scheme: bytes = NULL,
    policy: bytes = b'',
    name_alg: int = 0x0B,
    curve: int = 3,
    kdf: bytes = NULL,
) -> bytes:
    """TPM2B_PUBLIC of a P-256 key."""
    point = key.public_numbers()
    size = (key.curve.key_size + 7) // 8
    return sized(
        struct.pack('>HHI', 0x23, name_alg, attributes)
        + sized(policy)
        + symmetric
        + scheme
        + struct.pack('>H', curve)
        + kdf
        + sized(point.x.to_bytes(size, 'big'))
        + sized(point.y.to_bytes(size, 'big'))
    )


def ecc_ek(key: ec.EllipticCurvePublicKey, **changed: Any) -> bytes:
    """TPM2B_PUBLIC of an endorsement key on P-256 (L-2) or P-384 (H-3)."""
    large = key.curve.key_size == 384
    name_alg = 0x0C if large else 0x0B
    fields = {
        'attributes': EK_ATTRIBUTES | (0x40 if large else 0),
        'symmetric': struct.pack('>HHH', 6, 256 if large else 128, 0x43),
        'policy': (
            templates.policy_b(name_alg)
            if large
            else templates.POLICY_A[name_alg]
        ),
        'name_alg': name_alg,
        'curve': 4 if large else 3,
    }
    return ecc_public(key, **{**fields, **changed})


def activate_ecc(
    ek: ec.EllipticCurvePrivateKey,
    name: bytes,
    blob: bytes,
    encrypted: bytes,
    hash_name: str,
) -> bytes:
    """TPM2_ActivateCredential in software with an ECC endorsement key.

    :raises ValueError: the credential is for another TPM or object.
    """
    size = (ek.curve.key_size + 7) // 8
    data = encrypted[2:]
    x, y = data[2 : 2 + size], data[4 + size :]
    other = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, 'big'), int.from_bytes(y, 'big'), ek.curve
    ).public_key()
    mine = ek.public_key().public_numbers().x.to_bytes(size, 'big')
    seed = hashlib.new(
        hash_name,
        b'\0\0\0\1' + ek.exchange(ec.ECDH(), other) + b'IDENTITY\0' + x + mine,
    ).digest()

    def kdfa(label: bytes, context: bytes, bits: int) -> bytes:
        data = b'\0\0\0\1' + label + b'\0' + context
        data += struct.pack('>I', bits)
        return hmac.digest(seed, data, hash_name)[: bits // 8]

    (length,) = struct.unpack_from('>H', blob, 2)
    mac, identity = blob[4 : 4 + length], blob[4 + length :]
    key = kdfa(b'INTEGRITY', b'', len(seed) * 8)
    if hmac.digest(key, identity + name, hash_name) != mac:
        raise ValueError('integrity')
    bits = 128 if hash_name == 'sha256' else 256
    cipher = Cipher(
        algorithms.AES(kdfa(b'STORAGE', name, bits)), modes.CFB(bytes(16))
    ).decryptor()
    return (cipher.update(identity) + cipher.finalize())[2:]


def rsa_public(
    key: rsa.RSAPublicKey,
    attributes: int = EK_ATTRIBUTES,
    *,
    policy: bytes = EK_POLICY,
) -> bytes:
    """TPM2B_PUBLIC of an RSA-2048 endorsement key."""
    modulus = key.public_numbers().n.to_bytes(256, 'big')
    return sized(
        struct.pack('>HHI', 1, 0x0B, attributes)
        + sized(policy)
        + AES_128_CFB
        + NULL
        + struct.pack('>HI', 2048, 0)
        + sized(modulus)
    )


def name_of(public: bytes) -> bytes:
    """TPM name of a TPM2B_PUBLIC."""
    return b'\x00\x0b' + hashlib.sha256(public[2:]).digest()


def pcr_selection(
    pcrs: tuple[int, ...] = QUOTED,
    *,
    alg: int = 0x0B,
) -> bytes:
    bitmap = sum(1 << index for index in pcrs)
    return struct.pack('>IHB', 1, alg, 3) + bitmap.to_bytes(3, 'little')


@dataclasses.dataclass
class Fields:
    """Fields of a TPMS_ATTEST that a test may falsify."""

    magic: int = 0xFF544347
    kind: int = 0x8018
    signer: bytes = b'\x00\x0b' + bytes(32)
    safe: int = 1
    trailing: bytes = b''


class SimTpm:
    """One TPM: an AK, an SRK, a SHA-256 bank and a clock.

    :ivar ak_public: TPM2B_PUBLIC of the AK.
    :ivar srk_public: TPM2B_PUBLIC of the SRK.
    :ivar pcrs: index to 32 bytes, 0-23.
    :ivar fields: what the next attestations say, for falsification.
    """

    def __init__(self) -> None:
        self.ak = ec.generate_private_key(ec.SECP256R1())
        self.srk = ec.generate_private_key(ec.SECP256R1())
        self.ak_public = ecc_public(
            self.ak.public_key(), AK_ATTRIBUTES, scheme=ECDSA_SHA256
        )
        self.srk_public = ecc_public(
            self.srk.public_key(), SRK_ATTRIBUTES, symmetric=AES_128_CFB
        )
        self.fields = Fields()
        self.clock_ms = 1000
        self.reset_count = 1
        self.restart_count = 0
        self.firmware_version = 0x20191023
        self._start()

    @property
    def ak_name(self) -> bytes:
        return name_of(self.ak_public)

    @property
    def srk_name(self) -> bytes:
        return name_of(self.srk_public)

    def _start(self) -> None:
        self.pcrs = {index: bytes(32) for index in range(24)}
        self.sha1: dict[int, bytes] = {}
        for index in range(17, 23):
            self.pcrs[index] = b'\xff' * 32

    def reboot(self) -> None:
        """TPM Reset: PCRs at their start, resetCount up, clock goes on."""
        self.reset_count += 1
        self.restart_count = 0
        self.clock_ms += 1000
        self._start()

    def extend(self, pcr: int, digest: bytes) -> None:
        self.pcrs[pcr] = hashlib.sha256(self.pcrs[pcr] + digest).digest()

    def boot(self, vector: str = 'direct-kernel') -> bytes:
        """Extend as a recorded boot did; return its UEFI event log."""
        values = recorded_pcrs(vector)
        for index in (*range(10), *range(11, 16)):
            self.pcrs[index] = values[index]
        return recorded_log(vector)

    def sign(self, attest: bytes) -> bytes:
        """TPMT_SIGNATURE, ECDSA with SHA-256."""
        der = self.ak.sign(attest, ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(der)
        return (
            ECDSA_SHA256
            + sized(r.to_bytes(32, 'big'))
            + sized(s.to_bytes(32, 'big'))
        )

    def attest(self, qualifying: bytes, attested: bytes) -> bytes:
        """TPMS_ATTEST around a TPMU_ATTEST; the clock ticks."""
        self.clock_ms += 1
        fields = self.fields
        return (
            struct.pack('>IH', fields.magic, fields.kind)
            + sized(fields.signer)
            + sized(qualifying)
            + struct.pack(
                '>QIIBQ',
                self.clock_ms,
                self.reset_count,
                self.restart_count,
                fields.safe,
                self.firmware_version,
            )
            + attested
            + fields.trailing
        )

    def quote(
        self, qualifying: bytes, pcrs: tuple[int, ...] = QUOTED
    ) -> quote.Quote:
        """TPM2_Quote and TPM2_PCR_Read; also of ``sha1``, if it is on."""
        values = {index: self.pcrs[index] for index in pcrs}
        digest = hashlib.sha256(
            b''.join((*values.values(), *self.sha1.values()))
        ).digest()
        selected = pcr_selection(pcrs)
        if self.sha1:
            more = pcr_selection(tuple(self.sha1), alg=4)[4:]
            selected = struct.pack('>I', 2) + selected[4:] + more
        attest = self.attest(qualifying, selected + sized(digest))
        return quote.Quote(attest, self.sign(attest), values, dict(self.sha1))

    def create_msk(
        self,
        outside_info: bytes,
        qualifying: bytes,
        attributes: int = MSK_ATTRIBUTES,
    ) -> tuple[bytes, bytes, bytes, bytes]:
        """TPM2_Create and TPM2_CertifyCreation of a storage key.

        :returns: TPM2B_PUBLIC, TPMS_CREATION_DATA, TPMS_ATTEST and
            TPMT_SIGNATURE.
        """
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        public = ecc_public(key, attributes, symmetric=AES_128_CFB)
        creation = (
            struct.pack('>I', 0)
            + sized(b'')
            + struct.pack('>BH', 1, 0x0B)
            + sized(self.srk_name)
            + sized(self.srk_name)
            + sized(outside_info)
        )
        kept, self.fields = (
            self.fields,
            dataclasses.replace(self.fields, kind=0x801A),
        )
        attest = self.attest(
            qualifying,
            sized(name_of(public)) + sized(hashlib.sha256(creation).digest()),
        )
        self.fields = kept
        return public, creation, attest, self.sign(attest)


class SimHost:
    """A host: a SimTpm that booted with a UEFI log and keeps an IMA list."""

    def __init__(
        self, name: str = 'h1', vector: str = 'direct-kernel'
    ) -> None:
        self.name = name
        self.vector = vector
        self.tpm = SimTpm()
        self._boot()

    def _boot(self) -> None:
        self.uefi_log = self.tpm.boot(self.vector)
        self.ima_log = b''
        self.measure(
            'boot_aggregate',
            hashlib.sha256(
                b''.join(self.tpm.pcrs[index] for index in range(10))
            ).digest(),
        )
        for path in ('/usr/bin/qemu-system-x86_64', '/usr/bin/swtpm'):
            self.measure(path)

    def reboot(self) -> None:
        self.tpm.reboot()
        self._boot()

    def measure(self, path: str, digest: bytes | None = None) -> None:
        """IMA measures a file: list entry and extension of PCR 10."""
        entry, extension = ima_entry(path, digest)
        self.ima_log += entry
        self.tpm.extend(10, extension)

    def evidence(self, qualifying: bytes) -> Evidence:
        return Evidence(
            self.tpm.quote(qualifying), self.uefi_log, self.ima_log
        )

    def attest(
        self, challenge: bytes, purpose: str = 'attest', body: bytes = b'{}'
    ) -> Evidence:
        """Evidence for a challenge, purpose and body."""
        return self.evidence(qualify(challenge, purpose, self.name, body))


def ima_entry(
    path: str, digest: bytes | None = None, *, template_hash: str = 'sha1'
) -> tuple[bytes, bytes]:
    """A binary ima-ng entry and the digest it extends the bank with."""
    digest = digest or hashlib.sha256(path.encode()).digest()
    field, name = b'sha256:\0' + digest, path.encode() + b'\0'
    data = (
        struct.pack('<I', len(field))
        + field
        + struct.pack('<I', len(name))
        + name
    )
    entry = (
        struct.pack('<I', 10)
        + hashlib.new(template_hash, data).digest()
        + struct.pack('<I', 6)
        + b'ima-ng'
        + struct.pack('<I', len(data))
        + data
    )
    return entry, hashlib.sha256(data).digest()


def recorded_log(vector: str) -> bytes:
    """The UEFI event log of a recorded boot."""
    return (
        VECTORS / 'uefi' / vector / 'binary_bios_measurements'
    ).read_bytes()


def recorded_pcrs(vector: str) -> dict[int, bytes]:
    """The SHA-256 bank of a recorded boot, 0-23 or 0-15."""
    about = VECTORS / 'uefi' / vector / 'vector.json'
    if about.exists():
        bank = json.loads(about.read_text())['pcrs']['sha256']
        return {
            int(index): bytes.fromhex(value) for index, value in bank.items()
        }
    values, bank = {}, ''
    text = (VECTORS / 'uefi' / vector / 'pcrread.txt').read_text()
    for line in text.splitlines():
        key, _, value = line.partition(':')
        if value.strip():
            if bank == 'sha256':
                values[int(key)] = bytes.fromhex(value.strip()[2:])
        else:
            bank = key.strip()
    return values
