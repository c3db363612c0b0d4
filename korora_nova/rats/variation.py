# SPDX-License-Identifier: Apache-2.0
"""What differs between hosts that are to be learned from, for people."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping

from korora_nova.rats.eventlog import BootState
from korora_nova.rats.finding import printable
from korora_nova.rats.reference import File, ReferenceValues, learn
from korora_nova.rats.state import VerifiedState

#: Most components that are told.
MAX_VARIATIONS = 128
#: Items of a component that are shown of a host.
MAX_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class Golden:
    """What is learned from a host, and what its files are called.

    :param names: by digest; more than was learned does no harm.
    """

    values: ReferenceValues
    names: Mapping[str, bytes]

    @classmethod
    def learn(
        cls, name: str, state: VerifiedState, files: Iterable[File]
    ) -> Golden:
        """Take a host as it should be; its files are read once.

        :raises Untrusted: as :func:`~korora_nova.rats.reference.learn`.
        """
        names: dict[str, bytes] = {}

        def noted() -> Iterator[File]:
            for one in files:
                names[one.digest] = one.path
                yield one

        return cls(learn(name, state, noted()), names)


@dataclasses.dataclass(frozen=True)
class Variation:
    """One component that is not the same on all of them.

    :param values: what it is, by host; names are the log's words.
    """

    component: str
    values: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        return {'component': self.component, 'values': dict(self.values)}


def variations(hosts: Mapping[str, Golden]) -> list[Variation]:
    """Compare hosts; empty if they are the same, or there is only one.

    :returns: at most :data:`MAX_VARIATIONS`.
    """
    if len(hosts) < 2:
        return []
    found = []
    for component, values in _components(hosts):
        if len(set(values.values())) > 1:
            found.append(Variation(component, values))
    return found[:MAX_VARIATIONS]


def _components(
    hosts: Mapping[str, Golden],
) -> Iterator[tuple[str, dict[str, str]]]:
    boots = {
        name: one.values.boot or BootState() for name, one in hosts.items()
    }
    yield (
        'TPM firmware',
        {
            name: f'{one.values.firmware_version or 0:#x}'
            for name, one in hosts.items()
        },
    )
    yield (
        'Secure Boot',
        {
            name: {True: 'on', False: 'off', None: 'unknown'}[boot.secure_boot]
            for name, boot in boots.items()
        },
    )
    yield (
        'command line',
        {
            name: ' | '.join(
                printable(line.text) for line in boot.command_lines
            )
            for name, boot in boots.items()
        },
    )
    yield from _databases(boots)
    yield from _measured(boots)
    yield from _registers(hosts)
    yield (
        'files',
        _unshared({name: _files(one) for name, one in hosts.items()}),
    )


def _databases(
    boots: Mapping[str, BootState],
) -> Iterator[tuple[str, dict[str, str]]]:
    names = {one.name for boot in boots.values() for one in boot.databases}
    for database in sorted(names):
        yield (
            f'database {printable(database)}',
            _unshared(
                {
                    host: {
                        entry.digest: entry.subject
                        for one in boot.databases
                        if one.name == database
                        for entry in one.entries
                    }
                    for host, boot in boots.items()
                }
            ),
        )


def _measured(
    boots: Mapping[str, BootState],
) -> Iterator[tuple[str, dict[str, str]]]:
    pcrs = {one.pcr for boot in boots.values() for one in boot.components}
    for pcr in sorted(pcrs):
        yield (
            f'components of PCR {pcr}',
            _unshared(
                {
                    host: {
                        one.digest: f'{one.kind} {one.version or one.name}'
                        for one in boot.components
                        if one.pcr == pcr
                    }
                    for host, boot in boots.items()
                }
            ),
        )


def _registers(
    hosts: Mapping[str, Golden],
) -> Iterator[tuple[str, dict[str, str]]]:
    pcrs = {pcr for one in hosts.values() for pcr in one.values.pcrs}
    for pcr in sorted(pcrs):
        yield (
            f'PCR {pcr}',
            {
                name: ' '.join(one.values.pcrs.get(pcr, ('not learned',)))
                for name, one in hosts.items()
            },
        )


def _files(golden: Golden) -> dict[str, str]:
    """What each learned digest is called."""
    return {
        digest: printable(golden.names.get(digest, b''))
        for digest in golden.values.ima_digests
    }


def _unshared(items: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Of digests with names, those that not every host has."""
    shared = set.intersection(*(set(one) for one in items.values()))
    return {
        host: _listed({key: one[key] for key in one if key not in shared})
        for host, one in items.items()
    }


def _listed(own: Mapping[str, str]) -> str:
    """The first ones in full; all of them by number and a digest."""
    if not own:
        return 'only what all have'
    shown = [
        f'{printable(name).strip()} {digest}'.strip()
        for digest, name in sorted(own.items(), key=lambda one: one[::-1])
    ]
    text = ', '.join(shown[:MAX_SHOWN])
    if len(shown) <= MAX_SHOWN:
        return text
    mark = hashlib.sha256('\0'.join(shown).encode()).hexdigest()[:12]
    return f'{text} and {len(shown) - MAX_SHOWN} more ({mark})'
