# SPDX-License-Identifier: Apache-2.0
"""Rules about Secure Boot: that it was on, and who vouched for images.

They exclude: whatever was measured must be allowed. That something good was
measured as well proves little, for root can extend any PCR after the boot.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.eventlog import boot
from korora_nova.rats.finding import Finding, printable
from korora_nova.rats.policy.node import (
    BOOLEAN,
    DIGESTS,
    Params,
    Rule,
    digests,
    invalid,
)
from korora_nova.rats.policy.signatures import SECURE_BOOT_PCR, entry_name
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import VerifiedState

_R = errors.Reason

# PFP 3.3.4.8: measured if a debugger may have changed what runs.
_DEBUG_MODE = frozenset(
    hashlib.sha256(b'UEFI Debug Mode' + end).hexdigest()
    for end in (b'', b'\0')
)


@dataclasses.dataclass(frozen=True)
class SecureBoot(Rule):
    """Secure Boot was on."""

    NAME = 'secure-boot'
    HELP = 'Firmware booted with Secure Boot on, as the event log proves.'
    SCHEMA = schemas.closed({'enabled': {'const': True}})

    @classmethod
    def parse(cls, params: Params, path: str) -> SecureBoot:
        return cls(path)

    def check(self, state: VerifiedState) -> list[Finding]:
        found = self.unexplained(state, (SECURE_BOOT_PCR,))
        if found:
            return found
        if not _DEBUG_MODE.isdisjoint(state.measured(SECURE_BOOT_PCR)):
            return [
                self.fails(
                    _R.SECURE_BOOT_OFF,
                    'Firmware runs in UEFI debug mode, where '
                    'Secure Boot does not count.',
                    want='on',
                    got='debug mode',
                )
            ]
        if state.facts.secure_boot is True:
            return []
        got = 'unknown' if state.facts.secure_boot is None else 'off'
        return [
            self.fails(
                _R.SECURE_BOOT_OFF,
                f'Secure Boot: want on, got {got}.',
                want='on',
                got=got,
            )
        ]


@dataclasses.dataclass(frozen=True)
class Authorities(Rule):
    """Only these keys vouched for what booted."""

    allowed: frozenset[str]
    references: bool
    known: frozenset[str] = frozenset()

    NAME = 'authorities'
    HELP = (
        'Whatever Secure Boot let run was vouched for by one of these '
        'certificates or hashes.'
    )
    SCHEMA = schemas.closed(
        {'allowed': DIGESTS, 'references': BOOLEAN}, ('allowed', 'references')
    )

    @classmethod
    def parse(cls, params: Params, path: str) -> Authorities:
        allowed = digests(params.get('allowed', ()), f'{path}/allowed')
        references = params.get('references', False)
        if not allowed and not references:
            raise invalid(
                path, 'it allows nothing: give allowed or references: true'
            )
        return cls(path, allowed, references)

    def bind(self, references: Sequence[ReferenceValues]) -> Authorities:
        if not self.references:
            return self
        return dataclasses.replace(
            self,
            known=frozenset[str]().union(
                *(
                    item.measured.get(SECURE_BOOT_PCR, ())
                    for item in references
                )
            ),
            allowed=self.allowed
            | {
                item.entry.digest
                for one in references
                if one.boot
                for item in one.boot.authorities
                if item.verified and item.entry
            },
        )

    def check(self, state: VerifiedState) -> list[Finding]:
        found = self.unexplained(state, (SECURE_BOOT_PCR,))
        if found:
            return found
        if not self.allowed and self.references:
            return [self.no_reference('the authorities of boot images')]
        items = state.facts.authorities
        if not items:
            return [
                self.fails(
                    _R.AUTHORITY_UNKNOWN,
                    'No verified event says who vouched for the boot images.',
                )
            ]
        return self._unclear(state, items) + self.fails_each(
            _R.AUTHORITY_UNKNOWN,
            [
                f'{printable(item.variable)}: '
                f'{entry_name(item.entry.digest, item.entry.subject)}'
                for item in items
                if item.verified
                and item.entry
                and item.entry.digest not in self.allowed
            ],
            'A boot image was vouched for by {}, which is not allowed',
        )

    def _unclear(
        self, state: VerifiedState, items: Sequence[boot.Authority]
    ) -> list[Finding]:
        """Authorities that could be anything, unless references have
        every measurement of the PCR."""
        unclear = [
            printable(item.variable) or 'an unnamed one'
            for item in items
            if not item.verified or item.entry is None
        ]
        measured = state.measured(SECURE_BOOT_PCR)
        if measured and self.known.issuperset(measured):
            return []
        return self.fails_each(
            _R.EVENT_UNVERIFIED,
            unclear,
            'What vouched for a boot image is not what the event log says: {}',
        )
