# SPDX-License-Identifier: Apache-2.0
"""The firmware's event log, TCG crypto-agile format, SHA-256 bank.

Layouts are of the TCG PC Client Platform Firmware Profile (PFP) 1.06,
little-endian. A log proves nothing by itself: :meth:`EventLog.verify`
replays it against quoted PCRs and only then hands out events. Even then
only an event's digest is verified, its data is the firmware's comment.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Mapping

from korora_nova import errors
from korora_nova.rats import policydigest

ALG_SHA256 = 0x000B
#: Digest bytes of the hash algorithms a log may name (TPM_ALG_ID).
DIGEST_BYTES = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64, 0x0012: 32,
                0x0027: 32, 0x0028: 48, 0x0029: 64}

#: Caps against absurd logs.
MAX_EVENTS = 16384
MAX_ALGORITHMS = 16
MAX_EVENT_BYTES = 1 << 20

#: Never extended, whatever its digest or index (PFP 10.4.1).
EV_NO_ACTION = 0x00000003

_SPEC_ID = b'Spec ID Event03\0'
_STARTUP_LOCALITY = b'StartupLocality\0'
#: Localities at which PCR 0 can start (PFP 10.4.5.3): 0, 3, or 4 with a
#: hardware root of trust for measurement.
_LOCALITIES = (0, 3, 4)

# TCG_PCClientPCREvent: u32 pcr | u32 type | 20 bytes | u32 size, then data.
_HEADER = struct.Struct('<II20sI')
# TCG_EfiSpecIDEvent after the signature: u32 platformClass | u8 minor
# | u8 major | u8 errata | u8 uintnSize | u32 numberOfAlgorithms.
_SPEC = struct.Struct('<IBBBBI')
# TCG_PCR_EVENT2 up to the digests: u32 pcr | u32 type | u32 count.
_EVENT = struct.Struct('<III')

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Event:
    """One event that extended a PCR.

    :param digest: what the SHA-256 bank was extended with.
    :param data: the firmware's description; never verified.
    """

    pcr: int
    type: int
    digest: bytes
    data: bytes


@dataclasses.dataclass(frozen=True)
class EventLog:
    """A parsed log, unverified.

    :param locality: where PCR 0 started.
    """

    events: tuple[Event, ...]
    locality: int

    def replay(self) -> dict[int, bytes]:
        """PCRs 0-15 but 10 as the log says they must be."""
        pcrs = dict.fromkeys(policydigest.PCRS_POLICY, bytes(32))
        pcrs[0] = bytes(31) + bytes((self.locality,))
        for event in self.events:
            if event.pcr in pcrs:
                pcrs[event.pcr] = hashlib.sha256(
                    pcrs[event.pcr] + event.digest).digest()
        return pcrs

    def verify(self, pcrs: Mapping[int, bytes]) -> tuple[Event, ...]:
        """Replay against quoted PCRs; return the events that they cover.

        Each of PCRs 0-9 and 11-15 must be what the log makes of it; one
        the log does not mention must be as after a reset.

        :raises EvidenceError: UEFI_LOG_REPLAY, details name the PCRs.
        """
        expected = self.replay()
        wrong = [index for index, value in expected.items()
                 if pcrs.get(index) != value]
        if wrong:
            names = ' '.join(str(index) for index in wrong)
            raise errors.EvidenceError(
                _R.UEFI_LOG_REPLAY, 'The UEFI event log does not replay to '
                f'the quoted PCRs {names}.', details={'pcrs': names})
        return tuple(event for event in self.events
                     if event.pcr in expected)


def parse(log: bytes) -> EventLog:
    """Parse a log as the kernel exports it.

    The first record is in the old SHA-1 format and must be the Spec ID
    event; the rest are TCG_PCR_EVENT2. An area padded with 00 or ff ends
    the log.

    :raises EvidenceError: UEFI_LOG_MALFORMED, place gives the offset.
    """
    sizes, at = _spec_id(log)
    events: list[Event] = []
    locality: int | None = None
    count = 0
    while at < len(log) and not _is_padding(log, at):
        if count == MAX_EVENTS:
            raise _bad('too many events', at)
        count += 1
        start = at
        event, at = _event(log, at, sizes)
        if event.type != EV_NO_ACTION:
            if event.pcr > 23:
                raise _bad('an event extends no PCR that exists', start)
            if not event.digest:
                raise _bad('an event lacks its SHA-256 digest', start)
            events.append(event)
        elif event.data.startswith(_STARTUP_LOCALITY):
            late = any(earlier.pcr == 0 for earlier in events)
            if locality is not None or late or event.pcr != 0:
                raise _bad('StartupLocality out of place', start)
            locality = _locality(event.data, start)
    return EventLog(tuple(events), locality or 0)


def _bad(what: str, at: int) -> errors.EvidenceError:
    return errors.EvidenceError(
        _R.UEFI_LOG_MALFORMED, f'The UEFI event log is malformed: {what}.',
        place=f'offset {at}')


def _locality(data: bytes, at: int) -> int:
    value = data[len(_STARTUP_LOCALITY):]
    if len(value) != 1 or value[0] not in _LOCALITIES:
        raise _bad('StartupLocality has no valid value', at)
    return value[0]


def _spec_id(log: bytes) -> tuple[dict[int, int], int]:
    """Return digest sizes by algorithm and the offset behind the header."""
    if len(log) < _HEADER.size:
        raise _bad('too short', 0)
    _pcr, kind, _digest, size = _HEADER.unpack_from(log)
    data = log[_HEADER.size:_HEADER.size + size]
    end = _HEADER.size + size
    if kind != EV_NO_ACTION or not data.startswith(_SPEC_ID) or (
            len(data) != size):
        raise _bad('it is not in the crypto-agile format', 0)
    offset = len(_SPEC_ID) + _SPEC.size
    if size < offset:
        raise _bad('the Spec ID event is too short', 0)
    number = _SPEC.unpack_from(data, len(_SPEC_ID))[-1]
    if number > MAX_ALGORITHMS or offset + 4 * number > size:
        raise _bad('the Spec ID event names too many algorithms', 0)
    sizes: dict[int, int] = {}
    for algorithm, digest in struct.iter_unpack(
            '<HH', data[offset:offset + 4 * number]):
        known = DIGEST_BYTES.get(algorithm, digest)
        if digest != known or not 0 < digest <= 64 or algorithm in sizes:
            raise _bad('the Spec ID event has a wrong digest size', 0)
        sizes[algorithm] = digest
    # Vendor bytes may be missing from eventSize: nothing to check there.
    if ALG_SHA256 not in sizes:
        raise _bad('it has no SHA-256 bank', 0)
    return sizes, end


def _event(log: bytes, at: int, sizes: Mapping[int, int]
           ) -> tuple[Event, int]:
    start = at
    if at + _EVENT.size > len(log):
        raise _bad('truncated', start)
    pcr, kind, count = _EVENT.unpack_from(log, at)
    at += _EVENT.size
    if count > len(sizes):
        raise _bad('an event has too many digests', start)
    digests: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = int.from_bytes(log[at:at + 2], 'little')
        size = sizes.get(algorithm)
        if size is None or algorithm in digests:
            raise _bad('an event has an unexpected digest', start)
        digests[algorithm] = log[at + 2:at + 2 + size]
        at += 2 + size
    if at + 4 > len(log):
        raise _bad('truncated', start)
    size = int.from_bytes(log[at:at + 4], 'little')
    at += 4
    if size > MAX_EVENT_BYTES or at + size > len(log):
        raise _bad('truncated, or an event is too long', start)
    return Event(pcr, kind, digests.get(ALG_SHA256, b''),
                 log[at:at + size]), at + size


def _is_padding(log: bytes, at: int) -> bool:
    head = log[at:at + _EVENT.size]
    for fill in (b'\x00', b'\xff'):
        if head == fill * len(head):
            return log.count(fill, at) == len(log) - at
    return False
