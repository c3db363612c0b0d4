# SPDX-License-Identifier: Apache-2.0
"""What every rule of a policy is, and how rules are put together.

A rule is parsed from its parameters, bound to reference values, and then
checks states. It sees nothing but a verified state, and what it cannot see
counts against the host.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from korora_nova import errors
from korora_nova.rats import schemas
from korora_nova.rats.finding import MAX_LISTED, Finding, listed
from korora_nova.rats.ima import templates
from korora_nova.rats.ima.rules import MAX_DIGESTS
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import VerifiedState

_R = errors.Reason

#: Parameters of a rule.
Params: TypeAlias = schemas.Json

#: What the PCRs of a UEFI host hold (PC Client Platform Firmware Profile
#: 3.3.4; the UAPI group's TPM PCR registry).
HOLDS = {
    0: 'firmware',
    1: "the firmware's configuration",
    2: 'drivers of devices',
    3: 'configuration of devices',
    4: 'boot loaders and kernels',
    5: 'boot configuration and partitions',
    6: "the platform maker's",
    7: 'Secure Boot policy',
    8: 'commands of GRUB and the kernel command line',
    9: 'files that GRUB read and the initrd',
    10: 'IMA',
    11: 'the unified kernel image',
    12: 'the command line and credentials given to systemd-stub',
    13: 'system extensions',
    14: 'MOK lists of shim',
    15: 'identity of the system',
}

# Rules that together say whose code booted.
_VOUCHED = frozenset(('secure-boot', 'authorities'))

_DIGEST = re.compile(
    '(?:verity:)?(?:%s)'
    % '|'.join(
        f'{name}:[0-9a-f]{{{2 * size}}}'
        for name, size in templates.DIGEST_SIZES.items()
    )
)

BOOLEAN: schemas.Schema = {'type': 'boolean'}
#: The items are checked by :func:`digests`: a schema takes 10 us for each.
DIGESTS: schemas.Schema = {'type': 'array', 'maxItems': MAX_DIGESTS}
PCRS: schemas.Schema = {
    'type': 'array',
    'minItems': 1,
    'maxItems': 16,
    'uniqueItems': True,
    'items': {'type': 'integer', 'minimum': 0, 'maximum': 15},
}


def strings(size: int, count: int = 4096) -> schemas.Schema:
    """A list of at most ``count`` texts of at most ``size`` characters."""
    return {'type': 'array', 'maxItems': count, 'items': schemas.text(size)}


def invalid(path: str, what: str) -> errors.Invalid:
    """A fault of a policy document.

    :param path: place in the document, without the leading slash.
    """
    pointer = '/' + path if path else ''
    return errors.Invalid(
        _R.POLICY_INVALID,
        f'The policy is invalid at {pointer or "its top"}: {what}.',
        details={'pointer': pointer},
    )


def digests(items: Sequence[Any], path: str) -> frozenset[str]:
    """Read digests: "ALG:HEX", or an object of ``digest`` and ``name``.

    :raises Invalid: POLICY_INVALID with the place of the first fault.
    """
    match = _DIGEST.fullmatch
    if set(map(type, items)) <= {str} and all(map(match, items)):
        return frozenset(items)
    found = set()
    for index, item in enumerate(items):
        named = isinstance(item, Mapping)
        digest = item.get('digest') if named else item
        if (
            not isinstance(digest, str)
            or not match(digest)
            or (
                named
                and (
                    not set(item) <= {'digest', 'name'}
                    or not isinstance(item.get('name', ''), str)
                )
            )
        ):
            raise invalid(
                f'{path}/{index}',
                'it is not a digest such as sha256:HEX, in lower case',
            )
        found.add(digest)
    return frozenset(found)


def indices(items: Sequence[int | float]) -> tuple[int, ...]:
    """PCR indices; to a JSON schema 4.0 is an integer as well."""
    return tuple(map(int, items))


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule, at ``path`` of its policy: 'rules/3/boot-components'."""

    path: str

    NAME: ClassVar[str]
    #: What the rule demands, for the documentation.
    HELP: ClassVar[str]
    #: JSON schema of its parameters.
    SCHEMA: ClassVar[schemas.Schema]

    @classmethod
    def parse(cls, params: Params, path: str) -> Rule:
        """Read parameters that follow ``SCHEMA``.

        :raises Invalid: POLICY_INVALID.
        """
        raise NotImplementedError

    def bind(self, references: Sequence[ReferenceValues]) -> Rule:
        """The same rule, with what the reference values add to it."""
        return self

    def check(self, state: VerifiedState) -> list[Finding]:
        """Why the state does not satisfy the rule; empty if it does."""
        raise NotImplementedError

    @property
    def kinds(self) -> frozenset[str]:
        """Names of the rules that hold whenever this one does."""
        return frozenset((self.NAME,))

    def pins(self, given: frozenset[str]) -> bool:
        """Whether the rule says which code booted.

        :param given: names of the other rules that hold.
        """
        return False

    def fails(self, reason: str, message: str, **details: str) -> Finding:
        """A finding of this rule."""
        return Finding(reason, message, {'rule': self.path, **details})

    def fails_each(
        self,
        reason: str,
        items: Sequence[str],
        template: str,
        key: str = 'got',
    ) -> list[Finding]:
        """A finding for each item; many are summed up.

        :param key: 'want' or 'got': what the items are.
        """
        return listed(reason, items, template, {'rule': self.path}, key)

    def summed(self, found: list[Finding]) -> list[Finding]:
        """Findings of one reason, those beyond the cap as one."""
        more = len(found) - MAX_LISTED
        if more <= 0:
            return found
        return [
            *found[:MAX_LISTED],
            self.fails(found[0].reason, f'And {more} more of this kind.'),
        ]

    def no_reference(self, what: str) -> Finding:
        """The rule has nothing to compare ``what`` with."""
        return self.fails(
            _R.NO_REFERENCE,
            f'There are no reference values for {what}; '
            'create a reference from a host that is as it should be '
            '(references of version 1 have PCRs and files only).',
        )

    def unexplained(
        self, state: VerifiedState, pcrs: Iterable[int]
    ) -> list[Finding]:
        """Why the log's word about these PCRs does not count, if so."""
        if state.log is None:
            return [self.no_log(state)]
        return [
            self.fails(
                _R.EVENT_UNVERIFIED,
                f'The rule rests on {named(index)}, which the event log does '
                'not explain',
                got=named(index),
                pcr=str(index),
            )
            for index in pcrs
            if index not in state.log.agrees
        ]

    def no_log(self, state: VerifiedState) -> Finding:
        """The rule needs an event log that can be relied on."""
        fault = state.log_fault
        if fault is None:
            return self.fails(
                _R.UEFI_LOG_MISSING, errors.REASONS[_R.UEFI_LOG_MISSING]
            )
        return self.fails(fault.reason, fault.message)


