# SPDX-License-Identifier: Apache-2.0
"""Bytes of an event log to events.

Little-endian layouts of the TCG PC Client Platform Firmware Profile (PFP)
1.06, section 10, and of the UEFI specification, section 38 (confidential
computing: the same records, with the index of a measurement register in
the place of the PCR).
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping

from korora_nova import errors
from korora_nova.rats.eventlog import quirks, types

AGILE = 'crypto-agile'
LEGACY = 'sha1'
CC = 'cc'

#: Caps against absurd logs.
MAX_LOG_BYTES = 64 << 20
MAX_EVENTS = 16384
MAX_ALGORITHMS = 16
MAX_DIGEST_BYTES = 64
MAX_EVENT_BYTES = 1 << 20
MAX_PCR = 23

_SPEC_ID = b'Spec ID Event03\0'
#: Registers of the Spec ID event: 0; 1 is EDK II's in a confidential VM.
_SPEC_REGISTERS = (0, 1)
_STARTUP_LOCALITY = b'StartupLocality\0'
#: Localities at which PCR 0 can start (PFP 10.4.5.3): 0, 3, or 4 with a
#: hardware root of trust for measurement.
_LOCALITIES = (0, 3, 4)
#: Measurement registers that a confidential VM's boot extends; 0 is of its
#: build (UEFI 38.4.1, Intel TDX).
CC_REGISTERS = (1, 2, 3, 4)

# TCG_PCR_EVENT: u32 pcr | u32 type | 20 bytes | u32 size, then data.
_LEGACY = struct.Struct('<II20sI')
# TCG_EfiSpecIDEvent after the signature: u32 platformClass | u8 minor
# | u8 major | u8 errata | u8 uintnSize | u32 numberOfAlgorithms.
_SPEC = struct.Struct('<IBBBBI')
# TCG_PCR_EVENT2 up to the digests: u32 pcr | u32 type | u32 count.
_EVENT = struct.Struct('<III')
_U16 = struct.Struct('<H')
_U32 = struct.Struct('<I')

_R = errors.Reason
_Sizes = Mapping[int, tuple[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One record of a log, unverified.

    :param index: number in the log, from 0; the Spec ID event counts.
    :param pcr: register it claims to extend.
    :param type: EV_*; not covered by a digest.
    :param digests: bank to digest; {} in an event that extends nothing.
    :param data: the firmware's description.
    :param offset: of the record in the log, bytes.
    """

    index: int
    pcr: int
    type: int
    digests: Mapping[str, bytes]
    data: bytes
    offset: int

    @property
    def extends(self) -> bool:
        """Whether the event extends its register."""
        return self.type != types.EV_NO_ACTION


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What the bytes of a log are, see :class:`.log.EventLog`.

    :param format: 'crypto-agile', 'sha1' or 'cc' (a confidential VM's:
        ``pcr`` is the index of a measurement register).
    :param banks: the hash algorithms of its digests; one unknown here is
        named by its number, '0x0031'.
    :param events: all of them, in order.
    :param incomplete: banks that do not cover all events, and the number
        of the first event without them.
    :param locality: where PCR 0 started: 0, 3 or 4.
    :param quirks: names of :data:`quirks.QUIRKS` that the log shows.
    """

    format: str
    banks: tuple[str, ...]
    events: tuple[Event, ...]
    incomplete: Mapping[str, int]
    locality: int
    quirks: frozenset[str]


def read(log: bytes) -> Parsed:
    """Read a log in any of the formats.

    :raises EvidenceError: UEFI_LOG_MISSING: empty, or fill only;
        UEFI_LOG_MALFORMED: place gives the offset.
    """
    if len(log) > MAX_LOG_BYTES:
        raise bad('too long', MAX_LOG_BYTES)
    # See quirks.PADDING.
    end = min(len(log.rstrip(b'\0')), len(log.rstrip(b'\xff')))
    if not end:
        raise errors.EvidenceError(_R.UEFI_LOG_MISSING, place='offset 0')
    met = {quirks.PADDING} if end < len(log) else set()
    if log[_LEGACY.size : _LEGACY.size + len(_SPEC_ID)] == _SPEC_ID:
        banks, events = _agile(log, end, met)
        format_ = CC if _is_cc(banks, events) else AGILE
        if events[0].pcr and format_ != CC:
            raise bad('the Spec ID event is for another register', 0)
    else:
        format_, banks, events = _headerless(log, end, met)
    return Parsed(
        format_,
        banks,
        tuple(events),
        _incomplete(banks, events, met),
        _locality(events, met),
        frozenset(met),
    )


def bad(what: str, at: int) -> errors.EvidenceError:
    """The error of a malformed log."""
    return errors.EvidenceError(
        _R.UEFI_LOG_MALFORMED,
        f'The UEFI event log is malformed: {what}.',
        place=f'offset {at}',
    )


def _agile(
    log: bytes, end: int, met: set[str]
) -> tuple[tuple[str, ...], list[Event]]:
    """A log with a Spec ID event (PFP 10.2.1)."""
    first, start = _legacy_event(log, 0, 0)
    sizes, after = _spec_id(first)
    banks = tuple(name for name, _size in sizes.values())
    head = dataclasses.replace(first, digests={})
    try:
        return banks, [head, *_events(log, start, end, sizes)]
    except errors.EvidenceError:
        # See quirks.VENDOR_BYTES.
        other = after + (log[after] + 1 if after < len(log) else 0)
        if other <= start:
            raise
        try:
            events = _events(log, other, end, sizes)
        except errors.EvidenceError:
            events = None
        if events is None:
            raise
    met.add(quirks.VENDOR_BYTES)
    return banks, [head, *events]


def _spec_id(event: Event) -> tuple[_Sizes, int]:
    """Digest sizes, and the offset of vendorInfoSize in the log."""
    data = event.data
    if event.type != types.EV_NO_ACTION or event.pcr not in _SPEC_REGISTERS:
        raise bad('the Spec ID event has a wrong type or register', 0)
    offset = len(_SPEC_ID) + _SPEC.size
    if len(data) < offset:
        raise bad('the Spec ID event is too short', 0)
    number = _SPEC.unpack_from(data, len(_SPEC_ID))[-1]
    after = offset + 4 * number
    if not 0 < number <= MAX_ALGORITHMS or after > len(data):
        raise bad(
            'the Spec ID event names no or too many algorithms',
            _LEGACY.size + offset,
        )
    sizes: dict[int, tuple[str, int]] = {}
    for at in range(offset, after, 4):
        algorithm, size = struct.unpack_from('<HH', data, at)
        known = types.ALGORITHMS.get(algorithm, (f'0x{algorithm:04x}', size))
        if (
            size != known[1]
            or not 0 < size <= MAX_DIGEST_BYTES
            or (algorithm in sizes)
        ):
            raise bad(
                'the Spec ID event has a wrong digest size', _LEGACY.size + at
            )
        sizes[algorithm] = known
    return sizes, _LEGACY.size + after


def _headerless(
    log: bytes, end: int, met: set[str]
) -> tuple[str, tuple[str, ...], list[Event]]:
    """A SHA-1 log, or crypto-agile events without their header."""
    found: tuple[str, tuple[str, ...], list[Event]] | None = None
    failure: errors.EvidenceError | None = None
    try:
        found = LEGACY, ('sha1',), _legacy(log, end)
    except errors.EvidenceError as exc:
        failure = exc
    if not _looks_agile(log):
        if found is None:
            assert failure is not None
            raise failure
        return found
    # See quirks.HEADERLESS.
    try:
        events = _events(log, 0, end, types.ALGORITHMS)
    except errors.EvidenceError:
        if found is None:
            raise
        return found
    if found is not None:
        raise bad('it can be read in two formats', 0)
    met.add(quirks.HEADERLESS)
    banks = tuple(
        dict.fromkeys(bank for event in events for bank in event.digests)
    )
    return AGILE, banks, events


def _looks_agile(log: bytes) -> bool:
    if len(log) < _EVENT.size + 2:
        return False
    count = _EVENT.unpack_from(log)[2]
    algorithm = _U16.unpack_from(log, _EVENT.size)[0]
    return 0 < count <= MAX_ALGORITHMS and algorithm in types.ALGORITHMS


def _legacy(log: bytes, end: int) -> list[Event]:
    events: list[Event] = []
    at = 0
    while at < end:
        if len(events) == MAX_EVENTS:
            raise bad('too many events', at)
        event, at = _legacy_event(log, at, len(events))
        events.append(event)
    return events


def _legacy_event(log: bytes, at: int, index: int) -> tuple[Event, int]:
    """TCG_PCR_EVENT (PFP 10.2.1; PC Client 1.21 section 11.3.1)."""
    start = at
    at += _LEGACY.size
    if at > len(log):
        raise bad('truncated', start)
    pcr, kind, digest, size = _LEGACY.unpack_from(log, start)
    if size > MAX_EVENT_BYTES or at + size > len(log):
        raise bad('truncated, or an event is too long', start)
    if kind != types.EV_NO_ACTION and pcr > MAX_PCR:
        raise bad('an event extends no PCR that exists', start)
    return Event(
        index, pcr, kind, {'sha1': digest}, log[at : at + size], start
    ), at + size


def _events(log: bytes, at: int, end: int, sizes: _Sizes) -> list[Event]:
    """TCG_PCR_EVENT2 until ``end`` (PFP 10.2.2)."""
    events: list[Event] = []
    # The Spec ID event, if any, is number 0.
    first = 1 if at else 0
    while at < end:
        if len(events) == MAX_EVENTS:
            raise bad('too many events', at)
        event, at = _event(log, at, first + len(events), sizes)
        events.append(event)
    return events


def _event(
    log: bytes, start: int, index: int, sizes: _Sizes
) -> tuple[Event, int]:
    """u32 pcr | u32 type | u32 count | count * (u16 algorithm | digest)
    | u32 size | data."""
    at = start + _EVENT.size
    if at > len(log):
        raise bad('truncated', start)
    pcr, kind, count = _EVENT.unpack_from(log, start)
    if count > len(sizes):
        raise bad('an event has too many digests', start)
    digests, at = _digests(log, at, count, sizes)
    if at + 4 > len(log):
        raise bad('truncated', start)
    size = _U32.unpack_from(log, at)[0]
    at += 4
    if size > MAX_EVENT_BYTES or at + size > len(log):
        raise bad('truncated, or an event is too long', start)
    if kind != types.EV_NO_ACTION:
        if pcr > MAX_PCR:
            raise bad('an event extends no PCR that exists', start)
        if not digests:
            raise bad('an event has no digest', start)
    return Event(
        index, pcr, kind, digests, log[at : at + size], start
    ), at + size


def _digests(
    log: bytes, at: int, count: int, sizes: _Sizes
) -> tuple[dict[str, bytes], int]:
    """TPML_DIGEST_VALUES; the last digest may be cut by the log's end."""
    digests: dict[str, bytes] = {}
    for _ in range(count):
        if at + 2 > len(log):
            raise bad('truncated', at)
        name, size = sizes.get(_U16.unpack_from(log, at)[0], ('', 0))
        if not name or name in digests:
            raise bad('an event has an unexpected digest', at)
        at += 2
        digests[name] = log[at : at + size]
        at += size
    return digests, at


