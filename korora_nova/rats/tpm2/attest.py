# SPDX-License-Identifier: Apache-2.0
"""What a TPM 2.0 attests, from bytes: TPMS_ATTEST and its signature.

Section numbers are of the TPM 2.0 Library specification, part 2. As in
:mod:`korora_nova.rats.tpm2.structure`, a parser takes exactly one structure
and raises nothing but :class:`EvidenceError`; nothing here is verified.
"""

from __future__ import annotations

import dataclasses
import struct

from cryptography.hazmat.primitives.asymmetric import utils

from korora_nova import errors
from korora_nova.rats.tpm2.structure import (
    ALG_ECDSA,
    ALG_RSAPSS,
    ALG_RSASSA,
    Reader,
    Scheme,
    malformed,
)

# TPM_GENERATED and TPM_ST, sections 6.2 and 6.9.
MAGIC = 0xFF544347
ST_ATTEST_QUOTE = 0x8018
ST_ATTEST_CREATION = 0x801A

#: Most banks in one PCR selection, and bytes of a bank's bitmap.
MAX_BANKS = 16
MAX_SELECT = 32
#: Most qualifying data, bytes: a TPM2B_DATA holds a TPMT_HA (10.4.3).
MAX_EXTRA = 66

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Clock:
    """TPMS_CLOCK_INFO, section 10.11.1; milliseconds and boot counters."""

    clock_ms: int
    reset_count: int
    restart_count: int
    safe: bool

    @property
    def reset_restart(self) -> bytes:
        """resetCount || restartCount as TPM2_PolicyCounterTimer compares."""
        return struct.pack('>II', self.reset_count, self.restart_count)


@dataclasses.dataclass(frozen=True)
class QuoteInfo:
    """TPMS_QUOTE_INFO, section 10.12.4.

    :param selection: (hash algorithm, bitmap) of each bank; PCR n is bit
        n % 8 of byte n // 8.
    """

    selection: tuple[tuple[int, bytes], ...]
    pcr_digest: bytes


@dataclasses.dataclass(frozen=True)
class CreationInfo:
    """TPMS_CREATION_INFO, section 10.12.7."""

    object_name: bytes
    creation_hash: bytes


@dataclasses.dataclass(frozen=True)
class Attest:
    """A parsed TPMS_ATTEST whose signature is not checked here."""

    qualified_signer: bytes
    extra_data: bytes
    clock: Clock
    firmware_version: int
    info: QuoteInfo | CreationInfo


def parse_attest(data: bytes) -> Attest:
    """Parse a TPMS_ATTEST of a quote or a certified creation.

    Section 10.12.12::

        u32 magic | u16 type | TPM2B qualifiedSigner | TPM2B extraData
        | u64 clock | u32 resetCount | u32 restartCount | u8 safe
        | u64 firmwareVersion | TPMU_ATTEST

    :raises EvidenceError: QUOTE_MAGIC, QUOTE_TYPE, QUOTE_MALFORMED.
    """
    reader = Reader(data, 'attest')
    if (magic := reader.u32()) != MAGIC:
        raise errors.EvidenceError(
            _R.QUOTE_MAGIC,
            f'{errors.REASONS[_R.QUOTE_MAGIC]} Its magic is '
            f'{magic:08x}, not {MAGIC:08x}.',
            place='attest: magic',
            details={'want': f'{MAGIC:08x}', 'got': f'{magic:08x}'},
        )
    kind = reader.u16()
    signer, extra = reader.sized(68), reader.sized(MAX_EXTRA)
    clock_ms, resets, restarts = reader.u64(), reader.u32(), reader.u32()
    safe = reader.u8()
    if safe > 1:
        raise malformed('attest: safe is not a TPMI_YES_NO')
    firmware = reader.u64()
    info: QuoteInfo | CreationInfo
    if kind == ST_ATTEST_QUOTE:
        info = QuoteInfo(_selection(reader), reader.sized(64))
    elif kind == ST_ATTEST_CREATION:
        info = CreationInfo(reader.sized(68), reader.sized(64))
    else:
        raise errors.EvidenceError(
            _R.QUOTE_TYPE,
            f'{errors.REASONS[_R.QUOTE_TYPE]} Its type is {kind:04x}.',
            place='attest: type',
            details={'want': f'{ST_ATTEST_QUOTE:04x}', 'got': f'{kind:04x}'},
        )
    reader.end()
    return Attest(
        signer,
        extra,
        Clock(clock_ms, resets, restarts, safe == 1),
        firmware,
        info,
    )


def _selection(data: Reader) -> tuple[tuple[int, bytes], ...]:
    # 10.9.7 TPML_PCR_SELECTION: u32 count, then 10.5.3
    # TPMS_PCR_SELECTION: u16 hash | u8 sizeofSelect | bitmap.
    count = data.u32()
    if count > MAX_BANKS:
        raise malformed('selection: too many PCR banks')
    return tuple((data.u16(), data.sized8(MAX_SELECT)) for _ in range(count))


@dataclasses.dataclass(frozen=True)
class CreationData:
    """TPMS_CREATION_DATA, section 15.1, as far as it is checked."""

    parent_name: bytes
    outside_info: bytes


def parse_creation_data(data: bytes) -> CreationData:
    """Parse a TPMS_CREATION_DATA (without size prefix).

    Section 15.1::

        TPML_PCR_SELECTION | TPM2B pcrDigest | u8 locality
        | u16 parentNameAlg | TPM2B parentName
        | TPM2B parentQualifiedName | TPM2B outsideInfo

    :raises EvidenceError: QUOTE_MALFORMED.
    """
    reader = Reader(data, 'creation data')
    _selection(reader)
    reader.sized(64)
    reader.u8()
    reader.u16()
    parent = reader.sized(68)
    reader.sized(68)
    outside = reader.sized(MAX_EXTRA)
    reader.end()
    return CreationData(parent, outside)


@dataclasses.dataclass(frozen=True)
class Signature:
    """A parsed TPMT_SIGNATURE.

    :param scheme: RSASSA, RSAPSS or ECDSA with its hash algorithm.
    :param value: DER of ECDSA's (r, s), or the bytes of RSA's.
    """

    scheme: Scheme
    value: bytes


def parse_signature(data: bytes) -> Signature:
    """Parse a TPMT_SIGNATURE of RSASSA, RSAPSS or ECDSA.

    Section 11.3.4 with 11.3.1 and 11.3.2::

        u16 sigAlg | u16 hash | TPM2B sig                       (RSA)
        u16 sigAlg | u16 hash | TPM2B signatureR | TPM2B signatureS

    :raises EvidenceError: QUOTE_ALGORITHM, QUOTE_MALFORMED.
    """
    reader = Reader(data, 'signature')
    algorithm = reader.u16()
    if algorithm not in (ALG_RSASSA, ALG_RSAPSS, ALG_ECDSA):
        raise errors.EvidenceError(
            _R.QUOTE_ALGORITHM,
            place='signature: sigAlg',
            details={'got': f'{algorithm:04x}'},
        )
    scheme = Scheme(algorithm, (reader.u16(),))
    if algorithm == ALG_ECDSA:
        value = ecdsa_der(reader.sized(66), reader.sized(66))
    else:
        value = reader.sized(512)
    reader.end()
    return Signature(scheme, value)


def ecdsa_der(r: bytes, s: bytes) -> bytes:
    """DER (RFC 3279 section 2.2.3) of two big-endian numbers."""
    return utils.encode_dss_signature(
        int.from_bytes(r, 'big'), int.from_bytes(s, 'big')
    )
