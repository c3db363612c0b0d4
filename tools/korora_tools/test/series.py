# SPDX-License-Identifier: Apache-2.0
"""OpenStack's series, each with the versions that it is installed with.

Distributions and DevStack install by upstream's ``upper-constraints.txt``,
which is older than what pip finds; cryptography, and with it tpm2-pytss, by
whole major versions. ``tests/constraints`` has a list for each series of Nova
that the project supports.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

from korora_tools import checkout, environment, ui

LISTS = checkout.ROOT / 'tests' / 'constraints'
#: Suites of what talks to TPMs, and to the service about them, and which of
#: their tests: all, or a sample that makes each call once.
SUITES = {
    'tpm': '',
    'attester': 'test_(handover|process|secrecy|enforcement)',
}
#: What those suites may find different: two series with the same versions
#: of these need one environment.
DECISIVE = ('tpm2-pytss', 'cryptography')


@dataclass(frozen=True)
class Series:
    """One list of versions."""

    name: str
    path: pathlib.Path

    @property
    def pins(self) -> dict[str, str]:
        """Distribution -> version, of those that have one in the list."""
        lines = self.path.read_text().splitlines()
        pairs = [line.split('==') for line in lines if '==' in line]
        return {name.lower(): version for name, version in pairs}

    @property
    def decisive(self) -> tuple[str, ...]:
        return tuple(self.pins[name] for name in DECISIVE)

    def __str__(self) -> str:
        versions = zip(DECISIVE, self.decisive, strict=True)
        return f'{self.name}: ' + ', '.join(map(' '.join, versions))

    def ensure(self) -> pathlib.Path:
        """Make the environment, if need be; return its Python."""
        ui.say(f'series {self}')
        # The list is complete: nothing is resolved, nothing newer comes in.
        return environment.ensure(
            checkout.VENV / 'series' / self.name,
            self.path,
            options=['--no-deps'],
        )


def every(directory: pathlib.Path = LISTS) -> list[Series]:
    """All series, the oldest first."""
    return [
        Series(path.stem, path) for path in sorted(directory.glob('*.txt'))
    ]


def distinct(directory: pathlib.Path = LISTS) -> list[Series]:
    """One series for each combination of the decisive versions."""
    found: dict[tuple[str, ...], Series] = {}
    for series in every(directory):
        found.setdefault(series.decisive, series)
    return list(found.values())
