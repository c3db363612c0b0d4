# SPDX-License-Identifier: Apache-2.0
"""The rule about the entries of a Secure Boot database."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

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
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import VerifiedState

_R = errors.Reason

SECURE_BOOT_PCR = 7
#: Databases whose entries forbid: of these more is better.
FORBIDDING = frozenset(('dbx',))


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
