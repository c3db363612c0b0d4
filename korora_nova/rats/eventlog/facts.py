# SPDX-License-Identifier: Apache-2.0
"""Events of agreeing registers to a BootState.

Every event ends up in a field or is a component; only separators and
well-known actions, known by their digests, are left out.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from korora_nova import errors
from korora_nova.rats.eventlog import (
    boot,
    check,
    components,
    formats,
    ipl,
    options,
    secureboot,
    variables,
)
from korora_nova.rats.eventlog.boot import Component
from korora_nova.rats.eventlog.formats import Event

#: Most facts of one kind; a boot has some hundreds.
MAX_FACTS = 8192
#: Characters of all texts.
MAX_TEXT = 4 << 20

_ACTIONS = (
    b'Calling EFI Application from Boot Option',
    b'Returning from EFI Application from Boot Option',
    b'Exit Boot Services Invocation',
    b'Exit Boot Services Returned with Failure',
    b'Exit Boot Services Returned with Success',
    b'Calling INT 19h',
    b'Start Option ROM Scan',
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which registers say what (PFP 3.3.4; systemd's TPM2 PCRs).

    :param options: registers of boot options.
    :param separators: how many precede what follows firmware there.
    :param shared: registers hold more than what the fields name.
    """

    secure_boot: int
    options: tuple[int, ...]
    separators: int
    commands: int
    stub: int
    sections: int
    kernel: int
    shared: bool


# Older firmware has boot options in PCR 5 (PFP 1.00).
_TPM = Layout(7, (1, 5), 1, 8, 12, 11, 9, False)
# PCRs 1 and 7 share a register, so do 8-15 (UEFI 38.4.1).
_CC = Layout(1, (1,), 2, 3, 3, 3, 3, True)


def decode(
    events: Sequence[Event], bank: str, log_format: str
) -> boot.BootState:
    """Decode the events of a verified log.

    :param bank: that was compared with the quote.
    :param log_format: of the log, see :class:`.log.EventLog`.
    :raises EvidenceError: UEFI_LOG_MALFORMED: more than the caps.
    """
    layout = _CC if log_format == formats.CC else _TPM
    registers: dict[int, list[Event]] = {}
    for event in events:
        registers.setdefault(event.pcr, []).append(event)
    policy = secureboot.read(registers.get(layout.secure_boot, ()), bank)
    found = [
        options.read(registers.get(index, ()), bank, layout.separators)
        for index in layout.options
    ]
    given = [data for item in found for data in item.given]
    texts = _texts(registers, layout, bank, given)
    explained = policy.explained.union(
        texts.explained, *(item.explained for item in found)
    )
    order = next(
        (item for item in found if item.order is not None), options.Options()
    )
    state = boot.BootState(
        secure_boot=policy.secure_boot,
        databases=tuple(policy.databases),
        authorities=tuple(policy.authorities),
        boot_order=order.order or (),
        boot_order_verified=order.order_verified,
        boot_options=tuple(entry for item in found for entry in item.options),
        components=tuple(_components(events, bank, explained, texts.sections)),
        commands=tuple(texts.commands),
        command_lines=tuple(texts.lines),
        variables=policy.variables,
    )
    _check(state)
    return state


def _texts(
    registers: dict[int, list[Event]],
    layout: Layout,
    bank: str,
    given: Sequence[bytes],
) -> ipl.Commands:
    texts = ipl.Commands()
    only = not layout.shared
    ipl.grub(texts, registers.get(layout.commands, ()), bank, only)
    ipl.sections(texts, registers.get(layout.sections, ()), bank)
    ipl.stub(texts, registers.get(layout.stub, ()), bank, only)
    ipl.kernel(texts, registers.get(layout.kernel, ()), bank, given)
    return texts


@functools.lru_cache(maxsize=16)
def _silent(bank: str) -> frozenset[bytes]:
    """Digests of events that say nothing about a host."""
    return (
        check.separators(bank)
        | check.words(bank)
        | frozenset(map(check.hasher(bank), _ACTIONS))
    )


def _components(
    events: Sequence[Event],
    bank: str,
    explained: set[int],
    sections: dict[int, str],
) -> list[Component]:
    silent = _silent(bank)
    found: list[Component] = []
    kernel: Component | None = None
    for event in events:
        if event.index in explained or (
            event.digests[bank] in silent and event.index not in sections
        ):
            continue
        item = components.component(event, bank, sections)
        item, kernel = _named(item, kernel)
        found.append(item)
    return found


def _named(
    item: Component, kernel: Component | None
) -> tuple[Component, Component | None]:
    """Name an image without a path after the kernel file read before it.

    GRUB measures the file it reads, then shim and firmware the image in
    memory.
    """
    if item.kind == components.KERNEL and item.name:
        return item, item
    if (
        kernel is not None
        and item.kind == components.APPLICATION
        and (not item.path)
    ):
        item = dataclasses.replace(
            item,
            kind=components.KERNEL,
            name=kernel.name,
            version=kernel.version,
        )
    return item, kernel


def _check(state: boot.BootState) -> None:
    lists: Sequence[Sequence[object]] = (
        state.databases,
        state.authorities,
        state.boot_options,
        state.components,
        state.commands,
        state.command_lines,
        state.boot_order,
    )
    size = sum(
        len(line.text) for line in (*state.commands, *state.command_lines)
    )
    entries = sum(len(item.entries) for item in state.databases)
    if (
        max(map(len, lists)) > MAX_FACTS
        or size > MAX_TEXT
        or (entries > variables.MAX_ENTRIES)
    ):
        raise errors.EvidenceError(
            errors.Reason.UEFI_LOG_MALFORMED,
            'The UEFI event log says more than a boot can have.',
            place='events',
        )
