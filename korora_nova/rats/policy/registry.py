# SPDX-License-Identifier: Apache-2.0
"""The rules that policies can have: those built in, and a site's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from korora_nova.rats.policy import (
    command_line,
    components,
    registers,
    runtime,
    secure_boot,
    signatures,
)
from korora_nova.rats.policy.node import AllOf, AnyOf, Rule

#: Rules made of rules.
NESTED: Final[Mapping[str, type[AllOf]]] = {'all-of': AllOf, 'any-of': AnyOf}


class Registry(Mapping[str, type[Rule]]):
    """Rules by their names; immutable.

    :raises ValueError: two have one name.
    """

    def __init__(self, rules: Iterable[type[Rule]]) -> None:
        self._rules: dict[str, type[Rule]] = {}
        for rule in rules:
            if rule.NAME in self._rules or rule.NAME in NESTED:
                raise ValueError(f'there is a rule {rule.NAME} already')
            self._rules[rule.NAME] = rule

    def __getitem__(self, name: str) -> type[Rule]:
        return self._rules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


BUILT_IN: Final = Registry(
    (
        registers.EventLog,
        registers.Pcrs,
        registers.Tpm,
        secure_boot.SecureBoot,
        signatures.SignatureDatabase,
        secure_boot.Authorities,
        components.BootComponents,
        command_line.CommandLine,
        runtime.Ima,
    )
)
