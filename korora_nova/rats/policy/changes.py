# SPDX-License-Identifier: Apache-2.0
"""What changed between a reference and a state, in the log's own words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from korora_nova.rats.eventlog import BootState, Component
from korora_nova.rats.finding import MAX_LISTED, printable
from korora_nova.rats.policy.components import words
from korora_nova.rats.policy.signatures import SECURE_BOOT_PCR, entry_name
from korora_nova.rats.reference import ReferenceValues
from korora_nova.rats.state import VerifiedState

#: Characters of a command that are shown.
MAX_COMMAND = 64

_DIGITS = re.compile('[0-9]+')


def of_finding(details: Mapping[str, str]) -> Component:
    """The component that a COMPONENT_UNKNOWN is about."""
    return Component(
        details.get('kind', ''),
        details['got'],
        details.get('name', ''),
        '',
        details.get('version', ''),
        int(details['pcr']),
    )


def named(item: Component) -> str:
    """Its version, else its name; its digest if the log has neither."""
    return printable(item.version or item.name or item.path or item.digest)


def last_component(item: Component, newest: ReferenceValues | None) -> str:
    """What a reference has in the place of a component, '' if nothing.

    The same kind in the same PCR, best with a name that differs in digits
    only.
    """
    likely = [
        other
        for other in _components(newest, item.pcr)
        if other.kind == item.kind
    ]
    same = [other for other in likely if _stem(other) == _stem(item)]
    chosen = (same or likely)[-1:]
    return (
        ''
        if not chosen
        else (
            named(chosen[0])
            if named(chosen[0]) != named(item)
            else f'{named(chosen[0])} ({chosen[0].digest})'
        )
    )


def inside(
    pcr: int, state: VerifiedState, newest: ReferenceValues | None
) -> Iterator[tuple[str, str]]:
    """Why a PCR differs from a reference: what is new, what was there."""
    if state.boot is None or newest is None or newest.boot is None:
        return
    known = {item.digest for item in _components(newest, pcr)}
    fresh = [
        item
        for item in state.boot.components
        if item.pcr == pcr and item.digest not in known
    ]
    for item in fresh[:MAX_LISTED]:
        yield (
            f'{words(item)} ({item.digest}) is not in the reference set',
            last_component(item, newest),
        )
    if len(fresh) > MAX_LISTED:
        yield (
            f'{len(fresh) - MAX_LISTED} more measurements in PCR {pcr} '
            'are not in the reference set',
            '',
        )
    if pcr == SECURE_BOOT_PCR:
        yield from _secure_boot(state.boot, newest.boot)
    yield from _texts(pcr, state.boot, newest.boot)


def last_command_line(newest: ReferenceValues | None) -> str:
    """The command line that a reference has."""
    if newest is None or newest.boot is None:
        return ''
    return next(
        (
            printable(item.text)
            for item in newest.boot.command_lines
            if item.verified
        ),
        '',
    )


def _secure_boot(now: BootState, then: BootState) -> Iterator[tuple[str, str]]:
    if now.secure_boot != then.secure_boot:
        yield (f'Secure Boot is {_on(now)}', _on(then))
    for database in now.databases:
        before = {
            entry.digest: entry
            for item in then.databases
            if item.name == database.name
            for entry in item.entries
        }
        after = {entry.digest: entry for entry in database.entries}
        for verb, some, others in (
            ('has', after, before),
            ('lacks', before, after),
        ):
            changed = [
                entry for digest, entry in some.items() if digest not in others
            ]
            for entry in changed[:MAX_LISTED]:
                yield (
                    f'{database.name} {verb} '
                    f'{entry_name(entry.digest, entry.subject)}',
                    '',
                )
            if len(changed) > MAX_LISTED:
                yield (
                    f'{database.name} {verb} {len(changed) - MAX_LISTED} more',
                    '',
                )
    vouched = {item.entry.digest for item in then.authorities if item.entry}
    for item in now.authorities:
        if item.entry and item.entry.digest not in vouched:
            yield (
                'a boot image was vouched for by '
                + entry_name(item.entry.digest, item.entry.subject),
                '',
            )


def _texts(
    pcr: int, now: BootState, then: BootState
) -> Iterator[tuple[str, str]]:
    """New command lines; commands of boot loaders are counted."""
    before = [item.text for item in then.command_lines if item.pcr == pcr]
    for item in now.command_lines[:MAX_LISTED]:
        if item.pcr == pcr and item.text not in before:
            yield (
                f'the kernel command line is {printable(item.text)}',
                printable(before[0]) if before else '',
            )
    known = {item.text for item in then.commands}
    fresh = [
        item
        for item in now.commands
        if item.pcr == pcr and item.text not in known
    ]
    if fresh:
        yield (
            f'GRUB ran {len(fresh)} new commands, the first: '
            f'{printable(fresh[0].text[:MAX_COMMAND])}',
            '',
        )


def _on(state: BootState) -> str:
    return {True: 'on', False: 'off', None: 'unknown'}[state.secure_boot]


def _components(newest: ReferenceValues | None, pcr: int) -> list[Component]:
    if newest is None or newest.boot is None:
        return []
    return [item for item in newest.boot.components if item.pcr == pcr]


def _stem(item: Component) -> str:
    return _DIGITS.sub('0', item.name or item.path)
