# SPDX-License-Identifier: Apache-2.0
"""A row of the catalogue: an attack, its tests, and what defeats it."""

from __future__ import annotations

from dataclasses import dataclass

from korora_tools.prove.patches import Patch

API = 'tests.functional.api.'
AGENT = 'tests.functional.attester.'
NOVA = 'tests.functional.nova.'
TPM = 'tests.functional.tpm.'
UNIT = 'tests.unit.'


@dataclass(frozen=True)
class Attack:
    """An attack that does not work.

    :param tests: dotted names, each of which names the attack; the first one
        is red without what ``check`` takes away.
    """

    id: str
    what: str
    tests: tuple[str, ...]
    check: Patch

    @property
    def test(self) -> str:
        return self.tests[0]


def row(
    id: str, what: str, test: str, code: str, old: str, new: str, *more: str
) -> Attack:
    """A row; ``code`` is ``file:function``, below korora_nova."""
    file, function = code.split(':')
    return Attack(
        id,
        what,
        (test, *more),
        Patch(f'korora_nova/{file}', function, old, new),
    )
