# SPDX-License-Identifier: Apache-2.0
"""From an unverified log to events that quoted PCRs vouch for."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from korora_nova import errors
from korora_nova.rats.eventlog import (
    boot,
    facts,
    formats,
    types,
    userspace,
)
from korora_nova.rats.eventlog.formats import Event

#: PCRs that :meth:`EventLog.verify` insists on as far as they are given:
#: 10 is IMA's.
DEFAULT_PCRS = (*range(10), *range(11, 16))

# Registers that start with ff (PC Client Platform TPM Profile, 4.6.2).
_START_FF = range(17, 23)

_R = errors.Reason


@dataclasses.dataclass(frozen=True)
class Difference:
    """A register that the log does not explain.

    :param want: its quoted value.
    :param got: what the log makes of it.
    """

    want: bytes
    got: bytes


@dataclasses.dataclass(frozen=True)
class VerifiedLog:
    """A log after its comparison with quoted PCRs.

    :param bank: the bank that was compared.
    :param format: of the log, see :class:`EventLog`.
    :param agrees: registers that the log explains, ascending.
    :param differs: registers that it does not.
    :param events: those that extended a register in ``agrees``, in the
        order of the log.
    """

    bank: str
    format: str
    agrees: tuple[int, ...]
    differs: Mapping[int, Difference]
    events: tuple[Event, ...]

    def require(self, pcrs: Iterable[int]) -> None:
        """Insist that the log explains these registers.

        One that was not compared counts as different.

        :raises EvidenceError: UEFI_LOG_REPLAY, details name the PCRs,
            ``want`` has their quoted values, ``got`` those of the log.
        """
        wrong = [index for index in pcrs if index not in self.agrees]
        if not wrong:
            return
        nothing = Difference(b'', b'')
        values = [(index, self.differs.get(index, nothing)) for index in wrong]
        names = ' '.join(map(str, wrong))
        want = ' '.join(f'{index}={item.want.hex()}' for index, item in values)
        got = ' '.join(f'{index}={item.got.hex()}' for index, item in values)
        raise errors.EvidenceError(
            _R.UEFI_LOG_REPLAY,
            'The UEFI event log does not replay to the '
            f'quoted PCRs {names}: quoted {want}, the log gives {got}.',
            details={'pcrs': names, 'want': want, 'got': got},
        )

    @functools.cached_property
    def boot(self) -> boot.BootState:
        """What the events say about the boot.

        :raises EvidenceError: UEFI_LOG_MALFORMED: more than can be kept.
        """
        return facts.decode(self.events, self.bank, self.format)


@dataclasses.dataclass(frozen=True)
class EventLog(formats.Parsed):
    """A parsed log, unverified."""

    def replay(self, bank: str = 'sha256') -> dict[int, bytes]:
        """The registers as the log says they must be.

        :returns: PCRs 0-15 and others that the log extends; of a
            confidential VM those that it extends.
        :raises EvidenceError: UEFI_LOG_BANK: the log does not cover the
            bank.
        """
        digest = self._hash(bank)
        size = digest(b'').digest_size
        pcrs: dict[int, bytes] = {}
        if self.format != formats.CC:
            pcrs = dict.fromkeys(range(16), bytes(size))
            pcrs[0] = bytes(size - 1) + bytes((self.locality,))
        for event in self.events:
            if event.type != types.EV_NO_ACTION:
                index = event.pcr
                # A dynamic launch cleared 17-22 if they were extended.
                before = pcrs.get(index) or bytes(size)
                pcrs[index] = digest(before + event.digests[bank]).digest()
        return pcrs

    def compare(
        self,
        pcrs: Mapping[int, bytes],
        bank: str = 'sha256',
        records: Sequence[userspace.Record] = (),
    ) -> VerifiedLog:
        """Compare with quoted registers.

        A register that the log does not mention must have its reset value.
        User space may have extended it further: with ``records`` of its log,
        or with words that are known. A difference is not an error here, see
        :meth:`VerifiedLog.require`.

        :param records: of :func:`.userspace.parse`.
        :raises EvidenceError: UEFI_LOG_BANK: the log does not cover the
            bank.
        """
        values = self.replay(bank)
        size = hashlib.new(types.HASHES[bank]).digest_size
        agrees: list[int] = []
        differs: dict[int, Difference] = {}
        later: list[userspace.Record] = []
        for index in sorted(pcrs):
            got = values.get(index) or (
                _start(index, size) if 0 <= index <= formats.MAX_PCR else b''
            )
            followed = [item for item in records if item.pcr == index]
            count = self._follow(index, got, pcrs[index], followed, bank)
            if count is None:
                differs[index] = Difference(pcrs[index], got)
            else:
                agrees.append(index)
                later += followed[:count]
        kept = frozenset(agrees)
        last = self.events[-1].index if self.events else 0
        return VerifiedLog(
            bank,
            self.format,
            tuple(agrees),
            differs,
            tuple(
                event
                for event in self.events
                if event.pcr in kept and event.type != types.EV_NO_ACTION
            )
            + tuple(
                item.event(last + number)
                for number, item in enumerate(later, 1)
            ),
        )

    def _follow(
        self,
        index: int,
        got: bytes,
        quoted: bytes,
        records: Sequence[userspace.Record],
        bank: str,
    ) -> int | None:
        """How many records lead from the log to the quote; None: none do."""
        if got and got == quoted:
            return 0
        if not got or self.format == formats.CC:
            return None
        return userspace.explain(
            index, got, quoted, records, bank, self._hash(bank)
        )

    def verify(
        self,
        pcrs: Mapping[int, bytes],
        bank: str = 'sha256',
        required: Iterable[int] | None = None,
    ) -> VerifiedLog:
        """:meth:`compare`, and insist on what was compared.

        :param required: default: PCRs 0-9 and 11-15 as far as given, of a
            confidential VM registers 1-4, and at least one.
        :raises EvidenceError: UEFI_LOG_REPLAY, UEFI_LOG_BANK.
        """
        verified = self.compare(pcrs, bank)
        if required is None:
            usual = (
                formats.CC_REGISTERS
                if self.format == formats.CC
                else DEFAULT_PCRS
            )
            required = [index for index in usual if index in pcrs]
            if not required:
                raise errors.EvidenceError(
                    _R.UEFI_LOG_REPLAY,
                    'No PCR was quoted that the UEFI event log could explain.',
                    details={'pcrs': ''},
                )
        verified.require(required)
        return verified

    def _hash(self, bank: str) -> Callable[[bytes], hashlib._Hash]:
        """The bank's algorithm, if the log covers it."""
        if bank not in self.banks:
            raise self._uncovered(bank, 'has no such bank')
        if bank in self.incomplete:
            raise self._uncovered(
                bank, f'lacks it from event {self.incomplete[bank]} on'
            )
        try:
            hashlib.new(types.HASHES[bank])
        except (KeyError, ValueError):
            raise self._uncovered(
                bank, 'needs an algorithm that this machine lacks'
            ) from None
        return functools.partial(hashlib.new, types.HASHES[bank])

    def _uncovered(self, bank: str, why: str) -> errors.EvidenceError:
        return errors.EvidenceError(
            _R.UEFI_LOG_BANK,
            f'The UEFI event log {why}: {bank}; it covers '
            f'{" ".join(self._covered()) or "none"}.',
            place=f'bank {bank}',
            details={'want': bank, 'got': ' '.join(self._covered())},
        )

    def _covered(self) -> list[str]:
        return [bank for bank in self.banks if bank not in self.incomplete]


def _start(index: int, size: int) -> bytes:
    return (b'\xff' if index in _START_FF else b'\0') * size


def parse(log: bytes) -> EventLog:
    """Parse a log as the kernel or an ACPI table exports it.

    :raises EvidenceError: UEFI_LOG_MISSING: empty, or fill only;
        UEFI_LOG_MALFORMED: place gives the offset.
    """
    return EventLog(**vars(formats.read(log)))
