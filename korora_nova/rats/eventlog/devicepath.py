# SPDX-License-Identifier: Apache-2.0
"""EFI device paths as text (UEFI 10.3 and 10.6.1.6, display form).

A path in a log describes, it never decides: what is malformed is shown as
such instead of being an error.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable

from korora_nova.rats.eventlog import text
from korora_nova.rats.eventlog.variables import guid

MAX_NODES = 64

# u8 type | u8 subtype | u16 length, header included; little-endian.
_NODE = struct.Struct('<BBH')
_END = 0x7F

_ACPI_NAMES = {
    0x0A03: 'PciRoot',
    0x0A08: 'PcieRoot',
    0x0604: 'Floppy',
    0x0301: 'Keyboard',
    0x0501: 'Serial',
    0x0401: 'ParallelPort',
}
_PARTITIONS = {0: 'None', 1: 'MBR', 2: 'GPT'}
_BBS = {
    1: 'Floppy',
    2: 'HD',
    3: 'CDROM',
    4: 'PCMCIA',
    5: 'USB',
    6: 'Network',
    0x80: 'BEV',
}


def render(data: bytes) -> str:
    """The text of a device path; '' if there is none."""
    nodes: list[str] = []
    at = 0
    while at < len(data):
        if len(nodes) == MAX_NODES or len(data) - at < _NODE.size:
            nodes.append('...')
            break
        kind, sub, size = _NODE.unpack_from(data, at)
        if kind == _END:
            if sub == 0xFF:
                break
            nodes.append(',')
        elif size < _NODE.size or at + size > len(data):
            nodes.append('...')
            break
        else:
            nodes.append(_node(kind, sub, data[at + _NODE.size : at + size]))
        at += max(size, _NODE.size)
    return '/'.join(nodes).replace('/,/', ',')


def _node(kind: int, sub: int, body: bytes) -> str:
    show = _SHOW.get((kind, sub))
    if show is not None:
        try:
            return show(body)
        except struct.error:
            pass
    return f'Path({kind},{sub},{body[:64].hex().upper()})'


def _pci(body: bytes) -> str:
    function, device = struct.unpack('<BB', body)
    return f'Pci(0x{device:X},0x{function:X})'


def _memory(body: bytes) -> str:
    kind, start, end = struct.unpack('<IQQ', body)
    return f'MemoryMapped(0x{kind:X},0x{start:X},0x{end:X})'


def _vendor(name: str) -> Callable[[bytes], str]:
    def show(body: bytes) -> str:
        more = f',{body[16:80].hex().upper()}' if len(body) > 16 else ''
        return f'{name}({_guid(body)}{more})'

    return show


def _guid(body: bytes, at: int = 0) -> str:
    return guid(struct.unpack_from('16s', body, at)[0]).upper()


def _controller(body: bytes) -> str:
    return f'Ctrl(0x{struct.unpack("<I", body)[0]:X})'


def _acpi(body: bytes) -> str:
    hid, uid = struct.unpack_from('<II', body)
    if hid & 0xFFFF == 0x41D0:
        name = _ACPI_NAMES.get(hid >> 16)
        if name is not None:
            return f'{name}(0x{uid:X})'
    return f'Acpi({_eisa(hid)},0x{uid:X})'


def _acpi_expanded(body: bytes) -> str:
    hid, uid, cid = struct.unpack_from('<III', body)
    names = [text.utf8(name) for name in body[12:].split(b'\0')[:3]]
    names += [''] * (3 - len(names))
    return (
        f'AcpiEx({names[0] or _eisa(hid)},{names[2] or _eisa(cid)},'
        f'{names[1] or f"0x{uid:X}"})'
    )


def _eisa(value: int) -> str:
    """EISA id: three letters of five bits, product number."""
    letters = ''.join(
        chr(64 + (value >> shift & 0x1F)) for shift in (10, 5, 0)
    )
    return text.escaped(f'{letters}{value >> 16:04X}')


def _acpi_adr(body: bytes) -> str:
    return f'AcpiAdr(0x{struct.unpack_from("<I", body)[0]:X})'


def _ata(body: bytes) -> str:
    primary, slave, lun = struct.unpack('<BBH', body)
    return (
        f'Ata({"Secondary" if primary else "Primary"},'
        f'{"Slave" if slave else "Master"},0x{lun:X})'
    )


def _numbers(name: str, layout: str) -> Callable[[bytes], str]:
    """A node of numbers only, shown in hex."""

    def show(body: bytes) -> str:
        values = struct.unpack_from(layout, body)
        return f'{name}({",".join(f"0x{value:X}" for value in values)})'

    return show


def _mac(body: bytes) -> str:
    address, kind = struct.unpack('<32sB', body)
    size = 6 if kind in (0, 1) else 32
    return f'MAC({address[:size].hex().upper()},0x{kind:X})'


def _ipv4(body: bytes) -> str:
    local, remote = struct.unpack_from('>II', body)
    return (
        f'IPv4({ipaddress.IPv4Address(remote)},{ipaddress.IPv4Address(local)})'
    )


def _ipv6(body: bytes) -> str:
    local, remote = struct.unpack_from('16s16s', body)
    return (
        f'IPv6({ipaddress.IPv6Address(remote)},{ipaddress.IPv6Address(local)})'
    )


def _nvme(body: bytes) -> str:
    space, eui = struct.unpack('<I8s', body)
    return f'NVMe(0x{space:X},{eui[::-1].hex("-").upper()})'


def _uri(body: bytes) -> str:
    return f'Uri({text.utf8(body)})'


def _hard_drive(body: bytes) -> str:
    """u32 number | u64 start | u64 size | signature | u8 format | u8 kind
    of signature: 1 MBR, 2 GUID."""
    number, start, size, signature, _format, kind = struct.unpack(
        '<IQQ16sBB', body
    )
    if kind == 2:
        shown = guid(signature).upper()
    elif kind == 1:
        shown = f'0x{int.from_bytes(signature[:4], "little"):08X}'
    else:
        shown = signature.hex().upper() if kind else '0'
    return (
        f'HD({number},{_PARTITIONS.get(kind, f"0x{kind:02X}")},{shown},'
        f'0x{start:X},0x{size:X})'
    )


def _firmware(name: str) -> Callable[[bytes], str]:
    return lambda body: f'{name}({_guid(body)})'


def _ram_disk(body: bytes) -> str:
    start, end, kind, instance = struct.unpack('<QQ16sH', body)
    return f'RamDisk(0x{start:X},0x{end:X},{instance},{guid(kind).upper()})'


def _bbs(body: bytes) -> str:
    kind, _status = struct.unpack_from('<HH', body)
    name = _BBS.get(kind, f'0x{kind:X}')
    return f'BBS({name},{text.utf8(body[4:])})'


def _usb_wwid(body: bytes) -> str:
    interface, vendor, product = struct.unpack_from('<HHH', body)
    return (
        f'UsbWwid(0x{vendor:X},0x{product:X},0x{interface:X},'
        f'"{text.utf16(body[6:])}")'
    )


_SHOW: dict[tuple[int, int], Callable[[bytes], str]] = {
    (1, 1): _pci,
    (1, 2): _numbers('PcCard', '<B'),
    (1, 3): _memory,
    (1, 4): _vendor('VenHw'),
    (1, 5): _controller,
    (2, 1): _acpi,
    (2, 2): _acpi_expanded,
    (2, 3): _acpi_adr,
    (3, 1): _ata,
    (3, 2): _numbers('Scsi', '<HH'),
    (3, 3): _numbers('Fibre', '<4xQQ'),
    (3, 5): _numbers('USB', '<BB'),
    (3, 10): _vendor('VenMsg'),
    (3, 11): _mac,
    (3, 12): _ipv4,
    (3, 13): _ipv6,
    (3, 15): _numbers('UsbClass', '<HHBBB'),
    (3, 16): _usb_wwid,
    (3, 17): _numbers('Unit', '<B'),
    (3, 18): _numbers('Sata', '<HHH'),
    (3, 20): _numbers('Vlan', '<H'),
    (3, 23): _nvme,
    (3, 24): _uri,
    (3, 25): _numbers('UFS', '<BB'),
    (3, 26): _numbers('SD', '<B'),
    (3, 29): _numbers('eMMC', '<B'),
    (4, 1): _hard_drive,
    (4, 2): _numbers('CDROM', '<IQQ'),
    (4, 3): _vendor('VenMedia'),
    (4, 4): text.utf16,
    (4, 5): _firmware('Media'),
    (4, 6): _firmware('FvFile'),
    (4, 7): _firmware('Fv'),
    (4, 8): _numbers('Offset', '<4xQQ'),
    (4, 9): _ram_disk,
    (5, 1): _bbs,
}
