# SPDX-License-Identifier: Apache-2.0
"""What an event was of, in the log's own words.

Kind, name, path and version are for people: nothing here is verified but
the digest and the register.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from korora_nova.rats.eventlog import (
    devicepath,
    ipl,
    text,
    types,
    variables,
)
from korora_nova.rats.eventlog.boot import Component
from korora_nova.rats.eventlog.formats import Event

#: Longest name, path and version that are kept, characters.
MAX_NAME = 256
MAX_PATH = 1024

FIRMWARE = 'firmware'
DRIVER = 'driver'
APPLICATION = 'application'
KERNEL = 'kernel'
INITRD = 'initrd'
MODULE = 'module'
CONFIGURATION = 'configuration'
SECTION = 'section'
USER_SPACE = 'user space'

# EFI_IMAGE_LOAD_EVENT (PFP 10.2.3): u64 address | u64 bytes | u64 link
# address | u64 bytes of the device path, then it.
_IMAGE = struct.Struct('<QQQQ')
# EFI_PLATFORM_FIRMWARE_BLOB: u64 base | u64 bytes.
_BLOB = struct.Struct('<QQ')

_VERSION = re.compile(
    r'(?:vmlinu[xz]|initrd(?:\.img)?|initramfs|bzimage|linux|kernel)'
    r'[-_](\d[\w.+~-]*?)(?:\.img|\.efi|\.gz|\.signed|\.x64)*$',
    re.I,
)
_UKI_VERSION = re.compile(r'-(\d+\.\d[\w.+~-]*?)(?:\.efi)$', re.I)
_KERNEL = re.compile(r'vmlinu[xz]|bzimage|(?:linux|kernel)(?![a-z])', re.I)
_INITRD = re.compile(r'initrd|initramfs', re.I)
# OVMF measures what QEMU configures: "QEMU FW CFG", NUL, an item's name.
_TITLED = re.compile(rb'([ -~]{4,})\0([ -~]{4,})\0*')
_SPLIT = re.compile(r'[/\\]')
_SLASH = re.compile('/')
# See quirks.SHIM_NAME.
_MAX_SURPLUS = 8

# Media that QEMU and systemd-stub give to kernels that they load.
_KERNEL_MEDIA = (
    'VenMedia(1428F772-B64A-441E-B8C3-9EBDD7F893C7)',
    'VenMedia(55C5D1F8-04CD-46B5-8A20-E56CBB3052D0)',
)

_TABLES = {
    'eb9d2d31-2d88-11d3-9a16-0090273fc14d': 'SMBIOS',
    'f2fd1544-9794-4a2c-992e-e5bbcf20e394': 'SMBIOS 3',
    '8868e871-e4f1-11d3-bc22-0080c73c8881': 'ACPI 2.0',
    'eb9d2d30-2d88-11d3-9a16-0090273fc14d': 'ACPI',
}


class Description(NamedTuple):
    """See :class:`boot.Component`."""

    kind: str
    name: str
    path: str = ''
    version: str = ''


def component(
    event: Event, bank: str, sections: Mapping[int, str]
) -> Component:
    """The component that an event measured."""
    if event.index in sections:
        found = Description(SECTION, sections[event.index])
    else:
        found = _SHOW.get(event.type, _text)(event)
    return Component(
        found.kind,
        f'{bank}:{event.digests[bank].hex()}',
        found.name[:MAX_NAME],
        found.path[:MAX_PATH],
        found.version[:MAX_NAME],
        event.pcr,
    )


def version(name: str) -> str:
    """A kernel's version from a file name: vmlinuz-6.1.0-42-amd64."""
    match = _VERSION.search(name) or _UKI_VERSION.search(name)
    return match[1] if match else ''


def _text(event: Event) -> Description:
    kind = FIRMWARE if event.pcr == 0 else CONFIGURATION
    return Description(kind, _words(event.data) or types.name(event.type))


def _words(data: bytes) -> str:
    """Text if it is text, '' else."""
    data = data[: 2 * MAX_NAME]
    titled = _TITLED.fullmatch(data)
    if titled:
        data = b' '.join(titled.groups())
    shown = text.either(data)
    return '' if '\\' in shown else shown


def _crtm_version(event: Event) -> Description:
    """Text or a GUID (PFP 10.4.1)."""
    shown = _words(event.data)
    if not shown and len(event.data) == 16:
        shown = variables.guid(event.data)
    return Description(FIRMWARE, types.name(event.type), version=shown)


def _image(kind: str) -> Callable[[Event], Description]:
    def show(event: Event) -> Description:
        if len(event.data) < _IMAGE.size:
            return Description(kind, types.name(event.type))
        size = _IMAGE.unpack_from(event.data)[3]
        path = devicepath.render(event.data[_IMAGE.size : _IMAGE.size + size])
        name = _SPLIT.split(path)[-1]
        kernel = kind == APPLICATION and (
            path.startswith(_KERNEL_MEDIA) or _KERNEL.match(name)
        )
        return Description(
            KERNEL if kernel else kind, name, path, version(name)
        )

    return show


def _blob(event: Event) -> Description:
    if len(event.data) != _BLOB.size or _words(event.data):
        return _text(event)
    base, size = _BLOB.unpack(event.data)
    return Description(FIRMWARE, f'0x{base:x}+0x{size:x}')


