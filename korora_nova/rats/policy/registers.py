# SPDX-License-Identifier: Apache-2.0
"""Rules about the quote itself: PCR values, their log, the TPM."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.finding import Finding
from korora_nova.rats.policy.node import (
    BOOLEAN,
    PCRS,
    Params,
    Rule,
    indices,
    invalid,
    named,
)
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import BANK, VerifiedState
from korora_nova.rats.tpm2 import algorithms

_R = errors.Reason
#: Digest bytes of the banks that can be compared.
BANKS = {
    name: algorithms.BY_NAME[name].size
    for name in ('sha1', 'sha256', 'sha384', 'sha512', 'sm3-256')
}
#: PCRs that show which code booted.
_BOOT_CODE = frozenset((4, 7))
_HEX = re.compile('[0-9a-f]+')


@dataclasses.dataclass(frozen=True)
class EventLog(Rule):
    """The event log explains PCRs."""

    pcrs: tuple[int, ...]

    NAME = 'event-log'
    HELP = (
        'The UEFI event log replays to the quoted values of these PCRs. '
        'A PCR that the log does not mention has its reset value.'
    )
    SCHEMA = schemas.closed({'pcrs': PCRS})

    @classmethod
    def parse(cls, params: Params, path: str) -> EventLog:
        if 10 in params['pcrs']:
            raise invalid(f'{path}/pcrs', "PCR 10 is the ima rule's")
        return cls(path, indices(params['pcrs']))

    def check(self, state: VerifiedState) -> list[Finding]:
        log = state.log
        if log is None:
            return [self.no_log(state)]
        found = []
        for index in self.pcrs:
            if index not in log.agrees:
                want, got = log.differs.get(index, ('', ''))
                found.append(
                    self.fails(
                        _R.UEFI_LOG_REPLAY,
                        f'{named(index)} is not what the event log makes of '
                        f'it: quoted {want or "nothing"}, the log gives '
                        f'{got or "nothing"}.',
                        pcr=str(index),
                        want=want,
                        got=got,
                    )
                )
        return found


@dataclasses.dataclass(frozen=True)
class Generation:
    """Values of one kind or generation of host, by PCR, hex."""

    name: str
    values: Mapping[int, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Pcrs(Rule):
    """PCRs have golden values."""

    registers: tuple[int, ...]
    bank: str
    generations: tuple[Generation, ...]
    references: bool

    NAME = 'pcrs'
    HELP = (
        'All of these registers have the values of one generation, '
        'listed here or learned as a reference.'
    )
    SCHEMA = schemas.closed(
        {
            'registers': PCRS,
            'bank': {'enum': sorted(BANKS)},
            'generations': {
                'type': 'array',
                'maxItems': 4096,
                'items': schemas.closed(
                    {
                        'name': schemas.text(255),
                        'values': {'type': 'object', 'maxProperties': 16},
                    }
                ),
            },
            'references': BOOLEAN,
        },
        ('bank', 'generations', 'references'),
    )

    @classmethod
    def parse(cls, params: Params, path: str) -> Pcrs:
        bank = params.get('bank', BANK)
        registers = indices(params['registers'])
        if params.get('references') and bank != BANK:
            raise invalid(
                f'{path}/references',
                f'references have values of the {BANK} bank only',
            )
        if 10 in registers:
            raise invalid(f'{path}/registers', 'PCR 10 never stays the same')
        generations = tuple(
            Generation(
                item['name'],
                _values(
                    item['values'],
                    registers,
                    BANKS[bank],
                    f'{path}/generations/{index}/values',
                ),
            )
            for index, item in enumerate(params.get('generations', ()))
        )
        if not generations and not params.get('references'):
            raise invalid(
                path,
                'it compares with nothing: give generations '
                'or references: true',
            )
        return cls(
            path, registers, bank, generations, params.get('references', False)
        )

    def bind(self, references: Sequence[ReferenceValues]) -> Pcrs:
        if not self.references:
            return self
        return dataclasses.replace(
            self,
            generations=(
                *self.generations,
                *(
                    Generation(f'reference {item.name}', item.pcrs)
                    for item in references
                ),
            ),
        )

    def check(self, state: VerifiedState) -> list[Finding]:
        if not self.generations:
            return [self.no_reference('PCRs')]
        quoted = state.quoted.get(self.bank, {})
        wrong, closest = min(
            (
                (
                    [
                        index
                        for index in self.registers
                        if quoted.get(index)
                        not in generation.values.get(index, ())
                    ],
                    generation,
                )
                for generation in self.generations
            ),
            key=lambda item: len(item[0]),
        )
        return [
            self._differs(index, quoted.get(index), closest) for index in wrong
        ]

    def _differs(
        self, index: int, got: str | None, generation: Generation
    ) -> Finding:
        want = generation.values.get(index, ())
        return self.fails(
            _R.PCR_NOT_GOLDEN,
            f'{named(index)} differs from {generation.name}: '
            f'want {" or ".join(want) or "unknown"}, got {got or "nothing"}.',
            pcr=str(index),
            generation=generation.name,
            want=' '.join(want),
            got=got or '',
        )

    def pins(self, given: frozenset[str]) -> bool:
        return not _BOOT_CODE.isdisjoint(self.registers)


def _values(
    document: Params, registers: Sequence[int], size: int, path: str
) -> dict[int, tuple[str, ...]]:
    """Values of one generation: exactly of the registers that count."""
    if set(document) != set(map(str, registers)):
        raise invalid(
            path, 'it must have a value for each register and for no other'
        )
    for index, value in document.items():
        if (
            not isinstance(value, str)
            or len(value) != 2 * size
            or (not _HEX.fullmatch(value))
        ):
            raise invalid(
                f'{path}/{index}',
                f'it is not {2 * size} hexadecimal digits in lower case',
            )
    return {int(index): (value,) for index, value in document.items()}


@dataclasses.dataclass(frozen=True)
class Tpm(Rule):
    """The TPM's own version and clock."""

    versions: frozenset[int] | None
    clock_safe: bool
    references: bool

    NAME = 'tpm'
    HELP = (
        "The TPM's firmware version is one of these (numbers, or 0x and "
        'hexadecimal digits), and its clock was not set back by a loss '
        'of power.'
    )
    SCHEMA = {
        **schemas.closed(
            {
                'firmware-versions': {
                    'type': 'array',
                    'maxItems': 4096,
                    'items': {
                        'anyOf': [
                            schemas.COUNTER,
                            {
                                'type': 'string',
                                'maxLength': 18,
                                'pattern': '^0x[0-9a-fA-F]{1,16}'
                                + schemas.END,
                            },
                        ]
                    },
                },
                'clock-safe': {'const': True},
                'references': BOOLEAN,
            },
            ('firmware-versions', 'clock-safe', 'references'),
        ),
        'minProperties': 1,
    }

    @classmethod
    def parse(cls, params: Params, path: str) -> Tpm:
        versions = params.get('firmware-versions')
        references = params.get('references', False)
        if versions == [] and not references:
            raise invalid(f'{path}/firmware-versions', 'it is empty')
        known = frozenset(
            int(item, 16) if isinstance(item, str) else int(item)
            for item in versions or ()
        )
        return cls(
            path,
            known if versions is not None or references else None,
            params.get('clock-safe', False),
            references,
        )

    def bind(self, references: Sequence[ReferenceValues]) -> Tpm:
        if not self.references or self.versions is None:
            return self
        return dataclasses.replace(
            self,
            versions=self.versions
            | {
                item.firmware_version
                for item in references
                if item.firmware_version is not None
            },
        )

    def check(self, state: VerifiedState) -> list[Finding]:
        found = []
        if self.versions is not None and not self.versions:
            found.append(self.no_reference("the TPM's firmware version"))
        elif self.versions is not None and (
            state.firmware_version not in self.versions
        ):
            want = ' '.join(f'{item:#x}' for item in sorted(self.versions))
            got = f'{state.firmware_version:#x}'
            found.append(
                self.fails(
                    _R.TPM_FIRMWARE,
                    f'The TPM has firmware version {got}; want {want}.',
                    want=want,
                    got=got,
                )
            )
        if self.clock_safe and not state.clock.safe:
            found.append(
                self.fails(
                    _R.TPM_CLOCK_UNSAFE,
                    errors.REASONS[_R.TPM_CLOCK_UNSAFE],
                    want='safe',
                    got='not safe',
                )
            )
        return found
