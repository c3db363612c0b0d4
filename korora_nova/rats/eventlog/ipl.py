# SPDX-License-Identifier: Apache-2.0
"""What boot loaders measure besides images: commands, command lines,
sections of unified kernel images.

- GRUB: each command and command line into PCR 8 as EV_IPL, the digest of
  the text after a prefix (grub-core/commands/tpm.c); files into PCR 9.
- systemd-boot and systemd-stub: command lines into PCR 12, before version
  251 into PCR 8, as UCS-2; sections into PCR 11, a section's name before
  its content (src/boot/measure.c).
- The kernel's EFI stub: load options and initrd into PCR 9 as EV_EVENT_TAG,
  the digest of the content, which the log does not have
  (drivers/firmware/efi/libstub/efi-stub-helper.c).

A prefix is not covered by the digest. GRUB's command lines start with the
path of a file and its commands do not, and systemd's text is UCS-2, so the
text itself shows what it is.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import struct
from collections.abc import Iterable, Iterator, Sequence

from korora_nova.rats.eventlog import check, text
from korora_nova.rats.eventlog.boot import CommandLine
from korora_nova.rats.eventlog.formats import Event

#: Tags of the kernel's EFI stub.
TAG_INITRD = 0x8F3B22EC
TAG_LOAD_OPTIONS = 0x8F3B22ED
#: What GRUB puts before the command lines that it measures, for the kernel.
BOOT_IMAGE = 'BOOT_IMAGE='
#: Sections that systemd-stub measures, in no particular order.
SECTIONS = (
    '.linux',
    '.osrel',
    '.cmdline',
    '.initrd',
    '.ucode',
    '.splash',
    '.dtb',
    '.dtbauto',
    '.hwids',
    '.efifw',
    '.uname',
    '.sbat',
    '.pcrpkey',
    '.profile',
)

# TCG_PCClientTaggedEvent: u32 id | u32 bytes, then data.
_TAG = struct.Struct('<II')
_PATH = re.compile(rb'[/(+0-9]')
_PREFIXED = re.compile(rb'(grub|kernel|module)_[a-z_]+[: ]')


@dataclasses.dataclass
class Commands:
    """Texts of boot loaders; explained: indices of events in them.

    :param sections: index of an event to the section whose content it
        measures.
    """

    commands: list[CommandLine] = dataclasses.field(default_factory=list)
    lines: list[CommandLine] = dataclasses.field(default_factory=list)
    sections: dict[int, str] = dataclasses.field(default_factory=dict)
    explained: set[int] = dataclasses.field(default_factory=set)


def tag(event: Event) -> tuple[int, bytes]:
    """Id and data of a tagged event, (0, b'') if it is not one."""
    if len(event.data) < _TAG.size:
        return 0, b''
    number, size = _TAG.unpack_from(event.data)
    return number, event.data[_TAG.size : _TAG.size + size]


def grub(
    found: Commands, events: Sequence[Event], bank: str, only: bool
) -> None:
    """Read GRUB's commands and command lines.

    :param only: the register is theirs alone, so an event without a text
        that matches may hide one and is listed, unverified.
    """
    make = check.hasher(bank)
    ends = check.separators(bank) | check.words(bank)
    for event in events:
        digest = event.digests[bank]
        if digest in ends or not only and not _PREFIXED.match(event.data):
            continue
        found.explained.add(event.index)
        if (told := _ucs2(event.data, digest, make)) is not None:
            found.lines.append(CommandLine(told, 'stub', True, event.pcr))
            continue
        for content in check.texts(event.data):
            if make(content) == digest:
                _told(found, content, event.pcr)
                break
        else:
            found.lines.append(
                CommandLine(
                    text.utf8(event.data[: text.MAX_SHOWN]),
                    'grub',
                    False,
                    event.pcr,
                )
            )


def _told(found: Commands, content: bytes, pcr: int) -> None:
    """A text of GRUB's; one that is UCS-2 in truth is no command."""
    line = CommandLine(text.utf8(content), 'grub', True, pcr)
    if _PATH.match(content) or b'\0' in content.rstrip(b'\0'):
        found.lines.append(line)
    else:
        found.commands.append(line)


def stub(
    found: Commands, events: Sequence[Event], bank: str, only: bool
) -> None:
    """Read systemd's command lines.

    :param only: see :func:`grub`; such an event is a component as well,
        since credentials and extensions are measured here too.
    """
    make = check.hasher(bank)
    ends = check.separators(bank) | check.words(bank)
    for event in events:
        digest = event.digests[bank]
        if digest in ends or event.index in found.explained:
            continue
        told = _ucs2(event.data, digest, make)
        if told is not None:
            found.explained.add(event.index)
        if told is not None or only:
            shown = told or text.ucs2(event.data[: text.MAX_SHOWN])
            found.lines.append(
                CommandLine(shown or '', 'stub', told is not None, event.pcr)
            )


def _ucs2(data: bytes, digest: bytes, make: check.Hash) -> str | None:
    """Text of systemd's, if it is what was hashed, NUL or not."""
    found = text.ucs2(data)
    if found is None:
        return None
    bare = found.encode('utf-16-le')
    return (
        found
        if digest in (make(bare + b'\0\0'), make(bare), make(data))
        else None
    )


def kernel(
    found: Commands,
    events: Sequence[Event],
    bank: str,
    given: Sequence[bytes] = (),
) -> None:
    """Read load options of the EFI stub.

    Their text is not in their event. They are verified if a text elsewhere in
    the log hashes to their digest, wherever it is: it is what the kernel was
    given. Such an event is a component as well unless its text is another
    command line's.

    :param given: load options in boot options, see :mod:`.options`.
    """
    options = [event for event in events if tag(event)[0] == TAG_LOAD_OPTIONS]
    if not options:
        return
    make = check.hasher(bank)
    texts = {line.text for line in found.lines if line.verified}
    known = {
        make(data): told
        for told, data in itertools.chain(_loads(texts), _options(given))
    }
    for event in options:
        told = known.get(event.digests[bank])
        found.lines.append(
            CommandLine(told or '', 'kernel', told is not None, event.pcr)
        )
        if told in texts:
            found.explained.add(event.index)


def _loads(texts: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """What a boot loader may make of its command lines, see
    quirks.LOAD_OPTIONS."""
    for line in texts:
        rest = line.partition(' ')[2]
        for told in (rest, BOOT_IMAGE + line, line):
            data = told.encode('utf-16-le')
            yield told, data
            yield told, data + b'\0\0'


def _options(given: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """What firmware gives to the kernel that it starts (UEFI 3.1.3)."""
    for data in given:
        told = text.ucs2(data)
        if told is not None:
            yield told, data


@functools.lru_cache(maxsize=16)
def _section_names(bank: str) -> dict[bytes, str]:
    make = check.hasher(bank)
    return {make(name.encode() + b'\0'): name for name in SECTIONS}


def sections(found: Commands, events: Sequence[Event], bank: str) -> None:
    """Pair sections' names, known by digest, with their contents."""
    names = _section_names(bank)
    rest = iter(events)
    for event in rest:
        name = names.get(event.digests[bank])
        if name is None:
            continue
        content = next(rest, None)
        if content is None:
            return
        found.explained.add(event.index)
        found.sections[content.index] = name