def named(index: int) -> str:
    """A PCR and what it holds, for people."""
    holds = HOLDS.get(index)
    return f'PCR {index} ({holds})' if holds else f'PCR {index}'


@dataclasses.dataclass(frozen=True)
class AllOf(Rule):
    """Holds if all of its rules do."""

    rules: tuple[Rule, ...]

    NAME = 'all-of'
    HELP = 'All of these rules hold.'

    def bind(self, references: Sequence[ReferenceValues]) -> AllOf:
        return dataclasses.replace(
            self, rules=tuple(rule.bind(references) for rule in self.rules)
        )

    def check(self, state: VerifiedState) -> list[Finding]:
        return [
            finding for rule in self.rules for finding in rule.check(state)
        ]

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset[str]().union(*(rule.kinds for rule in self.rules))

    def pins(self, given: frozenset[str]) -> bool:
        given |= self.kinds
        return _VOUCHED <= given or any(
            rule.pins(given) for rule in self.rules
        )


@dataclasses.dataclass(frozen=True)
class AnyOf(AllOf):
    """Holds if one of its rules does; else reports the closest."""

    NAME = 'any-of'
    HELP = 'At least one of these rules holds.'

    def check(self, state: VerifiedState) -> list[Finding]:
        return min((rule.check(state) for rule in self.rules), key=len)

    @property
    def kinds(self) -> frozenset[str]:
        first, *others = (rule.kinds for rule in self.rules)
        return first.intersection(*others)

    def pins(self, given: frozenset[str]) -> bool:
        return all(
            AllOf(self.path, (rule,)).pins(given) for rule in self.rules
        )
