# SPDX-License-Identifier: Apache-2.0
"""Boot#### and BootOrder (UEFI 3.1, 3.3; PFP 3.3.4.2).

Only what precedes the register's separator counts as firmware's.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Sequence

from korora_nova.rats.eventlog import check, devicepath, text, variables
from korora_nova.rats.eventlog.boot import BootOption
from korora_nova.rats.eventlog.formats import Event

_OPTION = re.compile('Boot([0-9A-Fa-f]{4})')
_ACTIVE = 1

# EFI_LOAD_OPTION (UEFI 3.1.3): u32 attributes | u16 bytes of the device
# path | description, UCS-2 with NUL | device path | load options.
_HEAD = struct.Struct('<IH')


@dataclasses.dataclass
class Options:
    """What a register says; ``order`` None: nothing.

    :param given: what the options would give to what they start.
    :param explained: indices of events that are in a field here.
    """

    order: tuple[int, ...] | None = None
    order_verified: bool = False
    options: list[BootOption] = dataclasses.field(default_factory=list)
    given: list[bytes] = dataclasses.field(default_factory=list)
    explained: set[int] = dataclasses.field(default_factory=set)


def read(events: Sequence[Event], bank: str, separators: int) -> Options:
    """Read the events of a register, in their order.

    :param separators: after how many of them firmware is done.
    """
    found = Options()
    make = check.hasher(bank)
    ends = check.separators(bank) | check.failures(bank)
    passed = 0
    total = sum(event.digests[bank] in ends for event in events)
    for event in events:
        digest = event.digests[bank]
        if digest in ends:
            passed += 1
            continue
        variable = variables.parse(event.data)
        if variable is None or variable.vendor != variables.GLOBAL:
            continue
        # See quirks.VARIABLE_BOOT.
        covered = digest in (make(event.data), make(variable.value))
        firmware = covered and passed < separators <= total
        if variable.name == 'BootOrder':
            _order(found, variable.value, firmware)
        elif match := _OPTION.fullmatch(variable.name):
            found.options.append(
                option(int(match[1], 16), variable.value, firmware)
            )
            found.given.append(load_options(variable.value))
        else:
            continue
        if covered:
            found.explained.add(event.index)
    return found


def _order(found: Options, value: bytes, verified: bool) -> None:
    """Keep the first; a different one makes it unverified."""
    order = struct.unpack(f'<{len(value) // 2}H', value[: len(value) & ~1])
    verified = verified and not len(value) % 2
    if found.order is None:
        found.order, found.order_verified = order, verified
    elif verified and found.order != order:
        found.order_verified = False


def option(number: int, value: bytes, verified: bool) -> BootOption:
    """Decode an EFI_LOAD_OPTION; what is malformed is left empty."""
    if len(value) < _HEAD.size:
        return BootOption(number, '', '', False, False)
    attributes, size = _HEAD.unpack_from(value)
    end = _description_end(value)
    path = value[end + 2 : end + 2 + size]
    return BootOption(
        number,
        text.utf16(value[_HEAD.size : end]),
        devicepath.render(path),
        bool(attributes & _ACTIVE),
        verified and len(path) == size,
    )


def load_options(value: bytes) -> bytes:
    """What follows the device path of an EFI_LOAD_OPTION."""
    if len(value) < _HEAD.size:
        return b''
    size = _HEAD.unpack_from(value)[1]
    return value[_description_end(value) + 2 + size :]


def _description_end(value: bytes) -> int:
    """Where the NUL of an EFI_LOAD_OPTION's description begins."""
    end = value.find(b'\0\0', _HEAD.size)
    while end % 2 and end > 0:
        end = value.find(b'\0\0', end + 1)
    return len(value) if end < 0 else end
