# SPDX-License-Identifier: Apache-2.0
"""Policies, and policies bound to reference values."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable, Sequence

from korora_nova.rats import ima as measurements
from korora_nova.rats.finding import Finding
from korora_nova.rats.policy import document as documents
from korora_nova.rats.policy import runtime
from korora_nova.rats.policy.node import Params
from korora_nova.rats.policy.registry import BUILT_IN, Registry
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import USER_SPACE_PCRS, VerifiedState

#: Compiled rules about files that a policy keeps: one for each set of
#: references that a host satisfies otherwise.
MAX_CHOICES = 32


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a policy says of a state, files not yet counted.

    :param findings: empty if all rules hold.
    :param ima: the rule about files, None if they are not appraised.
    """

    policy: str
    findings: tuple[Finding, ...]
    ima: runtime.Ima | None

    @property
    def ima_rules(self) -> measurements.Rules | None:
        """What to measure the list with; None: nothing to judge it by."""
        return self.ima.rules if self.ima else None

    def of_files(self, found: Iterable[Finding]) -> tuple[Finding, ...]:
        """Findings about files, with the rule that they come from."""
        return mark(found, self.policy, self.ima.path if self.ima else '')


def mark(
    found: Iterable[Finding], policy: str, rule: str
) -> tuple[Finding, ...]:
    """Findings with their policy and, unless they have it, their rule."""
    return tuple(
        dataclasses.replace(
            item, details={'rule': rule, **item.details, 'policy': policy}
        )
        for item in found
    )


class BoundPolicy:
    """A policy that is ready to judge states; may be shared by threads."""

    def __init__(
        self, policy: Policy, groups: Sequence[Sequence[ReferenceValues]]
    ) -> None:
        """Compile a policy.

        :param groups: reference values; the policy holds if it does with
            one of the groups.
        """
        self.name = policy.name
        self._groups = groups
        self._rules = tuple(policy.rules.bind(group) for group in groups)
        self._policy = policy
        # Files are those of all groups that a state satisfies otherwise.
        self._files: dict[tuple[int, ...], runtime.Ima] = {}

    @property
    def ima(self) -> measurements.Rules | None:
        """Rules about files, None if they are not appraised."""
        files = self._bind_files(range(len(self._groups)))
        return files.rules if files else None

    def judge(self, state: VerifiedState) -> Judgement:
        """Check all rules except those about single files."""
        judged = [rules.check(state) for rules in self._rules]
        fewest = min(map(len, judged))
        chosen = [
            index for index, found in enumerate(judged) if len(found) == fewest
        ]
        findings = judged[chosen[0]]
        # If no group satisfies the host, its files are those of the closest.
        files = self._bind_files(chosen[:1] if findings else chosen)
        if files is not None:
            findings = findings + files.check(state)
        return Judgement(
            self.name,
            mark(findings, self.name, self._policy.rules.path),
            files,
        )

    def check(self, state: VerifiedState) -> tuple[Finding, ...]:
        """Why the state does not satisfy the policy, files not counted."""
        return self.judge(state).findings

    def _bind_files(self, chosen: Iterable[int]) -> runtime.Ima | None:
        if self._policy.ima is None:
            return None
        key = tuple(chosen)
        found = self._files.get(key)
        if found is None:
            if len(self._files) >= MAX_CHOICES:
                self._files.clear()
            found = self._files[key] = self._policy.ima.bind(
                [item for index in key for item in self._groups[index]]
            )
        return found


def names(patterns: Iterable[str], host: str) -> bool:
    """Whether one of the patterns names a host."""
    return any(fnmatch.fnmatchcase(host, pattern) for pattern in patterns)


@dataclasses.dataclass(frozen=True)
class Policy(documents.Parsed):
    """What an operator demands of hosts."""

    def applies(self, host: str) -> bool:
        """Whether the policy judges a host of this name."""
        return names(self.hosts, host)

    def bind(self, references: Sequence[ReferenceValues]) -> BoundPolicy:
        """Compile with reference values; do it once, not per host.

        :param references: those that count, newest last.
        """
        if self.one_reference and references:
            return BoundPolicy(self, [(item,) for item in references])
        return BoundPolicy(self, [tuple(references)])


def load(document: Params, rules: Registry = BUILT_IN) -> Policy:
    """Read a policy document.

    :param document: JSON data; see :func:`.document.schema`.
    :param rules: those that it may have.
    :raises Invalid: POLICY_INVALID, details have the ``pointer`` (RFC 6901)
        of the first fault.
    """
    return Policy(**vars(documents.parse(document, rules)))


def _exact() -> Policy:
    pcrs = [*range(10), *range(11, 16)]
    explained = [index for index in pcrs if index not in USER_SPACE_PCRS]
    return load(
        {
            'version': 1,
            'name': 'exact',
            'one-reference': True,
            'description': 'All PCRs and measured files are exactly those of '
            'one reference. Judges hosts that no policy names.',
            'rules': [
                {'event-log': {'pcrs': explained}},
                {'pcrs': {'registers': pcrs, 'references': True}},
                {'ima': {'references': True}},
            ],
        }
    )


#: Built in: what counts for hosts that no policy names.
EXACT = _exact()