def _user_space(event: Event) -> Description:
    return Description(USER_SPACE, text.utf8(event.data) or 'unnamed')


def _described(kind: str) -> Callable[[Event], Description]:
    """u8 bytes of a description, it, then addresses (PFP 10.2.5)."""

    def show(event: Event) -> Description:
        size = event.data[0] if event.data else 0
        return Description(
            kind, _words(event.data[1 : 1 + size]) or types.name(event.type)
        )

    return show


def _tables(event: Event) -> Description:
    """UEFI_HANDOFF_TABLE_POINTERS: u64 count, GUID and u64 address."""
    names = []
    for at in range(8, min(len(event.data) - 15, 8 + 24 * 16), 24):
        found = variables.guid(event.data[at : at + 16])
        names.append(_TABLES.get(found, found))
    return Description(
        CONFIGURATION, ' '.join(names) or types.name(event.type)
    )


def _variable(event: Event) -> Description:
    variable = variables.parse(event.data)
    return Description(
        CONFIGURATION, variable.name if variable else types.name(event.type)
    )


def _partitions(event: Event) -> Description:
    """UEFI_GPT_DATA: the disk's GUID is at 56 of its header."""
    disk = (
        f' {variables.guid(event.data[56:72])}'
        if event.data.startswith(b'EFI PART') and len(event.data) >= 72
        else ''
    )
    return Description(CONFIGURATION, f'GPT{disk}')


def _ipl(event: Event) -> Description:
    """A file that a boot loader read, or a variable of shim's."""
    data = event.data[: 2 * MAX_PATH]
    bare, _, surplus = data.partition(b'\0')
    # See quirks.SHIM_NAME; of UCS-2 only one character is before a NUL.
    if len(bare) > 1 and len(surplus) <= _MAX_SURPLUS:
        data = bare
    path = text.either(data)
    # An escape is no separator.
    name = (_SPLIT if b'\\' in data else _SLASH).split(path)[-1]
    return Description(
        _file_kind(name), name, path if path != name else '', version(name)
    )


def _spdm(kind: str) -> Callable[[Event], Description]:
    """A device that authenticates itself: its path, if any.

    TCG_DEVICE_SECURITY_EVENT_DATA: signature | u16 version | u16 bytes
    | u32 hash | u32 device | block: u8 | u8 | u16 bytes, then these;
    EVENT_DATA2: signature | u16 version | u8 state | u8 | u32 bytes
    | u32 device | u32 | u32 | u64 sub-header; both: u64 bytes of the
    device path, then it (PFP 10.2.7).
    """

    def show(event: Event) -> Description:
        data = event.data
        at = len(data)
        if data.startswith(b'SPDM Device Sec2'):
            at = 16 + 28
        elif data.startswith(b'SPDM Device Sec\0') and len(data) >= 32:
            at = 32 + int.from_bytes(data[30:32], 'little')
        size = int.from_bytes(data[at : at + 8], 'little')
        path = devicepath.render(data[at + 8 : at + 8 + size])
        return Description(kind, types.name(event.type), path)

    return show


def _file_kind(name: str) -> str:
    # GRUB has a linux.mod.
    if name.endswith('.mod'):
        return MODULE
    if _KERNEL.match(name):
        return KERNEL
    return INITRD if _INITRD.search(name) else CONFIGURATION


def _tagged(event: Event) -> Description:
    number, data = ipl.tag(event)
    name = _words(data) or f'tag 0x{number:08x}'
    kind = (
        INITRD
        if number == ipl.TAG_INITRD or _INITRD.search(name)
        else CONFIGURATION
    )
    return Description(kind, name)


_SHOW: dict[int, Callable[[Event], Description]] = {
    types.USER_SPACE: _user_space,
    types.EV_POST_CODE: _blob,
    types.EV_POST_CODE2: _described(FIRMWARE),
    types.EV_S_CRTM_VERSION: _crtm_version,
    types.EV_EVENT_TAG: _tagged,
    types.EV_IPL: _ipl,
    types.EV_EFI_VARIABLE_DRIVER_CONFIG: _variable,
    types.EV_EFI_VARIABLE_BOOT: _variable,
    types.EV_EFI_VARIABLE_BOOT2: _variable,
    types.EV_EFI_VARIABLE_AUTHORITY: _variable,
    types.EV_EFI_SPDM_DEVICE_POLICY: _variable,
    types.EV_EFI_SPDM_DEVICE_AUTHORITY: _variable,
    types.EV_EFI_BOOT_SERVICES_APPLICATION: _image(APPLICATION),
    types.EV_EFI_BOOT_SERVICES_DRIVER: _image(DRIVER),
    types.EV_EFI_RUNTIME_SERVICES_DRIVER: _image(DRIVER),
    types.EV_EFI_GPT_EVENT: _partitions,
    types.EV_EFI_GPT_EVENT2: _partitions,
    types.EV_EFI_PLATFORM_FIRMWARE_BLOB: _blob,
    types.EV_EFI_PLATFORM_FIRMWARE_BLOB2: _described(FIRMWARE),
    types.EV_EFI_HANDOFF_TABLES: _tables,
    types.EV_EFI_HANDOFF_TABLES2: _described(CONFIGURATION),
    types.EV_EFI_SPDM_FIRMWARE_BLOB: _spdm(FIRMWARE),
    types.EV_EFI_SPDM_FIRMWARE_CONFIG: _spdm(CONFIGURATION),
}
