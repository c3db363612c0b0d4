# SPDX-License-Identifier: Apache-2.0
"""The smallest guest: a boot sector that prints some lines and halts."""

from __future__ import annotations

LINE = 'KORORA-TINY-GUEST-BOOTED'
# Tempest wants to see more than three.
LINES = 8
SIZE = 1 << 20
# cli; xor ax,ax; mov ds,ax; mov si,0x7c16; mov dx,0x3f8;
# 1: lodsb; test al,al; jz 2f; out dx,al; jmp 1b; 2: hlt; jmp 2b
CODE = bytes.fromhex('fa31c08ed8be167cbaf803ac84c07403eeebf8f4ebfd')
PARTITION = bytes.fromhex('800002008300200001000000ff070000')


def raw() -> bytes:
    """A raw disk of 1 MiB; Glance wants its partition table to be sane."""
    sector = bytearray(
        (CODE + f'{LINE}\r\n'.encode() * LINES + b'\0').ljust(510, b'\0')
        + b'\x55\xaa'
    )
    sector[446:462] = PARTITION
    return bytes(sector).ljust(SIZE, b'\0')