def _is_cc(banks: tuple[str, ...], events: list[Event]) -> bool:
    """Whether registers are a confidential VM's, not a TPM's.

    EDK II says it with the register of the Spec ID event, others do not. A
    TPM has one of the banks below or separators in PCRs 5-7; where one is
    taken for the other, values will differ.
    """
    used = {event.pcr for event in events if event.extends} - {0}
    return (
        bool(used or events[0].pcr)
        and used.issubset(CC_REGISTERS)
        and not {'sha1', 'sha256'} & set(banks)
    )


def _incomplete(
    banks: tuple[str, ...], events: list[Event], met: set[str]
) -> dict[str, int]:
    """See quirks.MISSING_BANK."""
    missing: dict[str, int] = {}
    for event in events:
        if len(event.digests) < len(banks) and event.extends:
            for bank in banks:
                if bank not in event.digests:
                    missing.setdefault(bank, event.index)
    if missing:
        met.add(quirks.MISSING_BANK)
    return missing


def _locality(events: list[Event], met: set[str]) -> int:
    """Where PCR 0 starts: StartupLocality (PFP 10.4.5.3).

    If not stated, it is 4 after a hardware root of trust, which measures
    before TPM2_Startup (TPM 2.0 part 1, 34.3), and 0 otherwise.
    """
    values: set[int] = set()
    first: int | None = None
    for event in events:
        if event.type != types.EV_NO_ACTION:
            if event.pcr == 0 and first is None:
                first = event.type
            continue
        if event.pcr > MAX_PCR:
            met.add(quirks.NO_ACTION_REGISTER)
        if not event.data.startswith(_STARTUP_LOCALITY):
            continue
        value = event.data[len(_STARTUP_LOCALITY) :]
        if (
            not value
            or value[0] not in _LOCALITIES
            or event.pcr
            or (value[1:].strip(b'\0'))
        ):
            raise bad('StartupLocality has no valid value', event.offset)
        # See quirks.LATE_LOCALITY.
        if values or first is not None or len(value) > 1:
            met.add(quirks.LATE_LOCALITY)
        values.add(value[0])
        if len(values) > 1:
            raise bad(
                'StartupLocality contradicts an earlier one', event.offset
            )
    if values:
        return values.pop()
    return 4 if first == types.EV_EFI_HCRTM_EVENT else 0
