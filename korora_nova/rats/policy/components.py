# SPDX-License-Identifier: Apache-2.0
"""The rule about what was run at boot.

It excludes: whatever was measured must be allowed. That something good was
measured as well proves little, for root can extend any PCR after the boot.
"""

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

#: PCRs for which the log records other things than components: boot options,
#: Secure Boot, GRUB's commands, IMA, systemd-stub's command line.
_NO_COMPONENTS = frozenset((1, 5, 7, 8, 10, 12))


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
