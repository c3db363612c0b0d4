# SPDX-License-Identifier: Apache-2.0
"""TPM 2.0 policy digests in software, SHA-256 (Library part 3, chapter 23).

Each function takes the policy digest so far and returns the next one,
exactly as the TPM's command of the same name changes a policy session.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping

#: Digest of a fresh policy session.
START = bytes(32)

#: PCRs every quote covers.
PCRS_QUOTED = tuple(range(16))
#: PCRs compared with reference values and bound into policies; 10 is left
#: out because IMA extends it all the time.
PCRS_POLICY: tuple[int, ...] = tuple(
    index for index in PCRS_QUOTED if index != 10
)

#: PCRs of the SHA-1 bank that a boot aggregate of that bank is made of.
PCRS_SHA1 = tuple(range(8))

ALG_SHA1 = 0x0004
ALG_SHA256 = 0x000B

# Command codes, part 2 section 6.5.2.
CC_POLICY_AUTHORIZE = 0x0000016A
CC_POLICY_COMMAND_CODE = 0x0000016C
CC_POLICY_COUNTER_TIMER = 0x0000016D
CC_POLICY_PCR = 0x0000017F
CC_UNSEAL = 0x0000015E

# TPM_EO, part 2 section 6.8.
EO_EQ = 0x0000
EO_UNSIGNED_LT = 0x0005

#: Offsets in TPMS_TIME_INFO (part 2 section 10.11.6): u64 time, then
#: TPMS_CLOCK_INFO = u64 clock, u32 resetCount, u32 restartCount, u8 safe.
OFFSET_CLOCK = 8
OFFSET_RESET_RESTART = 16


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b''.join(parts)).digest()


def selection(pcrs: Iterable[int], sha1: Iterable[int] = ()) -> bytes:
    """Marshal a TPML_PCR_SELECTION: SHA-256, and SHA-1 if told.

    Part 2 section 10.9.7: u32 count, and for each bank u16 hash | u8 size |
    bitmap, in which PCR n is bit n%8 of byte n//8.

    :raises ValueError: for an index outside 0-23.
    """
    banks = [_bank(ALG_SHA256, pcrs)]
    if sha1 := tuple(sha1):
        banks.append(_bank(ALG_SHA1, sha1))
    return struct.pack('>I', len(banks)) + b''.join(banks)


def _bank(algorithm: int, pcrs: Iterable[int]) -> bytes:
    bitmap = bytearray(3)
    for index in pcrs:
        if not 0 <= index <= 23:
            raise ValueError(f'no such PCR: {index}')
        bitmap[index // 8] |= 1 << index % 8
    return struct.pack('>HB', algorithm, 3) + bytes(bitmap)


def pcr_digest(pcrs: Mapping[int, bytes], which: Iterable[int]) -> bytes:
    """Hash the values of the PCRs in ``which``, ascending, as a TPM does.

    :raises ValueError: a PCR is missing or not 32 bytes long.
    """
    values = []
    for index in sorted(which):
        value = pcrs.get(index, b'')
        if len(value) != 32:
            raise ValueError(f'PCR {index} is missing or not 32 bytes')
        values.append(value)
    return _hash(*values)


def policy_pcr(digest: bytes, pcr_selection: bytes, pcrs: bytes) -> bytes:
    """TPM2_PolicyPCR (part 3 section 23.7); ``pcrs`` is their digest."""
    return _hash(digest, struct.pack('>I', CC_POLICY_PCR), pcr_selection, pcrs)


def policy_counter_timer(
    digest: bytes, operand: bytes, offset: int, operation: int
) -> bytes:
    """TPM2_PolicyCounterTimer (part 3 section 23.10)."""
    args = _hash(operand, struct.pack('>HH', offset, operation))
    return _hash(digest, struct.pack('>I', CC_POLICY_COUNTER_TIMER), args)


def policy_command_code(digest: bytes, code: int) -> bytes:
    """TPM2_PolicyCommandCode (part 3 section 23.11)."""
    return _hash(digest, struct.pack('>II', CC_POLICY_COMMAND_CODE, code))


def policy_authorize(key_name: bytes, ref: bytes) -> bytes:
    """TPM2_PolicyAuthorize (part 3 section 23.16); starts afresh."""
    return _hash(
        _hash(START, struct.pack('>I', CC_POLICY_AUTHORIZE), key_name), ref
    )


def state_policy(
    pcrs: bytes, reset_restart: bytes, deadline: int, command: int | None
) -> bytes:
    """Policy of one boot state of one host until a deadline.

    PolicyPCR over :data:`PCRS_POLICY`, the counters of this boot, TPM clock
    below ``deadline`` and, unless None, one command code.

    :param pcrs: digest of the PCRs in :data:`PCRS_POLICY`, 32 bytes.
    :param reset_restart: resetCount || restartCount, 8 bytes big-endian.
    :param deadline: milliseconds of the TPM's own clock.
    :raises ValueError: a field has the wrong length or range.
    """
    if len(pcrs) != 32 or len(reset_restart) != 8:
        raise ValueError('a field of the state has the wrong length')
    if not 0 <= deadline < 1 << 64:
        raise ValueError('the deadline is out of range')
    digest = policy_pcr(START, selection(PCRS_POLICY), pcrs)
    digest = policy_counter_timer(
        digest, reset_restart, OFFSET_RESET_RESTART, EO_EQ
    )
    digest = policy_counter_timer(
        digest, struct.pack('>Q', deadline), OFFSET_CLOCK, EO_UNSIGNED_LT
    )
    if command is not None:
        digest = policy_command_code(digest, command)
    return digest
