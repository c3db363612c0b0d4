# SPDX-License-Identifier: Apache-2.0
"""Rules about how the host booted: Secure Boot and what was run.

They exclude: whatever was measured must be allowed. That something good was
measured as well proves little, for root can extend any PCR after the boot.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.eventlog import boot
from korora_nova.rats.finding import Finding, printable
from korora_nova.rats.policy.node import (
    BOOLEAN,
    DIGESTS,
    PCRS,
    Params,
    Rule,
    digests,
    indices,
    invalid,
    named,
)
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import VerifiedState

_R = errors.Reason

SECURE_BOOT_PCR = 7
#: Databases whose entries forbid: of these more is better.
FORBIDDING = frozenset(('dbx',))
#: PCRs of which the log tells other things than components: boot options,
#: Secure Boot, GRUB's commands, IMA, systemd-stub's command line.
_NO_COMPONENTS = frozenset((1, 5, 7, 8, 10, 12))
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
class SignatureDatabase(Rule):
    """A Secure Boot database has, or has not, certain entries."""

    variable: str
    allowed: frozenset[str] | None
    required: frozenset[str]
    forbidden: frozenset[str]
    references: bool
    #: Of each reference; one of them must be there completely.
    revoked: tuple[frozenset[str], ...] | None = None
    #: Digest to subject, for people.
    subjects: Mapping[str, str] = dataclasses.field(default_factory=dict)

    NAME = 'signature-database'
    HELP = (
        'Each entry of this Secure Boot database is allowed, those '
        'required are there, those forbidden are not. With references: '
        'true the entries of references are allowed; of dbx, which '
        'forbids, all entries of one reference must be there.'
    )
    SCHEMA = schemas.closed(
        {
            'variable': {'enum': ['PK', 'KEK', 'db', 'dbx', 'dbt', 'dbr']},
            'allowed': DIGESTS,
            'required': DIGESTS,
            'forbidden': DIGESTS,
            'references': BOOLEAN,
        },
        ('allowed', 'required', 'forbidden', 'references'),
    )

    @classmethod
    def parse(cls, params: Params, path: str) -> SignatureDatabase:
        lists = {
            key: digests(params[key], f'{path}/{key}')
            for key in ('allowed', 'required', 'forbidden')
            if key in params
        }
        references = params.get('references', False)
        if not references and not any(lists.values()):
            raise invalid(
                path,
                'it compares with nothing: give allowed, '
                'required, forbidden or references: true',
            )
        allowed = lists.get('allowed')
        if references and params['variable'] not in FORBIDDING:
            allowed = allowed or frozenset()
        return cls(
            path,
            params['variable'],
            allowed,
            lists.get('required', frozenset()),
            lists.get('forbidden', frozenset()),
            references,
        )

    def bind(self, references: Sequence[ReferenceValues]) -> SignatureDatabase:
        if not self.references:
            return self
        learned = [
            frozenset(entry.digest for entry in entries)
            for item in references
            if (entries := self._entries(item.boot)) is not None
        ]
        subjects = {
            entry.digest: entry.subject
            for item in references
            for entry in self._entries(item.boot) or ()
        }
        if self.variable in FORBIDDING:
            return dataclasses.replace(
                self, revoked=tuple(learned), subjects=subjects
            )
        return dataclasses.replace(
            self,
            subjects=subjects,
            allowed=(self.allowed or frozenset()).union(*learned),
        )

    def _entries(
        self, state: boot.BootState | None
    ) -> list[boot.SignatureEntry] | None:
        """Entries of the verified databases of this name, if any."""
        found = [
            item.entries for item in self._databases(state) if item.verified
        ]
        return (
            [one for entries in found for one in entries] if (found) else None
        )

    def _databases(
        self, state: boot.BootState | None
    ) -> list[boot.SignatureDatabase]:
        return (
            [item for item in state.databases if item.name == self.variable]
            if state
            else []
        )

    def check(self, state: VerifiedState) -> list[Finding]:
        found = self.unexplained(state, (SECURE_BOOT_PCR,))
        databases = self._databases(state.facts)
        if found:
            return found
        if not databases:
            return [
                self.fails(
                    _R.SIGNATURE_MISSING,
                    f'The event log has no {self.variable}'
                    ' that firmware measured.',
                    variable=self.variable,
                )
            ]
        if not all(item.verified for item in databases):
            return [
                self.fails(
                    _R.EVENT_UNVERIFIED,
                    f'The data of {self.variable} in the '
                    'event log is not what was measured.',
                    variable=self.variable,
                )
            ]
        # Each of them if there are several: the host may have added one.
        return [
            finding
            for item in dict.fromkeys(databases)
            for finding in self._compare(item.entries)
        ]

    def _compare(
        self, entries: Sequence[boot.SignatureEntry]
    ) -> list[Finding]:
        found: list[Finding] = []
        present = {entry.digest: entry for entry in entries}
        names = {
            **self.subjects,
            **{digest: entry.subject for digest, entry in present.items()},
        }
        if self.allowed is not None and not self.allowed and (self.references):
            found.append(self.no_reference(self.variable))
        elif self.allowed is not None:
            found += self._each(
                _R.SIGNATURE_UNKNOWN,
                names,
                [digest for digest in present if digest not in self.allowed],
                'has {}, which is not allowed',
            )
        missing = self.required - present.keys()
        if self.revoked is not None:
            if not self.revoked:
                found.append(self.no_reference(self.variable))
            missing |= min(
                (one - present.keys() for one in self.revoked),
                key=len,
                default=frozenset(),
            )
        found += self._each(
            _R.SIGNATURE_MISSING, names, sorted(missing), 'lacks {}', 'want'
        )
        found += self._each(
            _R.SIGNATURE_FORBIDDEN,
            names,
            sorted(self.forbidden & present.keys()),
            'has {}, which is forbidden',
        )
        return found

    def _each(
        self,
        reason: str,
        names: Mapping[str, str],
        wrong: Sequence[str],
        what: str,
        key: str = 'got',
    ) -> list[Finding]:
        return self.fails_each(
            reason,
            [entry_name(digest, names.get(digest, '')) for digest in wrong],
            f'{self.variable} {what}',
            key,
        )


def entry_name(digest: str, subject: str) -> str:
    """An entry of a database for people."""
    if not subject:
        return digest
    return f'the certificate {printable(subject)} ({digest})'


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


@dataclasses.dataclass(frozen=True)
class BootComponents(Rule):
    """Only known things were measured into some PCRs."""

    pcrs: tuple[int, ...]
    allowed: frozenset[str]
    required: frozenset[str]
    references: bool
    #: PCR to what each reference has there, in its order.
    learned: Mapping[int, frozenset[tuple[str, ...]]] = dataclasses.field(
        default_factory=dict
    )

    NAME = 'boot-components'
    HELP = (
        'Everything measured into these PCRs (default: 4, boot loaders '
        'and kernels) is allowed, whatever the log calls it; those '
        'required are there. With references: true, what is not listed '
        'is for each PCR what one reference has, in its order: a kernel '
        'that was started without the boot loader is another boot. '
        'Command lines are another rule. Without Secure Boot, GRUB '
        'measures the kernel into 9 only.'
    )
    SCHEMA = schemas.closed(
        {
            'pcrs': PCRS,
            'allowed': DIGESTS,
            'required': DIGESTS,
            'references': BOOLEAN,
        },
        ('pcrs', 'allowed', 'required', 'references'),
    )

    @classmethod
    def parse(cls, params: Params, path: str) -> BootComponents:
        lists = {
            key: digests(params.get(key, ()), f'{path}/{key}')
            for key in ('allowed', 'required')
        }
        references = params.get('references', False)
        if not lists['allowed'] and not references:
            raise invalid(
                path, 'it allows nothing: give allowed or references: true'
            )
        pcrs = indices(params.get('pcrs', (4,)))
        wrong = _NO_COMPONENTS.intersection(pcrs)
        if wrong:
            raise invalid(
                f'{path}/pcrs',
                f'{named(min(wrong))} has no '
                'components; pcrs, signature-database or '
                'command-line judge it',
            )
        return cls(path, pcrs, lists['allowed'], lists['required'], references)

    def bind(self, references: Sequence[ReferenceValues]) -> BootComponents:
        if not self.references:
            return self
        return dataclasses.replace(
            self,
            learned={
                index: frozenset(
                    self._sequence(one.boot.components, index)
                    for one in references
                    if one.boot
                )
                for index in self.pcrs
            },
        )

    def _sequence(
        self, items: Sequence[boot.Component], pcr: int
    ) -> tuple[str, ...]:
        """What was measured into a PCR, those left out that are listed."""
        return tuple(
            item.digest
            for item in items
            if item.pcr == pcr and item.digest not in self.allowed
        )

    def check(self, state: VerifiedState) -> list[Finding]:
        found = self.unexplained(state, self.pcrs)
        if found:
            return found
        if not self.allowed and not any(map(any, self.learned.values())):
            return [self.no_reference('boot components')]
        # By PCR and digest: kinds and names are the log's own words.
        items = [
            item for item in state.facts.components if item.pcr in self.pcrs
        ]
        if not items:
            return [
                self.fails(
                    _R.COMPONENT_MISSING,
                    'Nothing was measured into '
                    f'{" or ".join(map(named, self.pcrs))}.',
                )
            ]
        found = [
            finding
            for index in self.pcrs
            for finding in self._check(items, index)
        ]
        missing = self.required.difference(item.digest for item in items)
        return self.summed(found) + self.fails_each(
            _R.COMPONENT_MISSING,
            sorted(missing),
            'The boot component {} is required and was not measured',
            'want',
        )

    def _check(
        self, items: Sequence[boot.Component], pcr: int
    ) -> list[Finding]:
        learned = self.learned.get(pcr, frozenset())
        sequence = self._sequence(items, pcr)
        if sequence in learned:
            return []
        if not sequence:
            some = not learned or any(item.pcr == pcr for item in items)
            return (
                []
                if some
                else [
                    self.fails(
                        _R.COMPONENT_MISSING,
                        f'Nothing was measured into '
                        f'{named(pcr)}, where references have something.',
                        pcr=str(pcr),
                    )
                ]
            )
        known = self.allowed.union(*learned)
        return [
            self._unknown(item)
            for item in items
            if item.pcr == pcr and item.digest not in known
        ] or [
            self.fails(
                _R.COMPONENT_UNKNOWN,
                f'{named(pcr)}: no reference has '
                'all of this in this order: '
                + printable(
                    ', '.join(words(item) for item in items if item.pcr == pcr)
                ),
                pcr=str(pcr),
            )
        ]

    def _unknown(self, item: boot.Component) -> Finding:
        return self.fails(
            _R.COMPONENT_UNKNOWN,
            f'{words(item)} ({item.digest}), measured '
            f'into {named(item.pcr)}, is not in the reference set',
            pcr=str(item.pcr),
            got=item.digest,
            kind=item.kind,
            name=printable(item.name or item.path),
            version=printable(item.version),
        )

    def pins(self, given: frozenset[str]) -> bool:
        return 4 in self.pcrs


def words(item: boot.Component) -> str:
    """'kernel 6.1.0-42-amd64', or with its name, or its kind alone."""
    called = item.version or item.name or item.path
    return printable(f'{item.kind} {called}'.strip())
